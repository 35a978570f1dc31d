"""Certificates of Cloudflare's origin authority, which Cloudflare's proxies trust and nobody else.

A certificate knows neither names nor tags of ours: those for our key are ours. So an order whose
answer got lost is found again, and what someone else ordered for the zone is never touched.
https://developers.cloudflare.com/ssl/origin-configuration/origin-ca/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wizard.dns.cloudflare_api import Api, senseless, unless_missing
from wizard.secrets import Secret

DAYS = 5475
"""How long a certificate is valid: the longest that is offered, as only a deploy renews it."""

_EDIT = "Zone / SSL and Certificates / Edit"
_PAGE = 50  # certificates a request; what the API allows at most
_NO_CERTIFICATE = "0"


class Origin:
    """Orders, finds and revokes certificates of one zone; see `dns.base.OriginAuthority`."""

    def __init__(self, api: Api, zone_id: str) -> None:
        self._api = api
        self._zone_id = zone_id
        self._calls = api.client.origin_ca_certificates.with_raw_response

    def check(self) -> None:
        """Raise ProviderError unless certificates may be ordered and revoked. Changes nothing."""
        with unless_missing():
            self._revoke(_NO_CERTIFICATE, "check that certificates may be ordered")

    def certificate(self, key: Secret, names: tuple[str, ...]) -> str:
        """Return a certificate of ours that fits and is not due, ordered if there is none."""
        private = _loaded(key)
        fitting = [
            certificate
            for _, certificate in self._ours(private)
            if _names(certificate) == set(names) and not _is_due(certificate)
        ]
        if not fitting:
            return _text(self._order(private, names))
        return _text(max(fitting, key=lambda certificate: certificate.not_valid_after_utc))

    def revoke(self, key: Secret, keep: str = "") -> int:
        """Revoke all certificates of the key but `keep`; what is gone already is no error."""
        revoked = 0
        for number, certificate in list(self._ours(_loaded(key))):
            if _text(certificate) == keep:
                continue
            with unless_missing():
                self._revoke(number, f"revoke the certificate {number}")
            revoked += 1
        return revoked

    def _revoke(self, number: str, doing: str) -> None:
        self._api.ask(doing, _EDIT, self._calls.delete, certificate_id=number)

    def _ours(self, private: ec.EllipticCurvePrivateKey) -> Iterator[tuple[str, x509.Certificate]]:
        """Yield numbers and certificates of the key that are not revoked."""
        doing = "list the certificates of Cloudflare's origin authority"
        items = self._api.list(doing, _EDIT, self._calls.list, _PAGE, zone_id=self._zone_id)
        for item in items:
            if not isinstance(item, dict) or not isinstance(item.get("id"), int | str):
                raise senseless(doing, "a certificate without an id")
            found = _parsed(item.get("certificate"))
            if found is not None and not item.get("revoked_at") and _is_for(found, private):
                yield str(item["id"]), found

    def _order(
        self, private: ec.EllipticCurvePrivateKey, names: tuple[str, ...]
    ) -> x509.Certificate:
        doing = "order a certificate of Cloudflare's origin authority"
        told = self._api.ask(
            doing,
            _EDIT,
            self._calls.create,
            csr=_request(private, names),
            hostnames=list(names),
            request_type="origin-ecc",
            requested_validity=DAYS,
        )
        made = _parsed(told.get("certificate") if isinstance(told, dict) else None)
        if made is None:
            raise senseless(doing, "it holds no certificate")
        if not _is_for(made, private) or _names(made) != set(names) or _is_due(made):
            raise senseless(doing, "a certificate for another key or other names, or one that ends")
        return made


def _request(private: ec.EllipticCurvePrivateKey, names: tuple[str, ...]) -> str:
    # the names that count are told beside it; a long one does not fit into the subject
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.add_extension(alternatives, critical=False).sign(private, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def _loaded(key: Secret) -> ec.EllipticCurvePrivateKey:
    private = serialization.load_pem_private_key(key.reveal().encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private


def _parsed(text: object) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(text.encode() if isinstance(text, str) else b"")
    except ValueError:
        return None


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _is_for(certificate: x509.Certificate, private: ec.EllipticCurvePrivateKey) -> bool:
    try:
        return certificate.public_key() == private.public_key()
    except (ValueError, TypeError):  # of a kind that the library does not know
        return False


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return set()
    return set(found.value.get_values_for_type(x509.DNSName))


def _is_due(certificate: x509.Certificate) -> bool:
    """Say whether it is not valid now, or less than a third of its time is left."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.now(UTC)
    return not begins <= now or 3 * (ends - now) < ends - begins
