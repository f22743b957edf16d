"""Second factors of an authenticator app, and what the service key does with them."""

from datetime import datetime, timedelta

import pyotp

from world import PASSWORD, Case, admin, client, person


def codes(uri: str):
    """An app that has scanned `uri`: each code is good once, so the second one is the next one's."""
    totp = pyotp.parse_uri(uri)
    now = datetime.now()
    yield totp.at(now)
    yield totp.at(now + timedelta(seconds=totp.interval))


def levels(auth) -> tuple:
    answer = auth.mfa.get_authenticator_assurance_level()
    return answer.current_level, answer.next_level


class Factors(Case):
    def test_an_app_raises_the_level_and_guards_the_next_session(self):
        ada = person("ada")
        factor = ada.auth.mfa.enroll({"factor_type": "totp", "friendly_name": "App", "issuer": "Board"})
        self.assertTrue(factor.totp.qr_code.startswith("data:image/svg+xml"))
        code = codes(factor.totp.uri)
        self.assertEqual(levels(ada.auth), ("aal1", "aal1"))
        challenge = ada.auth.mfa.challenge({"factor_id": factor.id})
        answer = {"factor_id": factor.id, "challenge_id": challenge.id}
        self.refused(422, "mfa_verification_failed", ada.auth.mfa.verify, {**answer, "code": "000000"})
        ada.auth.mfa.verify({**answer, "code": next(code)})
        self.assertEqual(levels(ada.auth), ("aal2", "aal2"))
        self.assertEqual([it.friendly_name for it in ada.auth.mfa.list_factors().totp], ["App"])

        auth = client()
        auth.sign_in_with_password({"email": ada.email, "password": PASSWORD})
        self.assertEqual(levels(auth), ("aal1", "aal2"))
        self.refused(422, "insufficient_aal", auth.mfa.unenroll, {"factor_id": factor.id})
        auth.mfa.challenge_and_verify({"factor_id": factor.id, "code": next(code)})
        self.assertEqual(auth.mfa.unenroll({"factor_id": factor.id}).id, factor.id)
        self.assertEqual(auth.mfa.list_factors().all, [])

    def test_the_service_key_sees_and_removes_them(self):
        ada = person("loser")
        factor = ada.auth.mfa.enroll({"factor_type": "totp", "friendly_name": "Lost"})
        self.assertEqual([it.id for it in admin.mfa.list_factors({"user_id": ada.id})], [factor.id])
        admin.mfa.delete_factor({"user_id": ada.id, "id": factor.id})
        self.assertEqual(list(admin.mfa.list_factors({"user_id": ada.id})), [])
