"""What every DNS provider must do: rfc2136 against knot, the others against emulated APIs with a
name server behind them."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import dns.flags
import dns.message
import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from tests.emulators import openapi
from tests.emulators.cloudflare import CloudflareEmulator
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.knot import KEY, ZONE, Knot, free_port
from tests.emulators.knot import served as served_by_knot
from tests.emulators.nameserver import NameServer
from tests.emulators.route53 import Route53Emulator
from wizard.dns.base import DnsProvider, RecordSet
from wizard.dns.cloudflare import Cloudflare
from wizard.dns.digitalocean import DigitalOcean
from wizard.dns.registry import PROVIDERS, open_dns
from wizard.dns.rfc2136 import Rfc2136
from wizard.dns.route53 import Route53
from wizard.errors import NotSupportedError, ProviderError, TransientError, UsageError
from wizard.providers.base import DnsServer
from wizard.secrets import Secret

WWW = RecordSet(f"www.{ZONE}", ("192.0.2.1",), 60)


@pytest.fixture
def knot(tmp_path: Path) -> Iterator[Knot]:
    with served_by_knot(tmp_path) as found:
        yield found


@pytest.fixture
def provider(knot: Knot) -> Rfc2136:
    opened = open_dns("rfc2136", ZONE, knot.server, in_lab=True)
    assert isinstance(opened, Rfc2136)
    return opened


class Served(Protocol):
    """A DNS provider under test, and the zone as others see and change it."""

    provider: DnsProvider

    def ask(self, name: str, kind: str = "A") -> list[str]:
        """Return what is there, without any of the code under test."""

    def replace(self, address: str) -> None:
        """Give our record another address behind the provider's back."""


class ServedByKnot:
    def __init__(self, knot: Knot) -> None:
        self.knot = knot
        self.ask = knot.ask
        self.provider: DnsProvider = open_dns("rfc2136", ZONE, knot.server, in_lab=True)

    def replace(self, address: str) -> None:
        self.knot.change(lambda update: update.replace("www", 60, "A", address))


class ServedByCloudflare:
    def __init__(self, api: CloudflareEmulator, server: NameServer) -> None:
        self.api = api
        self.zone = api.add_zone(ZONE)
        another = {"comment": "build-usb deployment=another"}
        api.add_record(self.zone, "NS", ZONE, f"ns.{ZONE}.")
        api.add_record(self.zone, "A", f"foreign.{ZONE}", "192.0.2.99")
        api.add_record(self.zone, "AAAA", f"six.{ZONE}", "2001:db8::1")
        api.add_record(self.zone, "CNAME", f"alias.{ZONE}", f"foreign.{ZONE}")
        api.add_record(self.zone, "A", f"other.{ZONE}", "192.0.2.98", **another)
        api.add_record(self.zone, "A", f"odd.{ZONE}", "192.0.2.97", comment="something else")
        token = Secret(next(iter(api.tokens)))
        self.provider: DnsProvider = Cloudflare(ZONE, token, (server.address,), url=api.url)

    def ask(self, name: str, kind: str = "A") -> list[str]:
        records = self.api.records[self.zone].values()
        return sorted(r["content"] for r in records if (r["name"], r["type"]) == (name, kind))

    def replace(self, address: str) -> None:
        ours = next(r for r in self.api.records[self.zone].values() if r["name"] == WWW.name)
        ours["content"] = address


class ServedByDigitalOcean:
    def __init__(self, api: DigitalOceanEmulator, server: NameServer) -> None:
        self.api = api
        api.add_domain(ZONE)
        for record in api.domains[ZONE].values():
            record["data"] = f"ns.{ZONE}."
        for kind, name, data in (
            ("A", "foreign", "192.0.2.99"),
            ("AAAA", "six", "2001:db8::1"),
            ("CNAME", "alias", f"foreign.{ZONE}"),
            ("TXT", "_build-usb.other", "deployment=another"),
            ("A", "other", "192.0.2.98"),
            ("TXT", "_build-usb.odd", "something else"),
        ):
            api.add_record(ZONE, kind, name, data)
        token = Secret(TOKEN)
        self.provider: DnsProvider = DigitalOcean(ZONE, token, (server.address,), url=api.url)

    def ask(self, name: str, kind: str = "A") -> list[str]:
        relative = "@" if name == ZONE else name.removesuffix(f".{ZONE}")
        records = self.api.domains[ZONE].values()
        return sorted({r["data"] for r in records if (r["name"], r["type"]) == (relative, kind)})

    def replace(self, address: str) -> None:
        ours = next(
            r for r in self.api.domains[ZONE].values() if (r["name"], r["type"]) == ("www", "A")
        )
        ours["data"] = address


class ServedByRoute53:
    def __init__(self, api: Route53Emulator, server: NameServer) -> None:
        self.api = api
        self.zone = api.add_zone(ZONE)
        api.add_zone(ZONE, private=True)
        for kind, name, *values in (
            ("NS", ZONE, f"ns.{ZONE}."),
            ("A", f"foreign.{ZONE}", "192.0.2.99"),
            ("AAAA", f"six.{ZONE}", "2001:db8::1"),
            ("CNAME", f"alias.{ZONE}", f"foreign.{ZONE}"),
            ("TXT", f"_build-usb.other.{ZONE}", '"deployment=another"'),
            ("A", f"other.{ZONE}", "192.0.2.98"),
            ("TXT", f"_build-usb.odd.{ZONE}", '"something else"'),
        ):
            api.put(self.zone, kind, name, *values)
        self.provider: DnsProvider = Route53(
            ZONE, Secret("AKIDGOOD:a-secret-key"), (server.address,), url=api.url, poll=0.02
        )

    def ask(self, name: str, kind: str = "A") -> list[str]:
        return self.api.values(self.zone, name, kind)

    def replace(self, address: str) -> None:
        self.api.put(self.zone, "A", WWW.name, address)


@pytest.fixture(params=["rfc2136", "cloudflare", "digitalocean", "route53"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    if request.param == "rfc2136":
        yield ServedByKnot(request.getfixturevalue("knot"))
        return
    if request.param == "route53":
        with Route53Emulator() as amazon, NameServer(amazon.lookup) as server:
            yield ServedByRoute53(amazon, server)
            assert amazon.violations == []
        return
    emulator, harness = {
        "cloudflare": (CloudflareEmulator, ServedByCloudflare),
        "digitalocean": (DigitalOceanEmulator, ServedByDigitalOcean),
    }[request.param]
    api: Any
    with emulator(openapi.document(request.param)) as api, NameServer(api.lookup) as server:
        yield harness(api, server)
        assert api.violations == []


def test_a_record_comes_changes_and_goes(served: Served) -> None:
    assert served.provider.zone() == ZONE
    assert served.provider.records("demo") == []
    assert served.provider.ensure_record("demo", WWW)
    assert not served.provider.ensure_record("demo", WWW)
    assert served.ask(WWW.name) == ["192.0.2.1"]
    assert served.provider.records("demo") == [WWW]

    two = RecordSet(WWW.name, ("192.0.2.2", "192.0.2.3"), 120)
    assert served.provider.ensure_record("demo", two)
    assert not served.provider.ensure_record("demo", replace(two, addresses=two.addresses[::-1]))
    assert served.provider.records("demo") == [two]
    assert served.provider.ensure_record("demo", replace(two, ttl=90))

    served.provider.delete_record("demo", WWW.name)
    served.provider.delete_record("demo", WWW.name)
    assert served.provider.records("demo") == []
    assert served.ask(WWW.name) == []
    assert served.ask(f"_build-usb.{WWW.name}", "TXT") == []


def test_both_kinds_of_address_are_one_record_set(served: Served) -> None:
    both = RecordSet(WWW.name, ("192.0.2.1", "2001:db8::1", "2001:db8::2"), 60)
    assert served.provider.ensure_record("demo", WWW)
    assert served.provider.ensure_record("demo", both)
    assert not served.provider.ensure_record("demo", both)
    assert served.provider.records("demo") == [both]
    assert served.ask(WWW.name) == ["192.0.2.1"]
    assert served.ask(WWW.name, "AAAA") == ["2001:db8::1", "2001:db8::2"]
    served.provider.wait_until_served(both, 5)
    with pytest.raises(TransientError, match="not served everywhere"):
        served.provider.wait_until_served(replace(both, addresses=both.addresses[:2]), 0.2)

    six = replace(both, addresses=("2001:db8::9",))
    assert served.provider.ensure_record("demo", six)
    assert served.ask(WWW.name) == []
    served.provider.wait_until_served(six, 5)
    assert served.provider.ensure_record("demo", WWW)
    assert served.ask(WWW.name, "AAAA") == []
    served.provider.ensure_record("demo", both)
    served.provider.delete_record("demo", WWW.name)
    assert served.provider.records("demo") == []
    assert served.ask(WWW.name) + served.ask(WWW.name, "AAAA") == []


def test_the_zone_itself_can_be_the_name(served: Served) -> None:
    apex = RecordSet(ZONE, ("192.0.2.7",), 60)
    assert served.provider.ensure_record("demo", apex)
    assert served.provider.records("demo") == [apex]
    assert served.provider.zone() == ZONE
    served.provider.delete_record("demo", ZONE)
    assert served.provider.records("demo") == []
    assert served.ask(ZONE, "NS") == [f"ns.{ZONE}."]


@pytest.mark.parametrize("name", ["foreign", "six", "alias", "other", "odd"])
def test_what_is_not_ours_is_never_touched(served: Served, name: str) -> None:
    full = f"{name}.{ZONE}"

    def everything() -> list[list[str]]:
        kinds = ("A", "AAAA", "CNAME")
        marker = served.ask(f"_build-usb.{full}", "TXT")
        return [*(served.ask(full, kind) for kind in kinds), marker]

    before = everything()
    with pytest.raises(ProviderError, match="not this deployment's") as error:
        served.provider.ensure_record("demo", replace(WWW, name=full))
    assert error.value.cure
    served.provider.delete_record("demo", full)
    assert everything() == before


def test_deployments_do_not_see_each_other(served: Served) -> None:
    served.provider.ensure_record("demo", WWW)
    served.provider.ensure_record("second", replace(WWW, name=f"second.{ZONE}"))
    served.provider.delete_record("second", WWW.name)
    assert served.provider.records("demo") == [WWW]
    assert [record.name for record in served.provider.records("another")] == [f"other.{ZONE}"]


def test_waits_until_served(served: Served) -> None:
    served.provider.ensure_record("demo", WWW)
    served.provider.wait_until_served(WWW, 5)
    late = threading.Timer(0.3, served.replace, ["192.0.2.9"])
    late.start()
    served.provider.wait_until_served(replace(WWW, addresses=("192.0.2.9",)), 10)
    late.join()
    with pytest.raises(TransientError, match="not served everywhere") as error:
        served.provider.wait_until_served(WWW, 0.2)
    assert "192.0.2.9" in error.value.why


def test_what_others_change_is_put_right(served: Served) -> None:
    served.provider.ensure_record("demo", WWW)
    served.replace("192.0.2.50")
    assert served.provider.ensure_record("demo", WWW)
    assert served.ask(WWW.name) == list(WWW.addresses)


def test_names_outside_the_zone_are_refused(served: Served) -> None:
    with pytest.raises(ProviderError, match="not in the zone"):
        served.provider.ensure_record("demo", replace(WWW, name="www.elsewhere.test"))


# -- rfc2136's own --------------------------------------------------------------------------------


def test_a_record_someone_adds_meanwhile_is_not_overwritten(knot: Knot) -> None:
    """Between our reading and our update another record appears: only the server can notice."""
    provider = Rfc2136(ZONE, knot.server, pause=lambda _seconds: None)
    look = provider._look

    def look_then_lose_the_race(name: object) -> object:
        seen = look(name)  # type: ignore[arg-type]
        knot.change(lambda update: update.replace("www", 60, "A", "192.0.2.50"))
        return seen

    provider._look = look_then_lose_the_race  # type: ignore[method-assign,assignment]
    with pytest.raises(ProviderError, match="not this deployment's"):
        provider.ensure_record("demo", WWW)
    assert knot.ask(WWW.name) == ["192.0.2.50"]


def test_our_record_marked_by_another_meanwhile_is_not_deleted(knot: Knot) -> None:
    provider = Rfc2136(ZONE, knot.server, pause=lambda _seconds: None)
    provider.ensure_record("demo", WWW)
    look = provider._look

    def look_then_lose_the_race(name: object) -> object:
        seen = look(name)  # type: ignore[arg-type]
        marker = '"deployment=another"'
        knot.change(lambda update: update.replace("_build-usb.www", 60, "TXT", marker))
        return seen

    provider._look = look_then_lose_the_race  # type: ignore[method-assign,assignment]
    provider.delete_record("demo", WWW.name)
    assert knot.ask(WWW.name) == ["192.0.2.1"]


def test_many_at_once_end_in_one_of_their_wishes(knot: Knot) -> None:
    wishes = [RecordSet(WWW.name, (f"192.0.2.{n}",), 60) for n in range(1, 7)]
    lost: list[TransientError] = []

    def wish(record: RecordSet) -> None:
        try:
            Rfc2136(ZONE, knot.server, ((knot.server.address, knot.server.port),)).ensure_record(
                "demo", record
            )
        except TransientError as error:
            lost.append(error)

    threads = [threading.Thread(target=wish, args=(record,)) for record in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lost) < len(wishes)
    served = knot.ask(WWW.name)
    assert len(served) == 1
    assert tuple(served) in [record.addresses for record in wishes]


def test_names_the_servers_that_do_not_serve_it(knot: Knot) -> None:
    silent = ("127.0.0.1", free_port())
    provider = Rfc2136(ZONE, knot.server, (("127.0.0.1", knot.server.port), silent))
    provider.ensure_record("demo", WWW)
    with pytest.raises(TransientError) as error:
        provider.wait_until_served(WWW, 0.3)
    assert f"{silent[0]}:{silent[1]}" in error.value.why
    assert f":{knot.server.port} " not in error.value.why


def test_finds_the_authoritative_servers_itself(knot: Knot) -> None:
    provider = Rfc2136(ZONE, knot.server)
    assert provider._name_servers() == [("127.0.0.1", 53)]


def failing(server: DnsServer, zone: str = ZONE) -> ProviderError:
    with pytest.raises(ProviderError) as error:
        Rfc2136(zone, server, timeout=0.5).zone()
    assert error.value.cure
    assert KEY.reveal() not in str(error.value)
    return error.value


def test_refusals_are_told_apart(knot: Knot, monkeypatch: pytest.MonkeyPatch) -> None:
    good = knot.server
    wrong = Secret(base64.b64encode(b"x" * 32).decode())
    assert failing(replace(good, key_name="unknown")).code == "BADKEY"
    assert failing(replace(good, key=wrong)).code == "BADSIG"
    assert failing(good, "elsewhere.test").code == "UNSIGNED"
    assert failing(replace(good, key_name="reader")).code == "BADKEY"
    assert "base64" in failing(replace(good, key=Secret("no base64!"))).why
    assert "algorithm" in failing(replace(good, algorithm="hmac-md4")).why
    assert isinstance(failing(replace(good, port=free_port())), TransientError)
    now = time.time
    monkeypatch.setattr(dns.message.time, "time", lambda: now() - 4000)
    assert failing(good).code == "BADTIME"


def test_a_server_that_never_answers_is_a_time_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = DnsServer("127.0.0.1", listener.getsockname()[1], "ours", "hmac-sha256", KEY)
        assert isinstance(failing(server), TransientError)


def test_a_zone_that_may_not_be_listed_is_explained(knot: Knot) -> None:
    provider = Rfc2136(ZONE, replace(knot.server, key_name="reader"))
    with pytest.raises(ProviderError, match="list the zone's records") as error:
        provider.records("demo")
    assert "transfers" in error.value.cure


def test_the_registry_names_what_works(knot: Knot) -> None:
    for name in PROVIDERS:
        opened = open_dns(name, ZONE, knot.server, in_lab=False, token=Secret("AKID:a-secret"))
        assert opened.name == name
        assert "a-secret" not in repr(opened)
    with pytest.raises(NotSupportedError, match="bind") as error:
        open_dns("bind", ZONE, None, in_lab=False)
    assert "rfc2136" in error.value.cure
    for name in PROVIDERS:
        with pytest.raises(UsageError):
            open_dns(name, ZONE, None, in_lab=False)
