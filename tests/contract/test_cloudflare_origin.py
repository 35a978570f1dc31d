"""Certificates of Cloudflare's origin authority: ours by their key, whatever gets lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography import x509

from tests.contract import accounts
from tests.contract.accounts import CLOUDFLARE_TOKEN as TOKEN
from tests.contract.accounts import ZONE
from tests.contract.accounts import opened_zone as opened
from tests.emulators.cloudflare import (
    EDIT_CERTIFICATES,
    EVERYTHING,
    CloudflareEmulator,
    Token,
    failure,
)
from tests.emulators.server import Reply
from wizard.dns.base import Wanted
from wizard.dns.cloudflare_origin import Origin
from wizard.errors import ProviderError, TransientError
from wizard.machines.certificates import private_key

NAMES = (f"www.{ZONE}", ZONE)
KEY = private_key()


@pytest.fixture
def api() -> Iterator[CloudflareEmulator]:
    with accounts.cloudflare() as emulator:
        yield emulator


@pytest.fixture
def origin(api: CloudflareEmulator) -> Origin:
    return opened(api).origin()


def test_a_certificate_is_ordered_once_and_revoked(api: CloudflareEmulator, origin: Origin) -> None:
    made = origin.certificate(KEY, NAMES)
    assert origin.certificate(KEY, NAMES) == made
    assert len(api.calls("POST .*/certificates")) == 1
    root = x509.load_pem_x509_certificate(api.authority.root.encode())
    x509.load_pem_x509_certificate(made.encode()).verify_directly_issued_by(root)
    sent = b"".join(request.raw for request in api.requests)
    assert b"PRIVATE KEY" not in sent
    assert origin.revoke(KEY) == 1
    assert origin.revoke(KEY) == 0
    assert api.certificates == {}


def test_other_names_need_another_certificate(api: CloudflareEmulator, origin: Origin) -> None:
    first = origin.certificate(KEY, NAMES)
    second = origin.certificate(KEY, NAMES[:1])
    assert first != second
    assert origin.revoke(KEY, keep=second) == 1
    assert [c["certificate"] for c in api.certificates.values()] == [second]


def test_one_that_ends_soon_is_renewed(api: CloudflareEmulator, origin: Origin) -> None:
    api.authority.days = 0.001  # five minutes old already: a fifth of its time is left
    with pytest.raises(ProviderError, match="makes no sense"):
        origin.certificate(KEY, NAMES)
    api.authority.days = None
    origin.certificate(KEY, NAMES)
    assert len(api.certificates) == 2


def test_what_others_ordered_is_left_alone(api: CloudflareEmulator, origin: Origin) -> None:
    other = private_key()
    origin.certificate(other, NAMES)
    broken = {"id": "7", "certificate": "-----BEGIN", "hostnames": [ZONE]}
    api.certificates["7"] = broken
    before = set(api.certificates)
    origin.certificate(KEY, NAMES)
    assert origin.revoke(KEY) == 1
    assert set(api.certificates) == before


def test_a_lost_order_is_found_again(api: CloudflareEmulator, origin: Origin) -> None:
    api.fail("POST .*/certificates", "lost")
    with pytest.raises(TransientError):
        origin.certificate(KEY, NAMES)
    origin.certificate(KEY, NAMES)
    assert len(api.certificates) == 1
    api.fail("DELETE .*/certificates/", "lost")
    with pytest.raises(TransientError):
        origin.revoke(KEY)
    assert origin.revoke(KEY) == 0


def test_many_certificates_come_in_pages(api: CloudflareEmulator, origin: Origin) -> None:
    for _ in range(60):
        origin.certificate(private_key(), NAMES)
    made = origin.certificate(KEY, NAMES)
    assert origin.certificate(KEY, NAMES) == made
    assert len(api.certificates) == 61


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_a_revocation_survives_what_the_api_says(
    api: CloudflareEmulator, origin: Origin, status: int
) -> None:
    origin.certificate(KEY, NAMES)
    api.fail("DELETE .*/certificates/", reply=failure(status, 1101, "not now"))
    if status == 404:
        assert origin.revoke(KEY) == 1
    else:
        with pytest.raises(TransientError):
            origin.revoke(KEY)
    origin.revoke(KEY)
    assert api.certificates == {}


def test_the_missing_right_is_named_before_anything_is_made(api: CloudflareEmulator) -> None:
    assert opened(api).edge(Wanted(origin=True)).wrong == ()
    api.tokens[TOKEN] = Token(EVERYTHING - {EDIT_CERTIFICATES})
    assert opened(api).edge().wrong == ()
    (wrong,) = opened(api).edge(Wanted(origin=True)).wrong
    assert "Zone / SSL and Certificates / Edit" in wrong


def test_without_challenges_always_use_https_does_no_harm(api: CloudflareEmulator) -> None:
    api.settings["always_use_https"] = "on"
    assert opened(api).edge(Wanted(origin=True)).wrong == ()
    assert "Always Use HTTPS" in opened(api).edge().wrong[0]


@pytest.mark.parametrize("kind", ["html", "truncated"])
@pytest.mark.parametrize("match", ["GET .*/certificates", "POST .*/certificates"])
def test_a_broken_answer_is_a_clear_error(
    api: CloudflareEmulator, origin: Origin, match: str, kind: str
) -> None:
    api.fail(match, kind)
    with pytest.raises(ProviderError) as error:
        origin.certificate(KEY, NAMES)
    assert error.value.cure
    origin.certificate(KEY, NAMES)
    assert len(api.certificates) == 1


@pytest.mark.parametrize("result", [None, [None], [{}], {}, "text", {"certificate": 7}])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_senseless_answers_are_a_clear_error(
    api: CloudflareEmulator, origin: Origin, method: str, result: object
) -> None:
    reply = Reply(200, {"success": True, "result": result})
    api.fail(f"{method} .*/certificates", reply=reply)
    with pytest.raises(ProviderError, match="makes no sense"):
        origin.certificate(KEY, NAMES)


def test_a_certificate_for_another_key_is_not_taken(
    api: CloudflareEmulator, origin: Origin
) -> None:
    origin.certificate(private_key(), NAMES)
    (strange,) = api.certificates.values()
    api.fail("POST .*/certificates", reply=Reply(200, {"success": True, "result": strange}))
    with pytest.raises(ProviderError, match="makes no sense"):
        origin.certificate(KEY, NAMES)
