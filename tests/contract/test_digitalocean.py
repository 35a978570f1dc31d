"""What is DigitalOcean's own: firewalls by tag, keys, tokens' scopes, lost answers, broken ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.contract import accounts
from tests.contract.accounts import opened_account as opened
from tests.contract.scenario import BUILDER, RULES, destroy, make, persist
from tests.emulators import openapi
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator, error, refuse
from tests.emulators.server import Reply
from wizard.dns.base import RecordSet
from wizard.dns.digitalocean import DigitalOcean
from wizard.errors import NotSupportedError, ProviderError, TransientError
from wizard.events import silent
from wizard.providers.base import (
    DatabaseSpec,
    MachineSpec,
    Resource,
    ResourceKind,
    Size,
)
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.rules import Rented, Role, Rule, from_networks, from_role
from wizard.secrets import Secret

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJJJ demo"
ZONE = "example.org"
WWW = RecordSet(f"www.{ZONE}", ("192.0.2.1", "192.0.2.2"), 120)


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


def spec(network: str, name: str = "web1", **changes: Any) -> MachineSpec:
    wanted = MachineSpec(
        deployment="demo",
        name=name,
        role=Role.WEBSERVER,
        size="s-1vcpu-1gb",
        image="debian-13",
        region="fra1",
        network_id=network,
        user_data=Secret("#cloud-config\n{}\n"),
        authorized_key=KEY,
    )
    return replace(wanted, **changes)


def database_spec(provider: DigitalOceanProvider) -> DatabaseSpec:
    reach = [from_role(role) for role in (Role.WEBSERVER, Role.DATABASE)]
    return DatabaseSpec(
        deployment="demo",
        engine="mysql",
        size=Size("db-s-1vcpu-1gb", 1, 1024, 10, Decimal(15)),
        port=25060,
        region="fra1",
        network_id=provider.ensure_network("demo").id,
        rules=tuple(Rule(Rented.DATABASE, 25060, source, "the database") for source in reach),
        password=Secret("not used here"),
    )


def deploy(provider: DigitalOceanProvider) -> None:
    """Everything of a deployment, as the engine asks for it."""
    make(provider, spec)


def left(api: DigitalOceanEmulator) -> dict[str, int]:
    names = ("droplets", "vpcs", "firewalls", "tags", "keys", "snapshots")
    return {name: len(getattr(api, name)) for name in names if getattr(api, name)}


# -- contract ----------------------------------------------------------------------------------


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


# -- what is made ------------------------------------------------------------------------------


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


def test_an_unknown_build_machine_is_refused_by_name(api: DigitalOceanEmulator) -> None:
    with pytest.raises(NotSupportedError) as caught:
        opened(api, build_machine=None).ensure_network("demo")
    assert caught.value.where == "ssh.build_machine"
    assert left(api) == {}


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


def test_a_thousand_machines_are_listed_quickly(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    api.document = None  # checking half a megabyte against a schema takes seconds
    api.droplet_limit = 2000
    network = provider.ensure_network("demo").id
    one = provider.ensure_machine(spec(network))
    for number in range(1, 1000):
        identity = 500_000 + number
        api.droplets[identity] = api.droplets[int(one.id)] | {
            "id": identity,
            "name": f"web{number + 1}",
        }
    started = time.monotonic()
    assert len(provider.machines("demo")) == 1000
    assert len(provider.resources("demo")) == 1001
    assert time.monotonic() - started < 5
    assert len(api.calls("GET /v2/droplets$")) >= 10


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["vpcs", "tags", "firewalls", "droplets", "account/keys"])
@pytest.mark.parametrize("kind", ["lost", "truncated"])
def test_a_lost_answer_to_a_create_makes_one(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, path: str, kind: str
) -> None:
    deploy(provider)
    wanted = left(api)
    destroy(provider)
    assert left(api) == {}
    api.fail(f"POST /v2/{path}$", kind)
    persist(lambda: deploy(provider))
    assert api.faults[-1].times == 0
    assert left(api) == wanted


def test_a_lost_answer_to_a_snapshot_makes_one(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    web = provider.machines("demo")[0]
    api.fail("POST .*/actions$", "lost")
    for _ in range(20):
        try:
            provider.snapshot(web.id, "copy")
            break
        except TransientError:
            # the engine waits; here the droplet's event goes on when it is asked for
            for action in api.actions.values():
                api._proceed(action)
    assert len(api.snapshots) == 1


def test_a_machine_made_twice_is_made_one(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    """The answer to a create is lost, and the list does not show the droplet yet."""
    network = provider.ensure_network("demo").id
    api.fail("POST /v2/droplets$", "lost")
    with pytest.raises(TransientError):
        provider.ensure_machine(spec(network))
    empty = {"droplets": [], "links": {}, "meta": {"total": 0}}
    api.fail("GET /v2/droplets$", reply=Reply(200, empty))
    provider.ensure_machine(spec(network))
    assert len(api.droplets) == 2
    machine = provider.ensure_machine(spec(network))
    assert list(api.droplets) == [int(machine.id)]


PATHS = ["droplets/.*", "firewalls/.*", "vpcs/.*", "tags/.*", "account/keys/.*", "snapshots/.*"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [404, 409, 429, 500, 503, "lost", "html", "truncated"])
def test_every_delete_survives_what_the_api_says(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, path: str, status: int | str
) -> None:
    deploy(provider)
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    if isinstance(status, str):
        api.fail(f"DELETE /v2/{path}", status)
    else:
        api.fail(f"DELETE /v2/{path}", reply=error(status, "scripted", "not now"))
    # an answer that makes no sense ends the run; one that says that it is gone, though it is not,
    # does not: both are put right by the next run
    with contextlib.suppress(ProviderError):
        destroy(provider)
    destroy(provider)
    assert left(api) == {}
    assert provider.resources("demo") == []


def test_deletes_come_in_the_order_of_what_uses_what(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    destroy(provider)
    kinds = [request.path.split("/")[2] for request in api.calls("^DELETE")]
    order = ["droplets", "snapshots", "firewalls", "tags", "account", "vpcs"]
    assert list(dict.fromkeys(kinds)) == order


def test_a_network_with_members_is_asked_again(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    network = next(r for r in provider.resources("demo") if r.kind is ResourceKind.NETWORK)
    with pytest.raises(TransientError, match="members"):
        provider.delete(network)


def test_tags_that_are_left_alone_are_still_found(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    provider.ensure_firewall("demo", RULES, enabled=True)
    provider.ensure_firewall("other", RULES, enabled=True)
    destroy(provider)
    assert {tag.split(":")[1] for tag in api.tags} == {"other"}
    assert len(api.firewalls) == 3


def test_names_that_begin_alike_are_told_apart(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    for name in ("demo", "demo-2", "demo2"):
        provider.ensure_firewall(name, RULES, enabled=True)
        network = provider.ensure_network(name).id
        provider.ensure_machine(spec(network, deployment=name, authorized_key=""))
    destroy(provider)
    assert provider.resources("demo") == []
    assert len(api.droplets) == len(api.vpcs) == 2
    assert len(api.firewalls) == 6


def test_missing_scopes_are_named_all_at_once(api: DigitalOceanEmulator) -> None:
    api.tokens[TOKEN] = frozenset({"droplet:read", "tag:read", "vpc:read", "snapshot:read"})
    with pytest.raises(ProviderError) as caught:
        opened(api).prepare(silent)
    assert "firewall:read, ssh_key:read" in caught.value.why
    assert "droplet:create" in caught.value.cure
    api.tokens[TOKEN] = None
    opened(api).prepare(silent)


@pytest.mark.parametrize(
    ("scope", "act"),
    [
        ("vpc:create", lambda p: p.ensure_network("demo")),
        ("tag:create", lambda p: p.ensure_firewall("demo", RULES, enabled=True)),
        ("firewall:create", lambda p: p.ensure_firewall("demo", RULES, enabled=True)),
        ("sizes:read", lambda p: p.facts()),
    ],
)
def test_a_missing_scope_is_named_when_it_is_needed(
    api: DigitalOceanEmulator, scope: str, act: Callable[[DigitalOceanProvider], object]
) -> None:
    kinds = ("droplet", "vpc", "firewall", "tag", "snapshot", "ssh_key", "regions", "sizes")
    everything = {f"{kind}:{verb}" for kind in kinds for verb in ("read", "create", "update")}
    api.tokens[TOKEN] = frozenset(everything | {"image:read"}) - {scope}
    with pytest.raises(ProviderError) as caught:
        act(opened(api))
    assert scope in caught.value.cure
    assert caught.value.where == "provider.credentials"


def test_errors_keep_code_request_and_what_to_do(api: DigitalOceanEmulator) -> None:
    with pytest.raises(ProviderError) as caught:
        opened(api, token=Secret("dop_v1_unknown")).prepare(silent)
    assert caught.value.code == "unauthorized"
    assert caught.value.request_id in caught.value.why
    assert "valid API token" in caught.value.cure
    assert "dop_v1_unknown" not in str(caught.value)
    too_many = error(429, "too_many_requests", "API Rate limit exceeded.")
    too_many.headers |= {"retry-after": "17"}
    api.fail("GET /v2/sizes", reply=too_many)
    with pytest.raises(TransientError) as passing:
        opened(api).facts()
    assert "17 seconds" in passing.value.cure
    api.fail("POST /v2/vpcs", reply=refuse("no more VPCs for you"))
    with pytest.raises(ProviderError, match="no more VPCs for you") as caught:
        opened(api).ensure_network("demo")
    assert not isinstance(caught.value, TransientError)


BROKEN: list[Any] = [
    [],
    "text",
    None,
    {},
    {"sizes": None},
    {"sizes": [1]},
    {"sizes": [{"slug": "x", "available": True, "regions": ["fra1"]}]},
    {"sizes": [], "links": {"pages": "?"}},
]
SIZE = {"slug": "x", "available": True, "regions": ["fra1"], "vcpus": 1, "memory": 1024, "disk": 9}
ABSURD = [1e300, -5, float("nan"), "free", None]


@pytest.mark.parametrize(
    "body", [*BROKEN, *({"sizes": [SIZE | {"price_monthly": price}]} for price in ABSURD)]
)
def test_senseless_facts_are_a_clear_error(api: DigitalOceanEmulator, body: Any) -> None:
    api.fail("GET /v2/sizes", reply=Reply(200, body))
    with pytest.raises(ProviderError) as caught:
        opened(api).facts()
    assert caught.value.cure


@pytest.mark.parametrize("status", [200, 403, 500])
def test_an_answer_too_deep_to_read_is_a_clear_error(
    api: DigitalOceanEmulator, status: int
) -> None:
    api.fail("GET /v2/sizes", reply=Reply(status, b'{"a":' * 200_000))
    with pytest.raises(ProviderError) as caught:
        opened(api).facts()
    assert caught.value.cure


def test_a_key_without_a_number_is_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    network = provider.ensure_network("demo")
    strange = {"ssh_key": {"id": "one", "name": "build-usb.demo"}}
    api.fail("POST /v2/account/keys", reply=Reply(201, strange))
    with pytest.raises(ProviderError, match="makes no sense"):
        provider.ensure_machine(spec(network.id))


def test_unknown_fields_are_no_matter(api: DigitalOceanEmulator) -> None:
    more = SIZE | {"price_monthly": 7, "surprise": {"a": [1]}}
    api.fail("GET /v2/sizes", reply=Reply(200, {"sizes": [more], "novelty": 1}))
    assert [size.name for size in opened(api).facts().sizes] == ["x"]


@pytest.mark.parametrize(
    "droplet",
    [
        {},
        {"id": 1},
        {"id": 1, "name": "web1", "tags": ["build-usb:demo"]},
        {"id": 1, "name": "web1", "tags": ["build-usb:demo", "build-usb:demo:webserver"]},
        {
            "id": 1,
            "name": "web1",
            "tags": ["build-usb:demo", "build-usb:demo:webserver"],
            "networks": {"v4": [{"type": "public", "ip_address": "999.1.1.1"}]},
        },
    ],
)
def test_senseless_droplets_are_a_clear_error(
    api: DigitalOceanEmulator, droplet: dict[str, Any]
) -> None:
    api.fail("GET /v2/droplets", reply=Reply(200, {"droplets": [droplet]}))
    with pytest.raises(ProviderError) as caught:
        opened(api).machines("demo")
    assert caught.value.cure


@pytest.mark.parametrize("kind", ["html", "truncated"])
@pytest.mark.parametrize("match", ["GET /v2/droplets", "GET /v2/tags", "GET /v2/vpcs"])
def test_a_broken_answer_is_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, match: str, kind: str
) -> None:
    api.fail(match, kind)
    with pytest.raises(ProviderError) as caught:
        deploy(provider)
    assert caught.value.cure
    deploy(provider)
    assert len(api.droplets) == 2


def test_a_list_that_never_ends_is_an_error(
    api: DigitalOceanEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wizard.providers.digitalocean_api._MOST_PAGES", 5)
    forever = {"droplets": [], "links": {"pages": {"next": "http://192.0.2.1/v2/droplets?page=2"}}}
    api.fail("GET /v2/droplets", reply=Reply(200, forever), times=100)
    with pytest.raises(ProviderError, match="makes no sense"):
        opened(api).machines("demo")
    # the address in the answer was never asked
    assert len(api.calls("GET /v2/droplets")) == 5


def test_an_action_that_fails_is_said(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    api.fail("GET /v2/actions/", reply=Reply(200, {"action": {"id": 1, "status": "errored"}}))
    with pytest.raises(ProviderError, match="failed to"):
        provider.snapshot(provider.machines("demo")[0].id, "copy")


def test_a_droplet_that_never_wakes_is_transient(
    api: DigitalOceanEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.steps = 10_000
    monkeypatch.setattr("wizard.providers.digitalocean._BIRTH", 0.2)
    provider = opened(api)
    network = provider.ensure_network("demo").id
    with pytest.raises(TransientError, match="takes longer"):
        provider.ensure_machine(spec(network))


def test_settings_of_this_computer_are_not_used(
    api: DigitalOceanEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login poison password poison\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("DIGITALOCEAN_END_POINT", "http://127.0.0.1:9/v2/")
    monkeypatch.setenv("DIGITALOCEAN_ACCESS_TOKEN", "poison")
    opened(api).ensure_network("demo")
    assert {r.headers["authorization"] for r in api.requests} == {f"Bearer {TOKEN}"}


def test_resources_know_their_deployment(provider: DigitalOceanProvider) -> None:
    deploy(provider)
    found = provider.resources("demo")
    assert {resource.deployment for resource in found} == {"demo"}
    assert Resource(ResourceKind.FIREWALL, found[2].id, "build-usb.demo", "demo") in found


# -- DNS ---------------------------------------------------------------------------------------


@pytest.fixture
def dns(api: DigitalOceanEmulator) -> DigitalOcean:
    api.add_domain(ZONE)
    return DigitalOcean(ZONE, Secret(TOKEN), url=api.url, pause=lambda _seconds: None)


def records(api: DigitalOceanEmulator) -> list[tuple[str, str, str]]:
    found = api.domains[ZONE].values()
    return sorted((r["type"], r["name"], r["data"]) for r in found if r["type"] != "NS")


ALL = [
    ("A", "www", "192.0.2.1"),
    ("A", "www", "192.0.2.2"),
    ("TXT", "_build-usb.www", "deployment=demo"),
]


def test_the_longest_domain_that_holds_the_name_is_used(
    api: DigitalOceanEmulator, dns: DigitalOcean
) -> None:
    def zone_of(name: str) -> str:
        return DigitalOcean(name, Secret(TOKEN), url=api.url).zone()

    assert zone_of(f"shop.dev.{ZONE}") == ZONE
    api.add_domain(f"dev.{ZONE}")
    assert zone_of(f"shop.dev.{ZONE}") == f"dev.{ZONE}"
    with pytest.raises(ProviderError, match="no domain"):
        zone_of("elsewhere.test")


def test_a_missing_domain_scope_is_named_at_once(
    api: DigitalOceanEmulator, dns: DigitalOcean
) -> None:
    api.tokens[TOKEN] = frozenset({"domain:read"})
    with pytest.raises(ProviderError) as caught:
        dns.zone()
    assert "domain:delete" in caught.value.cure
    assert caught.value.where == "dns.credentials"


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_lost_answer_leaves_each_record_once(
    api: DigitalOceanEmulator, dns: DigitalOcean, nth: int
) -> None:
    api.fail("POST .*/records", "", times=nth - 1)
    api.fail("POST .*/records", "lost")
    persist(lambda: dns.ensure_record("demo", WWW))
    assert api.faults[-1].times == 0
    assert records(api) == ALL


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("status", [404, 409, 429, 503, "lost"])
def test_every_delete_of_a_record_survives(
    api: DigitalOceanEmulator, dns: DigitalOcean, nth: int, status: int | str
) -> None:
    dns.ensure_record("demo", WWW)
    api.fail("DELETE", "", times=nth - 1)
    if isinstance(status, str):
        api.fail("DELETE", status)
    else:
        api.fail("DELETE", reply=error(status, "scripted", "not now"))
    persist(lambda: dns.delete_record("demo", WWW.name))
    assert records(api) == []


def test_a_marker_that_a_killed_run_left_is_found(
    api: DigitalOceanEmulator, dns: DigitalOcean
) -> None:
    api.add_record(ZONE, "TXT", "_build-usb.www", "deployment=demo")
    assert [record.name for record in dns.records("demo")] == [WWW.name]
    dns.delete_record("demo", WWW.name)
    assert records(api) == []


def test_records_come_in_pages(api: DigitalOceanEmulator, dns: DigitalOcean) -> None:
    for number in range(450):
        api.add_record(ZONE, "A", f"n{number:03}", "192.0.2.1")
        api.add_record(ZONE, "TXT", f"_build-usb.n{number:03}", "deployment=demo")
    assert len(dns.records("demo")) == 450
    assert len(api.calls("GET .*/records")) == 5


def test_doubled_records_are_made_one(api: DigitalOceanEmulator, dns: DigitalOcean) -> None:
    dns.ensure_record("demo", WWW)
    api.add_record(ZONE, "A", "www", "192.0.2.1", 120)
    api.add_record(ZONE, "TXT", "_build-usb.www", "deployment=demo", 120)
    assert dns.ensure_record("demo", WWW)
    assert records(api) == ALL
