"""The authorities that sign for RDS: published by Amazon for each region, in no system's store.

They are fetched when they are needed, over TLS that the public authorities vouch for, so that a new
region or a new authority needs no new version of this program.
"""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request

from cryptography import x509
from cryptography.x509.oid import NameOID

from wizard.errors import NotSupportedError, TransientError
from wizard.providers.aws_api import Api

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
_URL = "https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem"
_TIMEOUT = 30.0  # seconds
_LARGEST = 1 << 20  # bytes; a region's has about 6 KB
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def fetch(api: Api, name: str) -> str:
    """Return the root (PEM) that RDS calls `name`, such as rds-ca-rsa2048-g1, in the region."""
    if api.region.startswith(("cn-", "us-gov-", "us-iso")):
        raise NotSupportedError(
            f"managed databases in {api.region} are not supported yet",
            where="database.managed",
            why="their certificates are published elsewhere",
            cure="set it to false, or use another region",
        )
    url = api.elsewhere(_URL.format(region=api.region))
    doing = "fetch the certificate authorities of RDS"
    for pem in _CERTIFICATE.findall(_read(url, doing)):
        try:
            subject = x509.load_pem_x509_certificate(pem.encode()).subject
        except ValueError as error:
            raise api.senseless(doing, f"{url}: {error}") from error
        common = [str(n.value) for n in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if name in map(_called, common):
            return f"{pem}\n"
    raise api.senseless(doing, f"{url} does not hold {name}")


def _called(common_name: str) -> str:
    """Return what RDS calls an authority: "Amazon RDS eu-west-1 Root CA RSA2048 G1" is
    rds-ca-rsa2048-g1."""
    kind = common_name.rpartition(" CA ")[2]
    return f"rds-ca-{kind.lower().replace(' ', '-')}"


def _read(url: str, doing: str) -> str:
    # neither proxies nor certificates of this computer's settings
    handlers = [
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    ]
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=_TIMEOUT) as answer:
            return bytes(answer.read(_LARGEST)).decode("ascii", "replace")
    except (urllib.error.URLError, OSError) as error:
        raise TransientError(
            f"cannot {doing}",
            where=url,
            why=str(getattr(error, "reason", None) or error),
            cure="check this computer's network, then run again",
        ) from error
