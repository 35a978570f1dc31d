"""Production mode behind Cloudflare's proxies, on the emulated DigitalOcean, over IPv4 and IPv6:
who is taken out of the zone gets no visitor from then on, for no resolver remembers webservers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.cloudflare import EDIT_DNS, READ_DNS, READ_ZONE, Token
from tests.lab.laboratory import Laboratory
from tests.lab.proxied import ANSWERS, ANYBODY, EDGE, EDGE_6, HOST, Proxied, opened
from tests.lab.test_cloud_production import OWN_TOKEN, SCOPES
from wizard.providers.base import Machine, Resource, ResourceKind

pytestmark = pytest.mark.lab

OWN_DNS_TOKEN = "good-token-of-autoscalers"
PRODUCTION = """
webserver: {count: 2}
scaling:
  minimum: 2
  maximum: 3
  health: {interval: 5, timeout: 3, failures: 2}
  credentials: {provider: {environment: AUTOSCALER}, dns: {environment: AUTOSCALER_DNS}}
"""


def fleet(site: Proxied) -> dict[str, Any]:
    told = site.inside(*site.command("status", "--json")).stdout
    found: dict[str, Any] = json.loads(told)["fleet"]
    return found


def serving(site: Proxied) -> set[str]:
    listed = fleet(site)["webservers"]
    return {w["name"] for w in listed if w["phase"] == "serving" and w["published"]}


def until(site: Proxied, what: str, true: Callable[[], bool], seconds: float) -> float:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, (what, fleet(site))
        time.sleep(0.5)
    print(f"{what}: {time.monotonic() - started:.0f} s", flush=True)
    return time.monotonic() - started


def webservers(site: Proxied) -> dict[str, Machine]:
    found = site.laboratory.provider.machines("demo")
    return {m.name: m for m in found if m.name.startswith("web")}


def origins(site: Proxied) -> set[str]:
    """The addresses that the proxies fetch from."""
    return set((site.folder / "origin").read_text().split())


def test_a_webserver_leaves_and_visitors_see_nothing_of_it(
    laboratory: Laboratory, tmp_path: Path
) -> None:
    with opened(laboratory, tmp_path) as site:
        text = ANSWERS.replace("mode: development", "mode: production")
        text = text.replace("region: fra1", "region: fra1, ipv6: true")
        (tmp_path / "answers.yaml").write_text(text + PRODUCTION)
        site.environment |= {"AUTOSCALER": OWN_TOKEN, "AUTOSCALER_DNS": OWN_DNS_TOKEN}
        site.digitalocean.tokens[OWN_TOKEN] = SCOPES - {
            scope for scope in SCOPES if scope.startswith("domain:")
        }
        site.cloudflare.tokens[OWN_DNS_TOKEN] = Token(frozenset({READ_ZONE, READ_DNS, EDIT_DNS}))
        planned = site.run("plan", tmp_path / "answers.yaml")
        assert "A, AAAA" in planned
        site.run("deploy", tmp_path / "answers.yaml", "--json", "--yes")
        until(site, "an autoscaler leads", lambda: bool(fleet(site)["leader"]), 180)
        until(site, "two serve", lambda: len(serving(site)) == 2, 120)
        both = webservers(site)
        wanted = {a for m in both.values() for a in (m.public_address, m.ipv6)}
        until(site, "the zone has the origins of both", lambda: origins(site) == wanted, 60)
        assert site.cloudflare.lookup(HOST)[1] == [EDGE]

        # through the edge alone, over both kinds of address and at both layers
        trust = ("--cacert", tmp_path / "edge.pem")
        for _ in range(2 * len(origins(site))):
            assert site.ask(ANYBODY, EDGE, *trust)[0] == 200
        for machine in both.values():
            for target in (machine.private_address, machine.ipv6):
                assert laboratory.provider.probe("build-machine", target, 443) == "filtered"
        logs = "".join(
            laboratory.enter(m.id, "cat", "/var/log/nginx/access.log") for m in both.values()
        )
        assert EDGE_6 not in logs, "nginx tells the visitor's address, not the proxy's"

        # one of them is lost: its origin leaves the zone, and from then on every answer is good
        gone = both["web2"]
        droplet = next(d for d in site.digitalocean.droplets.values() if d["name"] == "web2")
        laboratory.provider.delete(Resource(ResourceKind.MACHINE, gone.id, "web2", "demo"))
        del site.digitalocean.droplets[droplet["id"]]
        lost = {gone.public_address, gone.ipv6}
        until(site, "its origin leaves the zone", lambda: not lost & origins(site), 90)
        for _ in range(12):
            assert site.ask(ANYBODY, EDGE, *trust)[0] == 200
        until(site, "another takes its place", lambda: len(serving(site) - {"web2"}) == 2, 300)
        now = webservers(site)
        wanted = {a for m in now.values() for a in (m.public_address, m.ipv6)}
        until(site, "its origin is in the zone", lambda: origins(site) == wanted, 60)
        for _ in range(2 * len(origins(site))):
            assert site.ask(ANYBODY, EDGE, *trust)[0] == 200

        def asked_by(token: str) -> list[str]:
            return [
                r.line
                for r in site.cloudflare.calls("^(POST|PATCH|PUT|DELETE)")
                if r.headers.get("authorization") == f"Bearer {token}"
            ]

        assert any(line.endswith("/batch") for line in asked_by(OWN_DNS_TOKEN))
        site.run("destroy", "--yes", "demo")
        assert site.cloudflare.lookup(HOST)[1] == []
        assert site.digitalocean.droplets == {}
        assert site.digitalocean.projects == {}
        assert site.digitalocean.violations == []
        assert site.cloudflare.violations == []
