"""All of a deployment stands together in a project of its own, and nothing of others does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract import accounts
from tests.contract.accounts import opened_account as opened
from tests.contract.at_digitalocean import database_spec, spec
from tests.contract.scenario import destroy
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.server import Reply
from wizard.errors import ProviderError, TransientError
from wizard.events import silent
from wizard.providers.base import ResourceKind
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.secrets import Secret

BUCKETS = ("demo-bucket", "demo-bucket-backups")


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        emulator.projects["mine"] = {"id": "mine", "name": "My shop", "description": "a shop"}
        emulator.grouped["do:space:photos"] = "mine"
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api, database="mysql", reserved=True)


def made(provider: DigitalOceanProvider) -> set[str]:
    """Make what a project can hold; return its names there."""
    network = provider.ensure_network("demo").id
    machines = [provider.ensure_machine(spec(network, name)) for name in ("web1", "web2")]
    database = provider.ensure_database(database_spec(provider), silent)
    return {
        *(f"do:droplet:{machine.id}" for machine in machines),
        *(f"do:space:{bucket}" for bucket in BUCKETS),
        f"do:dbaas:{database.id}",
    }


def own(api: DigitalOceanEmulator) -> str:
    (found,) = [item for item in api.projects.values() if item["name"] == "build-usb.demo"]
    assert found["description"] == "build-usb deployment=demo"
    return str(found["id"])


def test_all_of_a_deployment_is_grouped_once(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    wanted = made(provider)
    assert provider.group("demo", BUCKETS) == len(wanted)
    project = own(api)
    assert set(api.inside(project)) == wanted
    assert {item["project_id"] for item in api.reserved.values()} == {project}
    asked = len(api.calls("^POST .*/resources$"))
    assert provider.group("demo", BUCKETS) == 0
    assert len(api.calls("^POST .*/resources$")) == asked
    # what is made later, or was put elsewhere by somebody, comes too
    later = provider.ensure_machine(spec(provider.ensure_network("demo").id, "web3"))
    api.grouped[f"do:space:{BUCKETS[0]}"] = "default"
    assert provider.group("demo", BUCKETS) == 2
    assert set(api.inside(project)) == {*wanted, f"do:droplet:{later.id}"}
    assert api.inside("mine") == ["do:space:photos"]


CAN = frozenset(f"droplet:{verb}" for verb in ("read", "create", "update", "delete"))


@pytest.mark.parametrize(
    ("more", "there"),
    [
        ({"project:read", "project:assign_resource"}, True),
        ({"project:read"}, False),
        ({"project:assign_resource"}, False),
        (set(), False),
    ],
)
def test_what_an_autoscaler_makes_stands_there_at_once_where_its_token_may(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, more: set[str], there: bool
) -> None:
    network = provider.ensure_network("demo").id
    provider.ensure_machine(spec(network, "web1"))
    provider.group("demo", BUCKETS)
    api.tokens["own"] = CAN | {"ssh_key:read", "actions:read"} | more
    inside = opened(api, token=Secret("own"), inside=True)
    urn = f"do:droplet:{inside.ensure_machine(spec(network, 'web2')).id}"
    assert (urn in api.inside(own(api))) == there
    assert provider.group("demo", BUCKETS) == (0 if there else 1)
    assert urn in api.inside(own(api))
    assert api.inside("mine") == ["do:space:photos"]


def test_an_autoscaler_makes_its_webserver_though_projects_do_not_answer(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    network = provider.ensure_network("demo").id
    provider.group("demo", BUCKETS)
    inside = opened(api, inside=True)
    told = {"error": "the service is down"}
    api.fail("POST /v2/projects/.*/resources$", reply=Reply(503, told), times=99)
    made = inside.ensure_machine(spec(network, "web2"))
    assert api.calls("^POST .*/resources$")
    assert made.name == "web2"
    api.faults.clear()
    assert provider.group("demo", BUCKETS) == 1


@pytest.mark.parametrize("kind", ["lost", "truncated", "html"])
@pytest.mark.parametrize("match", ["projects$", "projects/.*/resources$"])
def test_a_lost_answer_leaves_one_project_with_everything(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, match: str, kind: str
) -> None:
    wanted = made(opened(api, database="mysql"))
    api.fail(f"POST /v2/{match}", kind)
    with pytest.raises(ProviderError):
        provider.group("demo", BUCKETS)
    provider.group("demo", BUCKETS)
    assert set(api.inside(own(api))) == wanted
    assert len(api.projects) == 2


def test_it_goes_with_the_deployment_and_what_stays_goes_elsewhere_first(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    made(provider)
    provider.group("demo", BUCKETS)
    api.grouped["do:space:of-somebody"] = own(api)
    destroy(provider)
    assert set(api.projects) == {"mine"}
    assert api.inside("default") == [f"do:space:{name}" for name in (*BUCKETS, "of-somebody")]
    assert api.inside("mine") == ["do:space:photos"]
    assert provider.resources("demo") == []


def test_a_project_that_is_left_alone_is_found_and_deleted(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    provider.group("demo", ())
    (left,) = provider.resources("demo")
    assert left.kind is ResourceKind.NETWORK
    provider.delete(left)
    assert set(api.projects) == {"mine"}


def test_what_the_cloud_does_not_take_is_named(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    told = {"urn": "do:space:demo-bucket", "status": "service_down"}
    api.fail("POST /v2/projects/.*/resources$", reply=Reply(200, {"resources": [told]}))
    with pytest.raises(TransientError, match="do:space:demo-bucket") as error:
        provider.group("demo", BUCKETS[:1])
    assert error.value.cure
    assert provider.group("demo", BUCKETS[:1]) == 1


@pytest.mark.parametrize("body", [{}, {"resources": "x"}, {"resources": [1]}, {"resources": [{}]}])
def test_senseless_answers_are_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, body: Any
) -> None:
    provider.group("demo", ())
    api.fail("GET /v2/projects/.*/resources$", reply=Reply(200, body))
    with pytest.raises(ProviderError, match="makes no sense"):
        provider.group("demo", BUCKETS)


def test_another_project_of_that_name_is_refused(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    api.projects["mine"]["name"] = "build-usb.demo"
    with pytest.raises(ProviderError, match="not this deployment's"):
        provider.group("demo", BUCKETS)
    assert api.inside("mine") == ["do:space:photos"]


def test_missing_scopes_are_named(api: DigitalOceanEmulator) -> None:
    kinds = ("droplet", "vpc", "firewall", "tag", "snapshot", "ssh_key", "spaces_key", "image")
    few = {f"{kind}:{verb}" for kind in kinds for verb in ("read", "create", "update", "delete")}
    more = {"regions:read", "sizes:read", "actions:read"}
    api.tokens[TOKEN] = frozenset({*few, *more})
    with pytest.raises(ProviderError, match="may not read") as error:
        opened(api).prepare(silent)
    assert "project:read" in error.value.why
    lacking = opened(api).standing(silent).lacking
    assert lacking == (
        "project:assign_resource",
        "project:create",
        "project:delete",
        "project:read",
    )
    # a deployment of before can still be taken away with such a token
    assert opened(api).resources("demo") == []
    api.tokens[TOKEN] = frozenset({*few, *more, *lacking})
    assert opened(api).standing(silent).lacking == ()
    assert opened(api).group("demo", BUCKETS) == 2
