"""Makes what the tests of auth need of certificates: an authority (ca.pem) that vouches for 127.0.0.1 (mail.pem, mail.key),
and the key of an organisation's identity provider (saml.pem, saml.key).

usage: certificates.py <folder>
"""

import ipaddress
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(subject: str, key, issuer: str, signer, *extensions: x509.ExtensionType) -> x509.Certificate:
    """A certificate for `subject` that holds for a day."""
    now = datetime.now(UTC)
    builder = (x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named(issuer))
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1)))
    for it in extensions:
        builder = builder.add_extension(it, critical=isinstance(it, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256())


def write(folder: Path, name: str, made: x509.Certificate, key) -> None:
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    kind = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    (folder / f"{name}.key").touch(mode=0o600)
    (folder / f"{name}.key").write_bytes(secret)


def main() -> None:
    folder = Path(sys.argv[1])
    authority, mail, saml = (rsa.generate_private_key(65537, 2048) for _ in range(3))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    root = x509.BasicConstraints(ca=True, path_length=0)
    write(folder, "ca", certificate("tests", authority, "tests", authority, root), authority)
    write(folder, "mail", certificate("mail", mail, "tests", authority, address), mail)
    write(folder, "saml", certificate("organisation", saml, "organisation", saml), saml)


if __name__ == "__main__":
    main()
