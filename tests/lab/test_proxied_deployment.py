"""A whole deployment behind Cloudflare's proxies, emulated: its API, and in the lab a reverse proxy
at an address inside the networks that the API names."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.laboratory import Laboratory
from tests.lab.proxied import ANSWERS, ANYBODY, EDGE, HOST, ZONE, Proxied, opened
from wizard.lab import addresses
from wizard.providers.base import Machine, ResourceKind

pytestmark = pytest.mark.lab

MORE = f"""
tls: {{authority: cloudflare-origin}}
gateway: {{enabled: true, users: [{{name: editor, email: editor@{ZONE}}}]}}
"""


@pytest.fixture
def proxied(laboratory: Laboratory, tmp_path: Path) -> Iterator[Proxied]:
    with opened(laboratory, tmp_path) as made:
        yield made


def visitors(proxied: Proxied, machine: Machine, wanted: str) -> list[str]:
    """The addresses in the access log, once one asked for `wanted` is there."""
    end = time.monotonic() + 15
    while True:
        log = proxied.laboratory.enter(machine.id, "cat", "/var/log/nginx/access.log")
        if wanted in log:
            return [line.split()[0] for line in log.splitlines() if wanted in line]
        assert time.monotonic() < end, log
        time.sleep(0.5)


def test_a_site_behind_proxies_answers_through_them_only(proxied: Proxied) -> None:
    proxied.cloudflare.settings["ssl"] = "flexible"
    assert "must be 'strict'" in proxied.run("plan", proxied.folder / "answers.yaml")
    refused = proxied.inside(
        *(sys.executable, "-m", "tests.lab.cloud_driver", "deploy"),
        *(proxied.folder / "answers.yaml", "--json", "--yes"),
    )
    assert "not set up for proxied names" in refused.stderr
    assert proxied.digitalocean.vpcs == {}
    proxied.cloudflare.settings["ssl"] = "strict"
    planned = proxied.run("plan", proxied.folder / "answers.yaml")
    assert "behind Cloudflare" in planned
    proxied.run("deploy", proxied.folder / "answers.yaml", "--json", "--yes")

    provider = proxied.laboratory.provider
    web = next(m for m in provider.machines("demo") if m.name == "web1")
    origin = web.private_address
    assert proxied.cloudflare.lookup(HOST)[1] == [EDGE]
    trust = ("--cacert", proxied.folder / "edge.pem")
    status, text = proxied.ask(ANYBODY, EDGE, *trust, "-A", "through-the-edge")
    assert (status, "A site behind proxies" in text) == (200, True), text
    # the visitor's own address, for nginx and all that it tells
    assert set(visitors(proxied, web, "through-the-edge")) == {ANYBODY}

    # nobody else, at either layer
    assert provider.probe("build-machine", origin, 443) == "filtered"
    assert provider.probe("build-machine", origin, 80) == "filtered"
    provider.ensure_firewall("demo", (), enabled=False)
    assert provider.probe("build-machine", origin, 443) == "filtered"
    assert provider.probe("build-machine", origin, 80) == "filtered"
    proxied.digitalocean.firewalls_changed()

    # from a proxy's address, but without Cloudflare's certificate
    root = ("--cacert", proxied.folder / "root.pem")
    client = ("--cert", proxied.folder / "client.pem")
    assert proxied.ask(EDGE, origin, *root)[0] == 403
    assert proxied.ask(EDGE, origin, *root, *client)[0] == 200
    # the build machine asks directly; whom it says to be does not count
    forged = ("-H", "CF-Connecting-IP: 192.0.2.66", "-A", "forged")
    assert proxied.ask(addresses.VISITOR, origin, *root, *forged)[0] == 200
    assert set(visitors(proxied, web, "forged")) == {addresses.VISITOR}

    # a day later Cloudflare has another network, and then something answers in its place
    proxied.cloudflare.networks = [f"{EDGE}/31", "10.77.0.8/31"]
    a_day_ago = r's/"asked": [0-9.]*/"asked": 0/'
    later = ("sed", "-i", a_day_ago, "/var/lib/build-usb/edge.json")
    proxied.laboratory.enter(web.id, *later)
    assert proxied.agent(web, "run", "--wait", "60")["ok"] is True
    assert "10.77.0.8/31" in proxied.laboratory.enter(web.id, "ufw", "status")
    assert "10.77.0.8/31" in proxied.laboratory.enter(web.id, "nginx", "-T")
    proxied.cloudflare.networks = ["0.0.0.0/0"]
    proxied.laboratory.enter(web.id, *later)
    assert proxied.agent(web, "run", "--wait", "60")["ok"] is False
    assert "going by the last good one" in str(proxied.agent(web, "status")["problems"])
    assert "10.77.0.8/31" in proxied.laboratory.enter(web.id, "ufw", "status")
    assert proxied.ask(ANYBODY, EDGE, *trust)[0] == 200

    proxied.cloudflare.networks = [f"{EDGE}/31", "10.77.0.8/31"]
    proxied.laboratory.enter(web.id, *later)
    assert proxied.agent(web, "run", "--wait", "60")["ok"] is True

    # from now on a certificate that the proxies trust and nobody else, and a gate
    assert proxied.cloudflare.certificates == {}
    assert proxied.ask(ANYBODY, EDGE, *trust, path="/wp-login.php")[0] == 200
    (proxied.folder / "answers.yaml").write_text(ANSWERS + MORE)
    proxied.run("deploy", proxied.folder / "answers.yaml", "--json", "--yes")
    assert proxied.ask(ANYBODY, EDGE, *trust)[0] == 500, "the edge trusts the old authority only"
    (proxied.folder / "root.pem").rename(proxied.folder / "public.pem")
    (proxied.folder / "root.pem").write_text(proxied.cloudflare.authority.root)
    assert proxied.ask(ANYBODY, EDGE, *trust)[0] == 200
    assert proxied.ask(addresses.VISITOR, origin, *root)[0] == 200
    assert proxied.ask(addresses.VISITOR, origin, "--cacert", proxied.folder / "public.pem")[0] == 0
    (shown,) = proxied.cloudflare.certificates.values()
    assert shown["hostnames"] == [HOST]
    proxied.run("deploy", proxied.folder / "answers.yaml", "--json", "--yes")
    assert list(proxied.cloudflare.certificates.values()) == [shown]

    # the edge asks who it is before the login form; the site is as open as ever
    for path in ("/wp-login.php", "/wp-admin/", "/wp-admin/users.php"):
        assert proxied.ask(ANYBODY, EDGE, *trust, path=path)[0] == 302
    known = ("-H", "Cookie: CF_Authorization=somebody")
    assert proxied.ask(ANYBODY, EDGE, *trust, *known, path="/wp-login.php")[0] == 200
    assert proxied.ask(ANYBODY, EDGE, *trust)[0] == 200

    proxied.run("destroy", "--yes", "demo")
    assert proxied.cloudflare.certificates == {}
    assert (proxied.cloudflare.applications, proxied.cloudflare.policies) == ({}, {})
    assert proxied.cloudflare.lookup(HOST)[1] == []
    found = provider.resources("demo")
    assert not [resource for resource in found if resource.kind is ResourceKind.MACHINE]
    assert proxied.digitalocean.violations == []
    assert proxied.cloudflare.violations == []
