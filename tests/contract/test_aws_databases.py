"""Managed databases of Amazon: made once, closed and protected, gone but for their last copy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.contract.at_aws import REGION, database_spec, opened
from tests.contract.scenario import persist
from tests.emulators.aws import AwsEmulator
from wizard.errors import InterruptedRunError, NotSupportedError, ProviderError, TransientError
from wizard.events import silent
from wizard.providers import aws_values as values
from wizard.providers.aws import AwsProvider
from wizard.providers.base import ResourceKind
from wizard.rules import Role

NAME = "build-usb-demo"


@pytest.fixture
def api() -> Iterator[AwsEmulator]:
    with AwsEmulator(steps=3) as emulator:
        yield emulator
        assert emulator.violations == []


@pytest.fixture
def provider(api: AwsEmulator) -> AwsProvider:
    return opened(api, database="mysql")


def destroy(provider: AwsProvider, *, last_copy: bool = True) -> list[str]:
    """Delete everything in order; return what is said to be kept."""
    told = []
    for resource in sorted(
        persist(lambda: provider.resources("demo")), key=lambda r: list(ResourceKind).index(r.kind)
    ):
        told.append(
            persist(lambda resource=resource: provider.delete(resource, last_copy=last_copy))  # type: ignore[misc]
        )
    return [text for text in told if text]


def groups_of(api: AwsEmulator) -> dict[str, Any]:
    return {g.name: g for s in api.ec2().groups.values() for g in s.values()}


@pytest.mark.parametrize("engine", ["mariadb", "mysql", "postgresql"])
def test_an_instance_is_private_encrypted_and_protected(api: AwsEmulator, engine: str) -> None:
    provider = opened(api, database=engine)
    wanted = database_spec(provider, engine)
    seen: list[str] = []
    made = provider.ensure_database(wanted, lambda what, *_: seen.append(what))
    found = api.rds().databases[NAME]
    postgresql = engine == "postgresql"
    called = "postgres" if postgresql else engine
    assert (found.engine, found.db_instance_class) == (called, "db.t4g.micro")
    assert (found.storage_type, found.allocated_storage) == ("gp3", 20)
    assert found.storage_encrypted
    assert not found.publicly_accessible
    assert found.deletion_protection
    assert found.backup_retention_period == 7
    assert {t["Key"]: t["Value"] for t in found.tags}[values.TAG] == "demo"
    subnets = found.db_subnet_group.subnets
    assert len({subnet["SubnetAvailabilityZone"]["Name"] for subnet in subnets}) == 2
    parameters = api.rds().db_parameter_groups[NAME].parameters
    closed = "rds.force_ssl" if postgresql else "require_secure_transport"
    assert parameters[closed]["ParameterValue"] == "1"
    assert api.lets_in_tls_alone(found)
    # not RDS's default where backups could not be made of it
    assert found.engine_version.startswith("17.") or not postgresql
    assert made.first == ("postgres" if postgresql else "")
    # what is told is what machines need, and no more
    assert made.host == f"{NAME}.c0ffee.{REGION}.rds.amazonaws.com"
    assert (made.port, made.password) == (5432 if postgresql else 3306, wanted.password)
    assert made.authority.strip() == api.authority(REGION).certificate.strip()
    assert "waiting for the database: creating" in seen


def test_only_the_roles_of_the_rules_may_reach_it(api: AwsEmulator, provider: AwsProvider) -> None:
    wanted = database_spec(provider)
    provider.ensure_database(wanted, silent)
    groups = groups_of(api)
    own = groups["build-usb.demo.managed-database"]
    assert api.rds().databases[NAME].vpc_security_group_ids == [own.id]

    def let_in() -> set[tuple[int, str]]:
        return {
            (rule.from_port, rule.source_group.get("GroupId") or rule.ip_range.get("CidrIp"))
            for rule in groups_of(api)["build-usb.demo.managed-database"].ingress_rules
        }

    expected = {
        (3306, groups[f"build-usb.demo.{role}"].id) for role in (Role.WEBSERVER, Role.DATABASE)
    }
    assert let_in() == expected
    # what a person added is taken away again, and machines' own groups are left alone
    api.ec2().authorize_security_group_ingress(
        security_rule_ids=None,
        group_name_or_id=own.id, ip_protocol="tcp", from_port="3306", to_port="3306",
        ip_ranges=[{"CidrIp": "0.0.0.0/0"}], vpc_id=wanted.network_id,
    )  # fmt: skip
    assert let_in() != expected
    provider.ensure_database(wanted, silent)
    assert let_in() == expected


def test_asking_at_once_and_again_makes_one(api: AwsEmulator, provider: AwsProvider) -> None:
    wanted = database_spec(provider)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: provider.ensure_database(wanted, silent), range(3)))
    before = len(api.calls("rds:(Create|Modify|Delete)"))
    opened(api, database="mysql").ensure_database(wanted, silent)
    assert len(api.calls("rds:(Create|Modify|Delete)")) == before
    assert list(api.rds().databases) == [NAME]


@pytest.mark.parametrize(
    "lost",
    ["CreateDBSubnetGroup", "CreateDBParameterGroup", "ModifyDBParameterGroup", "CreateDBInstance"],
)
@pytest.mark.parametrize("failed", [False, True])
def test_a_lost_answer_makes_one(
    api: AwsEmulator, provider: AwsProvider, lost: str, *, failed: bool
) -> None:
    """Nor does it one that says that it failed, though it did not."""
    wanted = database_spec(provider)
    if failed:
        api.refuse(f"rds:{lost}", "InternalFailure", 500, late=True)
    else:
        api.fail(f"rds:{lost}", "lost")
    with pytest.raises(TransientError):
        provider.ensure_database(wanted, silent)
    again = opened(api, database="mysql").ensure_database(wanted, silent)
    assert again.id == NAME
    rds = api.rds()
    assert [len(x) for x in (rds.databases, rds.subnet_groups, rds.db_parameter_groups)] == [1] * 3
    assert rds.db_parameter_groups[NAME].parameters["require_secure_transport"]


def test_a_run_that_is_stopped_finds_what_it_began(api: AwsEmulator, provider: AwsProvider) -> None:
    def stopped(*_: object) -> None:
        raise InterruptedRunError("stopped")

    with pytest.raises(InterruptedRunError):
        provider.ensure_database(database_spec(provider), stopped)
    # destroying what is only begun waits until that is possible
    assert api.rds().databases[NAME].status == "creating"
    destroy(provider)
    assert api.left() == {}


def test_a_last_copy_is_kept_and_said(api: AwsEmulator, provider: AwsProvider) -> None:
    provider.ensure_database(database_spec(provider), silent)
    (told,) = destroy(provider)
    (copy,) = [
        s
        for s in api.rds().describe_db_snapshots(None, None)
        if "final" in s.db_snapshot_identifier
    ]
    assert copy.db_snapshot_identifier in told
    assert "USD" in told
    assert REGION in told
    assert api.left() == {}
    assert provider.resources("demo") == []


def test_no_copy_is_kept_where_none_is_wanted(api: AwsEmulator, provider: AwsProvider) -> None:
    provider.ensure_database(database_spec(provider), silent)
    assert destroy(provider, last_copy=False) == []
    assert not [
        s
        for s in api.rds().describe_db_snapshots(None, None)
        if "final" in s.db_snapshot_identifier
    ]
    assert api.left() == {}


SAID = {
    "404": ("DBInstanceNotFound", 404),
    "409": ("InvalidDBInstanceState", 400),
    "throttled": ("Throttling", 400),
    "500": ("InternalFailure", 500),
    "503": ("ServiceUnavailable", 503),
}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        *(("DBInstance", said) for said in (*SAID, "lost")),
        ("DBSubnetGroup", "503"),
        ("DBSubnetGroup", "lost"),
        ("DBParameterGroup", "lost"),
    ],
)
def test_every_delete_survives_what_the_api_says(
    api: AwsEmulator, provider: AwsProvider, what: str, said: str
) -> None:
    provider.ensure_database(database_spec(provider), silent)
    if said == "lost":
        api.fail(f"rds:Delete{what}$", "lost")
    elif said == "404" and what == "DBInstance":
        api.refuse("rds:DescribeDBInstances$", *SAID[said], times=1)
    elif said != "404":
        api.refuse(f"rds:Delete{what}$", *SAID[said])
    # as the engine does: again until nothing is left
    for _ in range(3):
        destroy(provider)
    assert api.left() == {}


def test_groups_without_their_instance_are_found(api: AwsEmulator, provider: AwsProvider) -> None:
    api.database_limit = 0
    with pytest.raises(ProviderError) as caught:
        provider.ensure_database(database_spec(provider), silent)
    assert caught.value.code == "InstanceQuotaExceeded"
    assert "Service Quotas" in caught.value.cure
    kinds = [resource.kind for resource in provider.resources("demo")]
    assert kinds.count(ResourceKind.DATABASE) == 1
    destroy(provider)
    assert api.left() == {}


def test_a_database_of_someone_else_is_never_touched(
    api: AwsEmulator, provider: AwsProvider
) -> None:
    provider.ensure_database(database_spec(provider), silent)
    api.rds().databases[NAME].tags = []
    for act in (
        lambda: provider.ensure_database(database_spec(provider), silent),
        lambda: provider.resources("demo"),
    ):
        with pytest.raises(ProviderError, match="not this deployment's"):
            act()


def test_an_instance_that_broke_is_said(api: AwsEmulator, provider: AwsProvider) -> None:
    wanted = database_spec(provider)
    provider.ensure_database(wanted, silent)
    api.rds().databases[NAME].status = "storage-full"
    with pytest.raises(ProviderError, match="storage-full") as caught:
        provider.ensure_database(wanted, silent)
    assert not isinstance(caught.value, TransientError)


def test_prices_are_of_the_list_and_kept_for_a_day(api: AwsEmulator, tmp_path: Path) -> None:
    found = opened(api, database="mysql", cache=tmp_path).facts().databases
    assert found is not None
    prices = {size.name: size.monthly_price for size in found.sizes}
    # 730 hours, and 20 GiB
    assert prices["db.t4g.micro"] == Decimal("0.018") * 730 + Decimal("0.137") * 20
    assert found.default_size == "db.t4g.micro"
    assert [size.memory for size in found.sizes] == [1024, 4096, 8192, 65536]
    asked = len(api.calls("pricing:"))
    assert opened(api, database="mysql", cache=tmp_path).facts().databases == found
    assert len(api.calls("pricing:")) == asked
    other = opened(api, database="postgresql", cache=tmp_path).facts().databases
    assert other is not None
    assert (other.port, found.port) == (5432, 3306)
    assert "PostgreSQL" in str(api.calls("pricing:")[-1])
    # an older list is used where the new one cannot be had, and that is said
    (kept,) = tmp_path.glob("aws-database-prices-*-mysql.json")
    kept.write_text(kept.read_text().replace('"date": "2', '"date": "1'))
    api.denied.add("pricing:GetProducts")
    facts = opened(api, database="mysql", cache=tmp_path).facts()
    assert facts.databases == found
    assert any("the managed database's price is of 1" in note for note in facts.notes)
    # without any, none is rented
    facts = opened(api, database="mysql").facts()
    assert facts.databases is None
    assert any("cannot be priced" in note for note in facts.notes)
    assert opened(api).facts().databases is None


def test_rights_for_databases_are_asked_of_who_rents_one(api: AwsEmulator) -> None:
    api.denied |= {"rds:CreateDBInstance", "rds:DescribeDBInstances"}
    assert opened(api).standing(silent).lacking == ()
    assert opened(api).resources("demo") == []
    rents = opened(api, database="mysql")
    assert rents.standing(silent).lacking == ("rds:CreateDBInstance", "rds:DescribeDBInstances")
    # who cannot look does not say that nothing is there
    with pytest.raises(ProviderError, match="ask for the database"):
        rents.resources("demo")


def test_an_authority_that_is_not_published_is_an_error(
    api: AwsEmulator, provider: AwsProvider
) -> None:
    wanted = database_spec(provider)
    provider.ensure_database(wanted, silent)
    api.rds().databases[NAME].ca_certificate_identifier = "rds-ca-of-tomorrow"
    with pytest.raises(ProviderError, match="makes no sense") as caught:
        provider.ensure_database(wanted, silent)
    assert "rds-ca-of-tomorrow" in caught.value.why


def test_regions_with_other_authorities_are_refused_by_name(api: AwsEmulator) -> None:
    from wizard.providers import aws_authority
    from wizard.providers.aws_api import Api
    from wizard.secrets import Secret

    with pytest.raises(NotSupportedError, match="us-gov-west-1"):
        aws_authority.fetch(Api(Secret("a:b"), "us-gov-west-1"), "rds-ca-rsa2048-g1")


def test_names_fit_what_rds_takes() -> None:
    from wizard.providers.aws_databases import name_of

    assert name_of("demo") == NAME
    assert "--" not in name_of("a--b")
    assert name_of("a--b") != name_of("a-b")
