"""Signing up by address, number and without either; sessions, what refreshes them and what ends them."""

from world import (PASSWORD, WELCOME, WORLD, Case, admin, alive, any_address, any_phone, arrive, client, follow, mail,
                   person, sms)


class SignUp(Case):
    def test_waits_for_the_code_that_was_mailed(self):
        email = any_address("ada")
        auth = client()
        answer = auth.sign_up({"email": email, "password": PASSWORD, "options": {"data": {"name": "Ada"}}})
        self.assertIsNone(answer.session)
        letter = mail.letters.next(email)
        self.assertEqual((letter.sender, letter.subject), ("Board <board@example.com>", "Confirm your signup"))
        self.refused(400, "email_not_confirmed", auth.sign_in_with_password, {"email": email, "password": PASSWORD})
        auth.resend({"type": "signup", "email": email})
        code = mail.letters.next(email).code
        verified = auth.verify_otp({"email": email, "token": code, "type": "signup"})
        self.assertEqual((verified.user.id, verified.user.user_metadata["name"]), (answer.user.id, "Ada"))
        self.assertEqual(auth.get_user().user.email, email)
        self.refused(403, "otp_expired", client().verify_otp, {"email": email, "token": code, "type": "signup"})

    def test_follows_the_mailed_link_once(self):
        email = any_address("link")
        auth = client()
        auth.sign_up({"email": email, "password": PASSWORD, "options": {"email_redirect_to": WELCOME}})
        link = mail.letters.next(email).link
        landed = follow(link)
        self.assertEqual((landed.place, landed.fragment["type"]), (WELCOME, "signup"))
        self.assertEqual(arrive(auth, landed).user.email, email)
        self.assertEqual(follow(link).fragment["error_code"], "otp_expired")

    def test_is_done_by_a_number_with_the_code_of_an_sms(self):
        phone = any_phone()
        auth = client()
        answer = auth.sign_up({"phone": phone, "password": PASSWORD})
        self.assertEqual((answer.session, answer.user.phone), (None, phone))
        sms.letters.next(phone)
        self.refused(400, "phone_not_confirmed", auth.sign_in_with_password, {"phone": phone, "password": PASSWORD})
        auth.resend({"type": "sms", "phone": phone})
        auth.verify_otp({"phone": phone, "token": sms.letters.next(phone).code, "type": "sms"})
        again = client().sign_in_with_password({"phone": phone, "password": PASSWORD})
        self.assertEqual(again.user.id, answer.user.id)

    def test_is_done_without_a_name_that_may_come_later(self):
        auth = client()
        user = auth.sign_in_anonymously({"options": {"data": {"cart": 3}}}).user
        self.assertTrue(user.is_anonymous)
        email = any_address("later")
        auth.update_user({"email": email})
        code = mail.letters.next(email).code
        named = auth.verify_otp({"email": email, "token": code, "type": "email_change"}).user
        self.assertEqual((named.id, named.is_anonymous, named.user_metadata["cart"]), (user.id, False, 3))


class Sessions(Case):
    def test_are_refreshed_and_verify_by_the_published_keys(self):
        ada = person("ada")
        self.assertNotEqual(ada.auth.refresh_session().session.refresh_token, ada.session.refresh_token)
        claims = ada.auth.get_claims()["claims"]
        self.assertEqual((claims["sub"], claims["aal"], claims["iss"]), (ada.id, "aal1", f"{WORLD['url']}/auth/v1"))

    def test_end_one_by_one_all_others_or_all(self):
        ada = person("ada")

        def opened():
            auth = client()
            return auth, auth.sign_in_with_password({"email": ada.email, "password": PASSWORD}).session.access_token

        everything = [opened() for _ in range(3)]
        for at, scope, left in [(0, "local", [False, True, True]), (1, "others", [False, True, False]),
                                (1, "global", [False, False, False])]:
            everything[at][0].sign_out({"scope": scope})
            self.assertEqual([alive(token) for _, token in everything], left, scope)
        _, token = opened()
        admin.sign_out(token, "global")
        self.assertFalse(alive(token))
