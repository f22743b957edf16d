"""Signing in by a real OpenID Connect provider (npm's oidc-provider), identities that come and go, SAML."""

import base64
import hashlib
import secrets
import uuid
from pathlib import Path
from urllib.parse import urlencode

import httpx

from world import APP, WELCOME, WORLD, Case, address_of, arrive, browse, client, idp, person, settings

PROVIDER = "keycloak"  # supabase_auth takes names that it knows only
ENTITY = "https://organisation.example/saml"
OPTIONS = {"redirect_to": WELCOME, "scopes": "openid"}


def organisation() -> str:
    """What an organisation's identity provider says about itself."""
    lines = (Path(WORLD["certificates"]) / "saml.pem").read_text().splitlines()
    binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
    return f"""<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{ENTITY}">
      <IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
        <KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data>
          <X509Certificate>{"".join(lines[1:-1])}</X509Certificate></X509Data></KeyInfo></KeyDescriptor>
        <SingleSignOnService Binding="{binding}" Location="{ENTITY}/login"/>
      </IDPSSODescriptor></EntityDescriptor>"""


def id_token(name: str, nonce: str) -> dict:
    """An ID token of `name` that the provider gave to an application of its own."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": "an-app", "redirect_uri": APP, "response_type": "code", "scope": "openid email",
        "code_challenge": challenge, "code_challenge_method": "S256",
        "nonce": hashlib.sha256(nonce.encode()).hexdigest(),
    }
    landed = browse(f"{idp.authorization}?{urlencode(query)}", name, stop_at=APP)
    granted = httpx.post(idp.token, data={
        "grant_type": "authorization_code", "code": landed.query["code"], "code_verifier": verifier,
        "client_id": "an-app", "redirect_uri": APP,
    }).json()
    return {"provider": PROVIDER, "token": granted["id_token"], "access_token": granted["access_token"]}


class Providers(Case):
    def test_sign_in_by_pkce_and_by_the_implicit_flow(self):
        auth = client(flow_type="pkce")
        url = auth.sign_in_with_oauth({"provider": PROVIDER, "options": OPTIONS}).url
        landed = browse(url, "hanna")
        self.assertEqual((landed.place, landed.fragment), (WELCOME, {}))
        answer = auth.exchange_code_for_session({"auth_code": landed.query["code"]})
        self.assertEqual(answer.user.email, address_of("hanna"))
        self.assertEqual(answer.user.app_metadata, {"provider": PROVIDER, "providers": [PROVIDER]})
        auth = client()
        landed = browse(auth.sign_in_with_oauth({"provider": PROVIDER, "options": OPTIONS}).url, "hanna")
        self.assertEqual(arrive(auth, landed).user.id, answer.user.id)

    def test_an_identity_comes_and_goes(self):
        ada = person("ida")
        url = ada.auth.link_identity({"provider": PROVIDER, "options": OPTIONS}).url
        self.assertIn("access_token", browse(url, "ida").fragment)
        identities = {it.provider: it for it in ada.auth.get_user_identities().identities}
        self.assertEqual(identities[PROVIDER].identity_data["email"], address_of("ida"))
        ada.auth.unlink_identity(identities[PROVIDER])
        self.refused(422, "single_identity_not_deletable", ada.auth.unlink_identity, identities["email"])

    def test_an_id_token_opens_a_session(self):
        token = id_token("joan", "the nonce of the app")
        answer = client().sign_in_with_id_token({**token, "nonce": "the nonce of the app"})
        self.assertEqual(answer.user.email, address_of("joan"))

    def test_an_organisation_is_asked_by_saml(self):
        wanted = {"domain": "example.com"}, {"provider_id": str(uuid.uuid4())}
        for it in wanted:
            self.refused(404, "saml_provider_disabled", client().sign_in_with_sso, it)
        settings({"saml_enabled": True})
        self.addCleanup(settings, {"saml_enabled": False})
        self.refused(404, "sso_provider_not_found", client().sign_in_with_sso, wanted[1])
        headers = {"apikey": WORLD["secretKey"]}
        body = {"type": "saml", "metadata_xml": organisation(), "domains": ["example.com"]}
        providers = f"{WORLD['url']}/auth/v1/admin/sso/providers"
        made = httpx.post(providers, json=body, headers=headers)
        self.assertEqual(made.status_code, 201, made.text)
        self.addCleanup(httpx.delete, f"{providers}/{made.json()['id']}", headers=headers)
        for it in (wanted[0], {"provider_id": made.json()["id"]}):
            url = client().sign_in_with_sso(it).url
            self.assertTrue(url.startswith(f"{ENTITY}/login?SAMLRequest="), url)
