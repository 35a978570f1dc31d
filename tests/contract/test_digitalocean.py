"""What is made at DigitalOcean: as the vendor's document allows, firewalls by tag, keys, copies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.contract import accounts
from tests.contract.accounts import opened_account as opened
from tests.contract.at_digitalocean import database_spec, deploy, left, spec
from tests.contract.scenario import BUILDER, RULES, destroy
from tests.emulators import openapi
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from wizard.dns.base import RecordSet
from wizard.dns.digitalocean import DigitalOcean
from wizard.errors import ProviderError
from wizard.events import silent
from wizard.providers.base import (
    Resource,
    ResourceKind,
)
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.rules import Rented, Role, Rule, from_networks, from_role
from wizard.secrets import Secret

ZONE = "example.org"
WWW = RecordSet(f"www.{ZONE}", ("192.0.2.1", "192.0.2.2"), 120)


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


def test_every_request_is_in_the_vendors_document() -> None:
    document = openapi.needed("digitalocean")
    document.seen.clear()
    with DigitalOceanEmulator(document) as api:
        api.add_domain(ZONE)
        provider = opened(api)
        provider.prepare(silent)
        provider.facts()
        deploy(provider)
        rented = opened(api, database="mysql")
        rented.facts()
        rented.ensure_database(database_spec(rented), silent)
        reach = Rule(Rented.DATABASE, 25060, from_role(Role.DATABASE), "its backups")
        rented.ensure_database(replace(database_spec(rented), rules=(reach,)), silent)
        provider.ensure_machine(spec(provider.ensure_network("demo").id, "web3", ipv6=True))
        provider.ensure_firewall("demo", RULES[:4], enabled=True)
        provider.ensure_firewall("demo", RULES, enabled=False)
        machine = provider.machines("demo")[0]
        provider.snapshot(machine.id, "copy")
        destroy(provider)
        dns = DigitalOcean(ZONE, Secret(TOKEN), url=api.url, pause=lambda _seconds: None)
        dns.zone()
        dns.ensure_record("demo", WWW)
        dns.delete_record("demo", WWW.name)
        assert api.violations == []
        assert left(api) == {}
    assert document.seen == {
        "GET /v2/account/keys",
        "POST /v2/account/keys",
        "DELETE /v2/account/keys/{ssh_key_identifier}",
        "GET /v2/actions/{action_id}",
        "GET /v2/databases",
        "POST /v2/databases",
        "GET /v2/databases/options",
        "GET /v2/databases/{database_cluster_uuid}",
        "DELETE /v2/databases/{database_cluster_uuid}",
        "GET /v2/databases/{database_cluster_uuid}/firewall",
        "PUT /v2/databases/{database_cluster_uuid}/firewall",
        "GET /v2/domains/{domain_name}",
        "GET /v2/domains/{domain_name}/records",
        "POST /v2/domains/{domain_name}/records",
        "DELETE /v2/domains/{domain_name}/records/{domain_record_id}",
        "GET /v2/droplets",
        "POST /v2/droplets",
        "GET /v2/droplets/{droplet_id}",
        "DELETE /v2/droplets/{droplet_id}",
        "POST /v2/droplets/{droplet_id}/actions",
        "GET /v2/firewalls",
        "POST /v2/firewalls",
        "PUT /v2/firewalls/{firewall_id}",
        "DELETE /v2/firewalls/{firewall_id}",
        "GET /v2/images",
        "GET /v2/regions",
        "GET /v2/sizes",
        "GET /v2/snapshots",
        "DELETE /v2/snapshots/{snapshot_id}",
        "GET /v2/tags",
        "POST /v2/tags",
        "DELETE /v2/tags/{tag_id}",
        "GET /v2/vpcs",
        "POST /v2/vpcs",
        "DELETE /v2/vpcs/{vpc_id}",
    }


def test_ipv6_is_a_choice(api: DigitalOceanEmulator, provider: DigitalOceanProvider) -> None:
    assert provider.facts().ipv6
    assert not opened(api, region="ams3").facts().ipv6
    network = provider.ensure_network("demo").id
    assert provider.ensure_machine(spec(network)).ipv6 == ""
    both = provider.ensure_machine(spec(network, "web2", ipv6=True))
    assert ipaddress.ip_address(both.ipv6).version == 6
    assert str(ipaddress.ip_address(both.ipv6)) == both.ipv6
    assert provider.ensure_machine(spec(network, "web2", ipv6=True)) == both
    # one made without it says so: its system would not know of it
    assert provider.ensure_machine(spec(network, ipv6=True)).ipv6 == ""


def test_the_check_against_the_document_finds_mistakes() -> None:
    document = openapi.needed("digitalocean")

    def found(method: str, path: str, query: dict[str, str], raw: bytes = b"") -> list[str]:
        return document.check_request(method, path, query, raw)

    assert found("GET", "/v2/droplets", {"tag_name": "a", "per_page": "200"}) == []
    assert found("GET", "/v2/droplets", {"tagname": "a"})
    assert found("GET", "/v2/droplets", {"per_page": "500"})
    assert found("GET", "/v2/dropletz", {})
    assert found("POST", "/v2/vpcs", {})
    assert found("POST", "/v2/vpcs", {}, b'{"name": "a", "region": "fra1"}') == []
    assert found("POST", "/v2/vpcs", {}, b'{"name": "a b", "region": "fra1"}')
    assert found("POST", "/v2/vpcs", {}, b'{"name": "a", "region": "fra1", "descr": "x"}')
    assert document.check_reply("GET", "/v2/sizes", 200, {"sizes": [{"slug": 1}]})


def test_facts_are_those_of_the_region(api: DigitalOceanEmulator) -> None:
    facts = opened(api).facts()
    assert facts.regions == ("ams3", "fra1", "nyc3")
    assert facts.images == ("debian-12", "debian-13", "ubuntu-24.04")
    assert {size.name: size.monthly_price for size in facts.sizes}["s-1vcpu-1gb"] == Decimal("6.0")
    assert "g-2vcpu-8gb" not in {size.name for size in facts.sizes}
    assert "g-2vcpu-8gb" in {size.name for size in opened(api, region="nyc3").facts().sizes}
    # a region that does not exist is the plan's to refuse
    assert opened(api, region="mars1").facts().regions == facts.regions
    assert facts.default_size[Role.WEBSERVER] == "s-1vcpu-2gb"
    assert left(api) == {}


def test_the_firewall_is_there_before_any_machine(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    made = [request.path for request in api.requests if request.method == "POST"]
    assert made.index("/v2/firewalls") < made.index("/v2/droplets")
    attached = {tag for firewall in api.firewalls.values() for tag in firewall["tags"]}
    for droplet in api.droplets.values():
        assert set(droplet["tags"]) <= attached


def test_firewalls_are_the_rules(api: DigitalOceanEmulator, provider: DigitalOceanProvider) -> None:
    cloudflare = from_networks("173.245.48.0/20", "2400:cb00::/32")
    rules = (*RULES, Rule(Role.WEBSERVER, 80, cloudflare, "proxied"))
    provider.ensure_firewall("demo", rules, enabled=True)
    seen = {
        firewall["name"]: {
            (rule["ports"], end)
            for rule in firewall["inbound_rules"]
            for ends in rule["sources"].values()
            for end in ends
        }
        for firewall in api.firewalls.values()
    }
    assert seen == {
        "build-usb.demo": set(),
        "build-usb.demo.webserver": {
            ("1035", BUILDER),
            ("1035", "build-usb:demo:database"),
            ("443", "0.0.0.0/0"),
            ("443", "::/0"),
            ("80", "173.245.48.0/20"),
            ("80", "2400:cb00::/32"),
        },
        "build-usb.demo.database": {("1035", BUILDER), ("2035", "build-usb:demo:webserver")},
    }
    changes = len(api.calls("^(POST|PUT|DELETE)"))
    provider.ensure_firewall("demo", rules, enabled=True)
    assert len(api.calls("^(POST|PUT|DELETE)")) == changes
    provider.ensure_firewall("demo", rules, enabled=False)
    (opened_up,) = api.firewalls.values()
    assert opened_up["name"] == "build-usb.demo"
    assert len(opened_up["inbound_rules"]) == 3


def test_what_a_person_changed_in_a_firewall_is_put_back(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    provider.ensure_firewall("demo", RULES, enabled=True)
    base = next(f for f in api.firewalls.values() if f["name"] == "build-usb.demo")
    base["inbound_rules"] = [
        {"protocol": "tcp", "ports": "22", "sources": {"addresses": ["0.0.0.0/0"]}}
    ]
    provider.ensure_firewall("demo", RULES, enabled=True)
    assert not any(f["inbound_rules"] for f in api.firewalls.values() if f["id"] == base["id"])


def test_the_login_key_is_registered_once(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    assert [key["name"] for key in api.keys.values()] == ["build-usb.demo"]
    (key,) = api.keys
    bodies = [request.body for request in api.calls("POST /v2/droplets$")]
    assert [body["ssh_keys"] for body in bodies] == [[key], [key]]


def test_a_vpc_of_someone_else_is_never_touched(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    vpc = provider.ensure_network("demo").id
    api.vpcs[vpc]["description"] = "mine"
    for act in (provider.ensure_network, provider.resources):
        with pytest.raises(ProviderError, match="not this deployment's"):
            act("demo")
    assert vpc in api.vpcs


def test_a_deployment_stays_in_its_region(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    provider.ensure_network("demo")
    with pytest.raises(ProviderError, match="fra1, not in ams3"):
        opened(api, region="ams3").ensure_network("demo")


def test_a_snapshot_becomes_a_machine(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    web = provider.machines("demo")[0]
    copy = provider.snapshot(web.id, "copy")
    assert provider.snapshot(web.id, "copy") == copy
    network = provider.ensure_network("demo").id
    made = provider.ensure_machine(spec(network, "web2", image=copy.id))
    assert api.droplets[int(made.id)]["image"]["id"] == int(copy.id)


def test_resources_know_their_deployment(provider: DigitalOceanProvider) -> None:
    deploy(provider)
    found = provider.resources("demo")
    assert {resource.deployment for resource in found} == {"demo"}
    assert Resource(ResourceKind.FIREWALL, found[2].id, "build-usb.demo", "demo") in found
