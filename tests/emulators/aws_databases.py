"""Amazon's RDS: moto's, and in front of it what moto does not have: time, dependencies, versions, a
price list, and the authorities that Amazon publishes.

Time passes with requests about an instance, as for machines.
"""

from __future__ import annotations

import json
import re
from typing import Any

from moto.backends import get_backend

from tests.emulators.authority import Authority
from tests.emulators.aws_answers import Refusal
from tests.emulators.server import Reply

VERSIONS = {
    "mariadb": ("11.8.3", "mariadb11.8"),
    "mysql": ("8.4.6", "mysql8.4"),
    "postgres": ("18.1", "postgres18"),
}
# the default of a version that is asked for
OF_MAJOR = {("postgres", "17"): ("17.7", "postgres17")}
_TLS = {"postgres": "rds.force_ssl"}
AUTHORITY = "rds-ca-rsa2048-g1"
# name, vCPUs, memory, USD an hour
SIZES = (
    ("db.t4g.micro", 2, "1 GiB", "0.018"),
    ("db.t4g.medium", 2, "4 GiB", "0.074"),
    ("db.m6i.large", 2, "8 GiB", "0.204"),
    ("db.r6i.2xlarge", 8, "64 GiB", "1.13"),
)
_STORAGE = "0.137"
_NAMESPACE = "http://rds.amazonaws.com/doc/2014-10-31/"
_TRUST = re.compile(r"^/truststore\.pki\.rds\.amazonaws\.com/([a-z0-9-]+)/\1-bundle\.pem$")


class Databases:
    """The part of the emulator that is about RDS."""

    account: str
    steps: int
    _ask_moto: Any
    ec2: Any

    def begin_databases(self) -> None:
        self.database_limit = 40
        self.authorities: dict[str, Authority] = {}
        self._database_time: dict[str, int] = {}
        self._database_ends: dict[str, dict[str, Any]] = {}

    def rds(self, region: str = "eu-central-1") -> Any:
        """Return moto's own state of a region."""
        return get_backend("rds")[self.account][region]

    def authority(self, region: str) -> Authority:
        """Return who signs for the databases of a region."""
        name = f"Amazon RDS {region} Root CA RSA2048 G1"
        return self.authorities.setdefault(region, Authority(name))

    # -- what stands behind it; overridden where instances are real servers ------------------------

    def begin_database(self, database: Any, password: str) -> str:
        """Return the host of a new instance."""
        return f"{database.db_instance_identifier}.c0ffee.{database.region}.rds.amazonaws.com"

    def database_is_ready(self, database: Any) -> bool:
        """Say whether an instance can be available."""
        return True

    def end_database(self, name: str) -> None:
        """The instance is gone."""

    def lets_in_tls_alone(self, database: Any) -> bool:
        """Say whether an instance's parameters let nobody in without TLS."""
        (group,) = database.db_parameter_groups()
        wanted = group.parameters.get(_TLS.get(database.engine, "require_secure_transport"), {})
        return bool(wanted.get("ParameterValue") == "1")

    # -- requests ----------------------------------------------------------------------------------

    def truststore(self, path: str) -> Reply | None:
        """Return what is published there, None for what is no such thing."""
        found = _TRUST.match(path)
        if not found:
            return None
        # others come first, as in Amazon's
        other = Authority(f"Amazon RDS {found[1]} Root CA ECC384 G1")
        text = other.certificate + self.authority(found[1]).certificate
        return Reply(200, text.encode())

    def _do_DescribeDBEngineVersions(self, request: Any) -> Reply:
        engine, major = request.form["Engine"], request.form.get("EngineVersion")
        version, family = OF_MAJOR[engine, major] if major else VERSIONS[engine]
        assert request.form["DefaultOnly"] == "true"
        item = (
            f"<DBEngineVersion><Engine>{request.form['Engine']}</Engine><EngineVersion>{version}"
            f"</EngineVersion><DBParameterGroupFamily>{family}</DBParameterGroupFamily>"
            "</DBEngineVersion>"
        )
        return _reply(request, f"<DBEngineVersions>{item}</DBEngineVersions>")

    def _do_CreateDBSubnetGroup(self, request: Any) -> Reply:
        form = request.form
        if form["DBSubnetGroupName"] in self.rds(request.region).subnet_groups:
            raise Refusal("DBSubnetGroupAlreadyExists", "it exists already")
        wanted = [v for k, v in form.items() if k.startswith("SubnetIds.")]
        backend = self.ec2(request.region)
        zones = {backend.get_subnet(subnet).availability_zone for subnet in wanted}
        if len(zones) < 2:
            raise Refusal("DBSubnetGroupDoesNotCoverEnoughAZs", "two zones are needed")
        return self._ask_moto(request)  # type: ignore[no-any-return]

    def _do_CreateDBInstance(self, request: Any) -> Reply:
        form, backend = request.form, self.rds(request.region)
        name = form["DBInstanceIdentifier"]
        if not re.fullmatch(r"[a-z](?:-?[a-z0-9]){0,62}", name):
            raise Refusal("InvalidParameterValue", "DBInstanceIdentifier is not valid")
        if name not in backend.databases and len(backend.databases) >= self.database_limit:
            raise Refusal("InstanceQuotaExceeded", "Quota for DB instances exceeded.")
        if form["DBInstanceClass"] not in {size[0] for size in SIZES}:
            raise Refusal("InvalidParameterValue", "Invalid DB Instance class")
        for field, known in (
            ("DBSubnetGroupName", backend.subnet_groups),
            ("DBParameterGroupName", backend.db_parameter_groups),
        ):
            if form[field] not in known:
                raise Refusal(f"{field.removesuffix('Name')}NotFound", f"no {form[field]}")
        engine = form["Engine"]
        made = [VERSIONS[engine], *(v for (e, _), v in OF_MAJOR.items() if e == engine)]
        group = backend.db_parameter_groups[form["DBParameterGroupName"]]
        if (form["EngineVersion"], group.family) not in made:
            raise Refusal("InvalidParameterCombination", "the parameter group is of another family")
        if set(group.parameters) - {_TLS.get(engine, "require_secure_transport")}:
            raise Refusal("InvalidParameterValue", "the family has no such parameter")
        if int(form["AllocatedStorage"]) < 20 or form["StorageType"] != "gp3":
            raise Refusal("InvalidParameterValue", "Invalid storage size for engine")
        if (
            re.search(r"[/\"@\s]", form["MasterUserPassword"])
            or len(form["MasterUserPassword"]) < 8
        ):
            raise Refusal("InvalidParameterValue", "MasterUserPassword is not valid")
        fresh = name not in backend.databases
        reply = self._ask_moto(request)
        if fresh and reply.status == 200:
            database = backend.databases[name]
            database.status = "creating"
            database.ca_certificate_identifier = AUTHORITY
            database._host = self.begin_database(database, form["MasterUserPassword"])
            self._database_time[name] = self.steps
        return reply  # type: ignore[no-any-return]

    def _do_DescribeDBInstances(self, request: Any) -> Reply:
        backend = self.rds(request.region)
        for name in list(backend.databases):
            self._pass_database_time(backend, name)
        reply = self._ask_moto(request)
        if reply.status == 200:
            text = reply.body.decode()
            for database in backend.databases.values():
                if database.status == "creating":
                    # where it will answer is told when it does
                    text = re.sub(r"<Endpoint>.*?</Endpoint>", "", text, flags=re.DOTALL)
                own = f"<Address>{database._host}</Address>"
                text = re.sub(
                    r"(<Endpoint>.*?)<Address>.*?</Address>", rf"\1{own}", text, flags=re.S
                )
            reply = Reply(200, text.encode())
        return reply  # type: ignore[no-any-return]

    def _pass_database_time(self, backend: Any, name: str) -> None:
        database = backend.databases[name]
        self._database_time[name] = left = self._database_time.get(name, 0) - 1
        if left >= 0:
            return
        if database.status == "creating" and self.database_is_ready(database):
            database.status = "available"
        if database.status == "deleting":
            database.deletion_protection = False
            backend.delete_db_instance(name, **self._database_ends.pop(name))
            self.end_database(name)

    def _do_DeleteDBInstance(self, request: Any) -> Reply:
        form, backend = request.form, self.rds(request.region)
        name = form["DBInstanceIdentifier"]
        database = backend.databases.get(name)
        if database is None:
            raise Refusal("DBInstanceNotFound", f"DBInstance {name} not found.", 404)
        if database.status != "available":
            raise Refusal("InvalidDBInstanceState", f"Instance {name} is {database.status}.")
        if database.deletion_protection:
            raise Refusal("InvalidParameterCombination", "Cannot delete protected DB Instance")
        skip, copy = form["SkipFinalSnapshot"] == "true", form.get("FinalDBSnapshotIdentifier")
        if skip == bool(copy):
            raise Refusal("InvalidParameterCombination", "FinalDBSnapshotIdentifier is required")
        database.status = "deleting"
        self._database_time[name] = self.steps
        self._database_ends[name] = {
            "final_db_snapshot_identifier": copy,
            "skip_final_snapshot": skip,
        }
        return _reply(request, "")

    def _do_DeleteDBSubnetGroup(self, request: Any) -> Reply:
        return self._unless_used(request, "DBSubnetGroupName", "InvalidDBSubnetGroupStateFault")

    def _do_DeleteDBParameterGroup(self, request: Any) -> Reply:
        return self._unless_used(request, "DBParameterGroupName", "InvalidDBParameterGroupState")

    def _unless_used(self, request: Any, field: str, code: str) -> Reply:
        # both are called as the instance is
        if request.form[field] in self.rds(request.region).databases:
            raise Refusal(code, "it is in use")
        return self._ask_moto(request)  # type: ignore[no-any-return]

    def used_by_databases(self, region: str, identity: str) -> bool:
        """Say whether a security group or a subnet is an instance's."""
        databases = self.rds(region).databases.values()
        groups = {g for database in databases for g in database.vpc_security_group_ids}
        subnets = {s["SubnetIdentifier"] for d in databases for s in d.db_subnet_group.subnets}
        return identity in groups | subnets

    def database_products(self, asked: dict[str, Any], wanted: dict[str, str]) -> Reply:
        """Return the price list of RDS."""
        region, engine = wanted["regionCode"], wanted["databaseEngine"]
        rows = []
        if wanted["productFamily"] == "Database Storage":
            if engine == "Any":
                rows = [_product({"volumeType": wanted["volumeType"]}, region, _STORAGE)]
        else:
            rows = [
                _product(
                    {"instanceType": name, "vcpu": str(vcpus), "memory": memory}, region, price
                )
                for name, vcpus, memory, price in SIZES
            ]
        return Reply(200, {"FormatVersion": "aws_v1", "PriceList": rows})


def _reply(request: Any, inner: str) -> Reply:
    name = request.action
    text = (
        f'<{name}Response xmlns="{_NAMESPACE}"><{name}Result>{inner}</{name}Result>'
        f"<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{name}Response>"
    )
    return Reply(200, text.encode())


def _product(attributes: dict[str, str], region: str, price: str) -> str:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
    return json.dumps(
        {
            "product": {"attributes": {**attributes, "regionCode": region}},
            "terms": {"OnDemand": {"term": {"priceDimensions": {"one": dimension}}}},
        }
    )
