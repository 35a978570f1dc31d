"""Keys and self-signed certificates that the build home makes for machines.

Must not import: pyinfra.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wizard.machines.desired import File, Handler
from wizard.secrets import Secret

DATABASE_TRUST = "/usr/local/share/ca-certificates/build-usb-database.crt"
"""Where a machine keeps the database's certificate: PHP's MySQL client trusts the system's store,
PostgreSQL's is told the file.
It can vouch for nothing but itself."""
_YEARS = 10


def trust(certificate: str) -> tuple[File, Handler]:
    """Return what makes the machine's programs trust the database's certificate (PEM)."""
    name, path = "trust-database", DATABASE_TRUST
    return File(path, certificate, handlers=(name,)), Handler(
        name,
        # what update-ca-certificates would do, without going through the whole store
        f'ln -sfn {path} "/etc/ssl/certs/$(openssl x509 -noout -hash -in {path}).0"',
    )


def self_signed(common_name: str, addresses: tuple[str, ...]) -> tuple[str, Secret]:
    """Return a certificate (PEM, ten years, for these IP addresses, unable to sign others) and its
    P-256 key (PEM). Clients trust this one certificate instead of an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key)


def private_key() -> Secret:
    """Return a new P-256 key (PEM)."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: ec.EllipticCurvePrivateKey) -> Secret:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Secret(private.decode())
