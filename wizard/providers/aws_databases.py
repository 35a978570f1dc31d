"""Managed databases of Amazon (RDS): one instance a deployment, private, encrypted, protected.

Instance, subnet group and parameter group are called `build-usb-<deployment>`, so that a lost
answer or a killed run finds them; all carry the deployment's tag. The security group is one of the
network's and goes with its firewalls. Deleting keeps a final snapshot, which outlives all else.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from wizard.errors import ProviderError, TransientError
from wizard.events import Progress
from wizard.providers import aws_authority
from wizard.providers import aws_values as values
from wizard.providers.aws_api import Api, wait_until
from wizard.providers.aws_network import Networks
from wizard.providers.base import DatabaseSpec, ManagedDatabase

PORTS = {"mariadb": 3306, "mysql": 3306, "postgresql": 5432}
"""The port that instances of an engine answer on."""
STORAGE = 20
"""GiB of every instance: the least that RDS makes of gp3. It is not grown by itself, for that
would cost what no plan showed."""

_CALLED = {"mariadb": "mariadb", "mysql": "mysql", "postgresql": "postgres"}
"""The engines in RDS's words."""
# pg_dump of the database machine's Debian knows no server that is newer than itself; for the others
# RDS chooses
_MAJOR = {"postgresql": "17"}
# what lets nobody in without TLS
_TLS_ALONE = {
    "mariadb": "require_secure_transport",
    "mysql": "require_secure_transport",
    "postgresql": "rds.force_ssl",
}
_ADMIN = "buildusb"
_BACKUP_DAYS = 7
# seconds that an instance may take to be made, in practice 5 to 15 minutes, and to be gone
_BIRTH, _DEATH = 3600.0, 3600.0
_LONGEST_PAUSE = 15.0
_GONE = frozenset({"DBInstanceNotFound", "DBParameterGroupNotFound", "DBSubnetGroupNotFoundFault"})
# states that an instance does not leave by itself
_BROKEN = frozenset(
    {
        "failed",
        "inaccessible-encryption-credentials",
        "incompatible-network",
        "incompatible-parameters",
        "incompatible-restore",
        "restore-error",
        "stopped",
        "storage-full",
    }
)


class Databases:
    """The instances of deployments, and what belongs to them."""

    def __init__(self, api: Api, networks: Networks) -> None:
        self._api = api
        self._networks = networks

    # -- what there is -----------------------------------------------------------------------------

    def find(self, deployment: str) -> dict[str, Any] | None:
        """Return the deployment's instance; ProviderError if it is another's."""
        name = name_of(deployment)
        found = self._one("db_instances", "DBInstances", "DBInstanceIdentifier", name)
        if found is not None and _tag(found, values.TAG) != deployment:
            raise ProviderError(
                f"a database called {name} exists and is not this deployment's",
                where=name,
                why=f"its tag {values.TAG} is {_tag(found, values.TAG) or 'missing'}",
                cure="look what it is for; rename it, or rename the deployment",
            )
        return found

    def leftovers(self, deployment: str) -> bool:
        """Say whether there are groups without their instance."""
        name = name_of(deployment)
        return bool(
            self._one("db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupName", name)
            or self._one("db_parameter_groups", "DBParameterGroups", "DBParameterGroupName", name)
        )

    def _one(self, kind: str, key: str, field: str, name: str) -> dict[str, Any] | None:
        doing = f"ask for the database {name}"
        wanted: dict[str, Any] = {field: name}
        try:
            answer = self._api.call(f"rds.describe_{kind}", doing, **wanted)
        except ProviderError as error:
            if error.code in _GONE:
                return None
            raise
        found = answer.get(key) or []
        return dict(found[0]) if found else None

    # -- what shall be -----------------------------------------------------------------------------

    def begin(self, spec: DatabaseSpec) -> None:
        """Order the deployment's instance if it is missing; it need not answer yet."""
        group = self._ensure_group(spec)
        if self.find(spec.deployment) is not None:
            return
        version, family = self._version(spec.engine)
        name = name_of(spec.deployment)
        own = {"Tags": values.tags(spec.deployment, "database")}
        subnets = [str(s["SubnetId"]) for s in self._networks.subnets(spec.network_id)]
        self._create(
            "rds.create_db_subnet_group",
            "DBSubnetGroupAlreadyExists",
            DBSubnetGroupName=name,
            DBSubnetGroupDescription=f"two zones of {spec.deployment}",
            SubnetIds=subnets,
            **own,
        )
        self._create(
            "rds.create_db_parameter_group",
            "DBParameterGroupAlreadyExists",
            DBParameterGroupName=name,
            DBParameterGroupFamily=family,
            Description=f"settings of {spec.deployment}",
            **own,
        )
        self._api.call(
            "rds.modify_db_parameter_group",
            f"let nobody in without TLS to {name}",
            DBParameterGroupName=name,
            Parameters=[
                {
                    "ParameterName": _TLS_ALONE[spec.engine],
                    "ParameterValue": "1",
                    # before there is an instance: it begins with it, whatever kind of
                    # parameter this is
                    "ApplyMethod": "pending-reboot",
                }
            ],
        )
        self._create(
            "rds.create_db_instance",
            "DBInstanceAlreadyExists",
            DBInstanceIdentifier=name,
            DBInstanceClass=spec.size.name,
            Engine=_CALLED[spec.engine],
            EngineVersion=version,
            Port=spec.port,
            MasterUsername=_ADMIN,
            MasterUserPassword=spec.password.reveal(),
            AllocatedStorage=STORAGE,
            StorageType="gp3",
            StorageEncrypted=True,
            MultiAZ=False,
            PubliclyAccessible=False,
            DBSubnetGroupName=name,
            DBParameterGroupName=name,
            VpcSecurityGroupIds=[group],
            DeletionProtection=True,
            CopyTagsToSnapshot=True,
            AutoMinorVersionUpgrade=True,
            BackupRetentionPeriod=_BACKUP_DAYS,
            **own,
        )

    def _ensure_group(self, spec: DatabaseSpec) -> str:
        """Return the security group of the database, made equal to its rules."""
        roles = self._networks.ensure_groups(spec.deployment, spec.network_id)
        ids = {role: str(group["GroupId"]) for role, group in roles.items()}
        wanted = values.permissions(list(spec.rules), ids, "", enabled=True)
        why = {(rule.protocol, rule.port): rule.why for rule in spec.rules}
        return self._networks.ensure_other_group(
            spec.deployment, spec.network_id, "managed-database", "managed database", wanted, why
        )

    def _version(self, engine: str) -> tuple[str, str]:
        """Return the version that RDS makes now, and the family that its parameters are of."""
        doing = f"ask for the version of {engine}"
        wanted: dict[str, Any] = {"Engine": _CALLED[engine], "DefaultOnly": True}
        if engine in _MAJOR:
            # of this one its default
            wanted["EngineVersion"] = _MAJOR[engine]
        answer = self._api.call("rds.describe_db_engine_versions", doing, **wanted)
        try:
            found = answer["DBEngineVersions"][0]
            return str(found["EngineVersion"]), str(found["DBParameterGroupFamily"])
        except (KeyError, IndexError, TypeError) as error:
            raise self._api.senseless(doing, f"{error!r}") from error

    def _create(self, operation: str, there: str, **wanted: Any) -> None:
        named = next(value for key, value in wanted.items() if key.endswith(("Name", "Identifier")))
        try:
            self._api.call(operation, f"create the database {named}", **wanted)
        except ProviderError as error:
            # made before, and its answer was lost
            if error.code != there:
                raise

    def finish(self, spec: DatabaseSpec, progress: Progress) -> ManagedDatabase:
        """Wait until the instance answers."""
        name = name_of(spec.deployment)
        found: dict[str, Any] = {}

        def is_available() -> bool:
            found.clear()
            found.update(self.find(spec.deployment) or {})
            status = str(found.get("DBInstanceStatus", "not listed yet"))
            progress(f"waiting for the database: {status}", 0, 1)
            if status in _BROKEN:
                raise ProviderError(
                    f"the database {name} is {status}",
                    where=name,
                    cure="look at it in Amazon's console, RDS; or destroy the deployment",
                    code=status,
                )
            if status == "deleting":
                raise TransientError(
                    f"the database {name} of before is being deleted", cure="run again later"
                )
            # backing up follows at once, and is no reason to wait
            return status in ("available", "backing-up") and bool(found.get("Endpoint"))

        wait_until(
            is_available, f"creating {name}", _BIRTH, self._api.pause, longest=_LONGEST_PAUSE
        )
        doing = f"ask for the database {name}"
        try:
            host, port = str(found["Endpoint"]["Address"]), int(found["Endpoint"]["Port"])
            authority = str(found["CACertificateIdentifier"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._api.senseless(doing, f"{error!r}") from error
        return ManagedDatabase(
            id=name,
            name=name,
            host=host,
            port=port,
            user=_ADMIN,
            password=spec.password,
            authority=aws_authority.fetch(self._api, authority),
            # MySQL's kind needs none
            first="postgres" if spec.engine == "postgresql" else "",
        )

    # -- what shall be no more ---------------------------------------------------------------------

    def delete(self, deployment: str, *, snapshot: bool) -> str:
        """Delete the instance and its groups; return what is kept of it, for people."""
        name, kept = name_of(deployment), ""
        found = self.find(deployment)
        if found is not None:
            if found.get("DBInstanceStatus") != "deleting":
                kept = self._end(name, found, snapshot=snapshot)

            def is_gone() -> bool:
                return self.find(deployment) is None

            wait_until(is_gone, f"deleting {name}", _DEATH, self._api.pause, longest=_LONGEST_PAUSE)
        for operation, field in (
            ("rds.delete_db_subnet_group", "DBSubnetGroupName"),
            ("rds.delete_db_parameter_group", "DBParameterGroupName"),
        ):
            self._gone(operation, f"delete the groups of {name}", **{field: name})
        return kept

    def _end(self, name: str, found: dict[str, Any], *, snapshot: bool) -> str:
        doing = f"delete the database {name}"
        if found.get("DeletionProtection"):
            self._gone(
                "rds.modify_db_instance",
                doing,
                DBInstanceIdentifier=name,
                DeletionProtection=False,
                ApplyImmediately=True,
            )
        wanted: dict[str, Any] = {"SkipFinalSnapshot": True}
        if snapshot:
            copy = f"{name}-final-{datetime.now(UTC):%Y%m%d-%H%M%S}"
            wanted = {"SkipFinalSnapshot": False, "FinalDBSnapshotIdentifier": copy}
        self._gone(
            "rds.delete_db_instance",
            doing,
            DBInstanceIdentifier=name,
            DeleteAutomatedBackups=True,
            **wanted,
        )
        if not snapshot:
            return ""
        size = found.get("AllocatedStorage", STORAGE)
        return (
            f"the database's last copy stays in {self._api.region} as the RDS snapshot {copy} "
            f"(about 0.10 USD a month for each GiB in use, of {size} at most; delete it in "
            "Amazon's console, RDS, Snapshots)"
        )

    def _gone(self, operation: str, doing: str, **what: Any) -> None:
        try:
            self._api.call(operation, doing, **what)
        except ProviderError as error:
            if error.code in _GONE:
                return
            if error.code in ("InvalidDBInstanceState", "InvalidDBSubnetGroupStateFault",
                              "InvalidDBParameterGroupState"):  # fmt: skip
                raise TransientError(
                    error.what, why=error.why, cure="run again in a minute", code=error.code
                ) from error
            raise


def name_of(deployment: str) -> str:
    """Return what everything of RDS is called: no dots, and no two hyphens in a row."""
    if "--" in deployment:
        return f"build-usb-{hashlib.sha256(deployment.encode()).hexdigest()[:20]}"
    return f"build-usb-{deployment}"


def _tag(found: dict[str, Any], key: str) -> str:
    return values.tag({"Tags": found.get("TagList")}, key)
