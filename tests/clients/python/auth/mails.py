"""Everything that goes by mail: codes and links to sign in, forgotten passwords, changes of address, nonces, guests."""

from urllib.parse import parse_qs, urlsplit

from world import PASSWORD, SITE, WELCOME, Case, admin, any_address, arrive, client, follow, mail, person


class SignIn(Case):
    def test_by_a_code_which_signs_up_as_well(self):
        email = any_address("otp")
        auth = client()
        self.refused(422, "otp_disabled", auth.sign_in_with_otp, {"email": email, "options": {"should_create_user": False}})
        auth.sign_in_with_otp({"email": email})
        code = mail.letters.next(email).code
        user = auth.verify_otp({"email": email, "token": code, "type": "email"}).user
        auth.sign_in_with_otp({"email": email})
        code = mail.letters.next(email).code
        self.assertEqual(auth.verify_otp({"email": email, "token": code, "type": "magiclink"}).user.id, user.id)

    def test_by_the_hash_of_a_link_once(self):
        ada = person("hash")
        ada.auth.sign_in_with_otp({"email": ada.email})
        link = mail.letters.next(ada.email).link
        proof = {"token_hash": parse_qs(urlsplit(link).query)["token"][0], "type": "email"}
        self.assertEqual(client().verify_otp(proof).user.id, ada.id)
        self.refused(403, "otp_expired", client().verify_otp, proof)
        self.assertEqual(follow(link).fragment["error_code"], "otp_expired")

    def test_by_a_link_which_never_leads_to_somebody_elses_site(self):
        ada = person("magic")
        for wanted, reached in [(WELCOME, WELCOME), ("https://evil.example/", SITE)]:
            ada.auth.sign_in_with_otp({"email": ada.email, "options": {"email_redirect_to": wanted}})
            landed = follow(mail.letters.next(ada.email).link)
            self.assertEqual((landed.place.rstrip("/"), landed.fragment["type"]), (reached, "magiclink"))
            self.assertEqual(arrive(client(), landed).user.id, ada.id)

    def test_by_a_code_for_a_client_that_keeps_a_verifier(self):
        email = any_address("pkce")
        auth = client(flow_type="pkce")
        auth.sign_in_with_otp({"email": email})
        landed = follow(mail.letters.next(email).link)
        self.assertEqual(landed.fragment, {})
        stranger = {"auth_code": landed.query["code"], "code_verifier": "x" * 43}
        self.refused(400, "bad_code_verifier", client().exchange_code_for_session, stranger)
        self.assertEqual(auth.exchange_code_for_session({"auth_code": landed.query["code"]}).user.email, email)


class Account(Case):
    def test_a_forgotten_password_is_set_anew(self):
        ada = person("forgetful")
        auth = client()
        auth.reset_password_for_email(ada.email, {"redirect_to": WELCOME})
        auth.reset_password_for_email(any_address("nobody"))
        landed = follow(mail.letters.next(ada.email).link)
        self.assertEqual((landed.place, landed.fragment["type"]), (WELCOME, "recovery"))
        arrive(auth, landed)
        auth.update_user({"password": "remembered this time"})
        client().sign_in_with_password({"email": ada.email, "password": "remembered this time"})
        auth.reset_password_for_email(ada.email)
        code = mail.letters.next(ada.email).code
        self.assertEqual(client().verify_otp({"email": ada.email, "token": code, "type": "recovery"}).user.id, ada.id)

    def test_an_address_changes_once_both_addresses_agreed(self):
        ada = person("mover")
        new = any_address("moved")
        self.assertEqual(ada.auth.update_user({"email": new}).user.new_email, new)
        mail.letters.next(ada.email), mail.letters.next(new)
        ada.auth.resend({"type": "email_change", "email": ada.email})
        old, fresh = mail.letters.next(ada.email), mail.letters.next(new)
        half = ada.auth.verify_otp({"email": ada.email, "token": old.code, "type": "email_change"})
        self.assertIsNone(half.session)
        self.assertEqual(ada.auth.get_user().user.email, ada.email)
        self.assertEqual(follow(fresh.link).fragment["type"], "email_change")
        self.assertEqual(client().sign_in_with_password({"email": new, "password": PASSWORD}).user.id, ada.id)

    def test_a_nonce_allows_a_new_password(self):
        ada = person("careful")
        ada.auth.reauthenticate()
        nonce = mail.letters.next(ada.email).code
        ada.auth.update_user({"data": {"theme": "dark"}})
        ada.auth.update_user({"password": "a different password", "nonce": nonce})
        again = client().sign_in_with_password({"email": ada.email, "password": "a different password"})
        self.assertEqual(again.user.user_metadata["theme"], "dark")

    def test_a_guest_comes_by_link_or_code(self):
        one, two = any_address("guest"), any_address("guest")
        invited = admin.invite_user_by_email(one, {"data": {"team": "blue"}, "redirect_to": WELCOME}).user
        landed = follow(mail.letters.next(one).link)
        self.assertEqual((landed.place, landed.fragment["type"]), (WELCOME, "invite"))
        self.assertEqual(arrive(client(), landed).user.id, invited.id)
        admin.invite_user_by_email(two)
        client().verify_otp({"email": two, "token": mail.letters.next(two).code, "type": "invite"})
        self.refused(422, "email_exists", admin.invite_user_by_email, one)
