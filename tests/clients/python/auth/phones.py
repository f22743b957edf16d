"""Everything that goes by SMS: codes to sign in, changes of number, second factors."""

from world import PASSWORD, Case, admin, any_phone, client, person, sms


class Phones(Case):
    def test_a_code_signs_a_new_user_in_once(self):
        phone = any_phone()
        auth = client()
        self.assertEqual(auth.sign_in_with_otp({"phone": phone}).message_id, "SMS-1")
        letter = sms.letters.next(phone)
        self.assertEqual(letter.text, f"Your code is {letter.code}")
        proof = {"phone": phone, "token": letter.code, "type": "sms"}
        self.assertEqual(auth.verify_otp(proof).user.phone, phone)
        self.refused(403, "otp_expired", client().verify_otp, proof)

    def test_a_code_proves_a_new_number(self):
        old, new = any_phone(), any_phone()
        made = admin.create_user({"phone": old, "password": PASSWORD, "phone_confirm": True})
        auth = client()
        auth.sign_in_with_password({"phone": old, "password": PASSWORD})
        auth.update_user({"phone": new})
        sms.letters.next(new)
        auth.resend({"type": "phone_change", "phone": old})
        code = sms.letters.next(new).code
        proved = auth.verify_otp({"phone": new, "token": code, "type": "phone_change"}).user
        self.assertEqual((proved.id, proved.phone), (made.user.id, new))

    def test_a_phone_is_a_second_factor(self):
        ada = person("caller")
        phone = any_phone()
        factor = ada.auth.mfa.enroll({"factor_type": "phone", "friendly_name": "Mine", "phone": f"+{phone}"})
        challenge = ada.auth.mfa.challenge({"factor_id": factor.id, "channel": "sms"})
        code = sms.letters.next(phone).code
        ada.auth.mfa.verify({"factor_id": factor.id, "challenge_id": challenge.id, "code": code})
        self.assertEqual(ada.auth.get_claims()["claims"]["aal"], "aal2")
