"""Makes the responses beside this file: signed by libxml2 and OpenSSL (pip install lxml cryptography), not by our own library.

Each is of 2026-01-01T00:00:00Z, answers the request `_request`, and is for the service at https://api.test/auth/v1.
"""

import base64
import datetime
import hashlib
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

HERE = pathlib.Path(__file__).parent
SERVICE = "https://api.test/auth/v1/sso/saml"
RESPONSE = f"""<saml2p:Response xmlns:saml2p="urn:oasis:names:tc:SAML:2.0:protocol" Destination="{SERVICE}/acs"
    ID="_response" InResponseTo="_request" IssueInstant="2026-01-01T00:00:00.123Z" Version="2.0"
    xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <saml2:Issuer xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion"
      Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity">https://idp.test/metadata</saml2:Issuer>
  <saml2p:Status><saml2p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></saml2p:Status>
  {{ASSERTION}}
</saml2p:Response>"""
ASSERTION = f"""<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="_assertion" IssueInstant="2026-01-01T00:00:00.123Z"
      Version="2.0">
    <Issuer>https://idp.test/metadata</Issuer>
    <Subject>
      <NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">ada &amp; co</NameID>
      <SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
        <SubjectConfirmationData InResponseTo="_request" NotOnOrAfter="2026-01-01T00:05:00.123Z"
            Recipient="{SERVICE}/acs"/>
      </SubjectConfirmation>
    </Subject>
    <Conditions NotBefore="2025-12-31T23:55:00.123Z" NotOnOrAfter="2026-01-01T00:05:00.123Z">
      <AudienceRestriction><Audience>{SERVICE}/metadata</Audience></AudienceRestriction>
    </Conditions>
    <AuthnStatement AuthnInstant="2026-01-01T00:00:00.123Z" SessionIndex="_session">
      <AuthnContext>
        <AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</AuthnContextClassRef>
      </AuthnContext>
    </AuthnStatement>
    <AttributeStatement>
      <Attribute Name="urn:oid:0.9.2342.19200300.100.1.3" FriendlyName="mail"
          NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">
        <AttributeValue xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
            xsi:type="xs:string">ada@org.test</AttributeValue>
      </Attribute>
    </AttributeStatement>
  </Assertion>"""


def key_pair():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp.test")])
    start = datetime.datetime(2020, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2049))
    return key, builder.sign(key, hashes.SHA256())


def canonical(element, prefixes=()):
    return etree.tostring(element, method="c14n", exclusive=True, inclusive_ns_prefixes=list(prefixes))


def sign(element, key, certificate, algorithm="sha256", prefixes=()):
    """Signs `element` in place, with the signature behind its issuer, where the schema wants it."""
    digests = {"sha256": "2001/04/xmlenc#sha256", "sha512": "2001/04/xmlenc#sha512"}
    digest = base64.b64encode(hashlib.new(algorithm, canonical(element, prefixes)).digest()).decode()
    exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
    names = f'<ec:InclusiveNamespaces xmlns:ec="{exclusive}" PrefixList="{" ".join(prefixes)}"/>' if prefixes else ""
    info = (
        f'<ds:SignedInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">'
        f'<ds:CanonicalizationMethod Algorithm="{exclusive}"/>'
        f'<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-{algorithm}"/>'
        f'<ds:Reference URI="#{element.get("ID")}"><ds:Transforms>'
        f'<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
        f'<ds:Transform Algorithm="{exclusive}">{names}</ds:Transform></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="http://www.w3.org/{digests[algorithm]}"/>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    )
    hashing = {"sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[algorithm]
    value = key.sign(canonical(etree.fromstring(info)), padding.PKCS1v15(), hashing)
    lines = base64.encodebytes(certificate.public_bytes(serialization.Encoding.DER)).decode()
    signature = (
        f'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">{info}'
        f"<ds:SignatureValue>{base64.encodebytes(value).decode()}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>"
        f"<ds:X509Certificate>{lines}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>"
    )
    element.insert(1, etree.fromstring(signature))
    return element


def main():
    key, certificate = key_pair()
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    (HERE / "certificate.txt").write_text("".join(pem.splitlines()[1:-1]) + "\n")

    def response():
        return etree.fromstring(RESPONSE.replace("{ASSERTION}", ASSERTION))

    def assertion(algorithm, prefixes=()):
        root = response()
        sign(root.find("{urn:oasis:names:tc:SAML:2.0:assertion}Assertion"), key, certificate, algorithm, prefixes)
        return root

    (HERE / "assertion.xml").write_bytes(etree.tostring(assertion("sha256", ["xs"])))
    (HERE / "assertion_sha512.xml").write_bytes(etree.tostring(assertion("sha512")))
    (HERE / "response.xml").write_bytes(etree.tostring(sign(response(), key, certificate)))
    both = sign(assertion("sha256"), key, certificate)
    (HERE / "both.xml").write_bytes(etree.tostring(both, xml_declaration=True, encoding="UTF-8"))


main()
