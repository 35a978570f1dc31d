"""The `aws` provider: EC2 instances in a VPC of their own, behind security groups.

What is made is found again by the tag `build-usb:deployment`. The parts: `aws_network` (VPC,
subnets, security groups), `aws_databases` (RDS) with `aws_authority`, `aws_machines`, `aws_images`,
`aws_addresses`, `aws_files` (the shared folder at EFS), `aws_roles` (what machines may do),
`aws_facts` with `aws_prices` and `aws_database_prices` of the `aws_price_list`, `aws_rights` and
`aws_policy` (what we may do), `aws_values` (how EC2 says it), `aws_api` (calls and errors),
`aws_session` (credentials).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from wizard.errors import ProviderError
from wizard.events import Progress
from wizard.providers import aws_facts, aws_policy, aws_rights
from wizard.providers import aws_values as values
from wizard.providers.aws_addresses import Addresses
from wizard.providers.aws_api import Api, is_forbidden
from wizard.providers.aws_databases import Databases
from wizard.providers.aws_files import FileSystems
from wizard.providers.aws_images import Images
from wizard.providers.aws_machines import Machines
from wizard.providers.aws_network import Networks
from wizard.providers.aws_roles import Roles
from wizard.providers.base import (
    Account,
    DatabaseSpec,
    FileSystem,
    Machine,
    MachineSpec,
    ManagedDatabase,
    Network,
    ObjectStorage,
    ProviderFacts,
    Resource,
    ResourceKind,
    Services,
    Standing,
)
from wizard.rules import Role, Rule

_SPOT_NOTE = (
    "webservers are spot instances: they cost what Amazon asks at the time, at most the price "
    "above; Amazon may end one with two minutes' notice, and in development mode it is "
    "`build-usb deploy` that makes it anew"
)


class AwsProvider:
    """Rents from Amazon in one region; see `providers.base.Provider`."""

    name = "aws"

    def __init__(self, account: Account, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._api = Api(
            account.token, account.region, account.url, pause=pause, timeout=account.timeout
        )
        self._account = account
        self._cache = account.cache
        self._networks = Networks(self._api)
        self._images = Images(self._api)
        self._machines = Machines(self._api)
        self._addresses = Addresses(self._api)
        self._keeps_addresses = account.reserved
        self._files = FileSystems(self._api, self._networks)
        self._databases = Databases(self._api, self._networks)
        self._database = account.database
        self._spot = account.spot
        self._names = account.names
        self._health_checked = account.health_checked
        self._inside = account.inside
        # two threads that find nothing of a name must not both create it
        self._lock = threading.Lock()
        self._profiles: set[str] = set()

    def __repr__(self) -> str:
        return f"AwsProvider({self._api!r})"

    @cached_property
    def _caller(self) -> aws_rights.Caller:
        return aws_rights.caller(self._api)

    @cached_property
    def _roles(self) -> Roles:
        return Roles(self._api, self._caller)

    def facts(self) -> ProviderFacts:
        """Return the account's regions, Debian's and Ubuntu's images, the region's sizes, their
        prices with disk and address, and the account's quotas."""
        found = aws_facts.facts(
            self._api,
            self._images,
            self._cache,
            self._database,
            spot=self._spot,
            reserved=self._keeps_addresses,
        )
        return replace(found, notes=(*found.notes, _SPOT_NOTE)) if self._spot else found

    def check(self) -> None:
        """Nothing of this computer matters to a cloud."""

    def standing(self, progress: Progress) -> Standing:
        """Return whose credentials these are and the IAM actions they lack."""
        progress("asking whose credentials these are", 0, 2)
        own = self._caller
        progress("asking what the credentials may do", 1, 2)
        policy = aws_policy.for_deploying(own.account, own.partition)
        missing = set(aws_rights.missing(self._api, own))
        if not self._database:
            missing -= aws_policy.DATABASES
        lacking = tuple(sorted(missing - aws_policy.OPTIONAL))
        return Standing(own.arn, lacking, tuple(sorted(missing & aws_policy.OPTIONAL)), policy)

    def prepare(self, progress: Progress) -> None:
        """Check the credentials, naming every right that they lack before anything is changed. An
        autoscaler's have what we gave them."""
        if self._inside:
            progress(f"the role is {self._caller.arn}", 1, 1)
            return
        own = self.standing(progress)
        if own.lacking:
            raise ProviderError(
                "the credentials may not do what a deployment needs",
                where="provider.credentials",
                why=f"{own.owner} lacks {', '.join(own.lacking)}",
                cure="have them added in Amazon's console (IAM); `build-usb check` prints a policy",
                code="AccessDenied",
            )
        progress("the credentials are good", 2, 2)

    def services(self, zone: str) -> Services:
        """Return S3 with the account's own credentials: machines reach it by their role."""
        keys = self._api.frozen_keys()
        storage = ObjectStorage(
            build_endpoint="",
            machine_endpoint="",
            region=self._api.region,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            session_token=keys.session_token,
            by_role=True,
            vendor="aws",
            session=self._api.session,
        )
        return Services(object_storage=storage, file_systems=self)

    # -- what there is -----------------------------------------------------------------------------

    def resources(self, deployment: str) -> list[Resource]:
        """Return everything of the deployment, asked from the API now; on an autoscaler, what it
        can make. Subnets, internet gateway and the machines' roles go with the network, and are
        shown as one when no VPC is left."""

        def found(kind: ResourceKind, identity: str, name: str) -> Resource:
            return Resource(kind, identity, name, deployment)

        listed = [
            found(ResourceKind.MACHINE, str(item["InstanceId"]), values.short_name(item))
            for item in self._machines.all(deployment)
        ]
        listed += self._reserved(deployment)
        listed += self._images.copies(deployment)
        if self._inside:
            return listed
        files = self._files.find(deployment)
        if files is not None:
            name = values.tag(files, "Name")
            listed.append(found(ResourceKind.FILE_SYSTEM, str(files["FileSystemId"]), name))
        listed += self._rented(deployment)
        listed += [
            found(ResourceKind.FIREWALL, str(item["GroupId"]), str(item.get("GroupName")))
            for item in self._networks.groups(deployment)
        ]
        networks = [
            found(ResourceKind.NETWORK, str(item["VpcId"]), values.tag(item, "Name"))
            for item in self._networks.all(deployment)
        ]
        if not networks and (self._networks.gateways(deployment) or self._roles.exists(deployment)):
            rest = f"gateway and roles of {deployment}"
            networks = [found(ResourceKind.NETWORK, "", rest)]
        return listed + networks

    def _reserved(self, deployment: str) -> list[Resource]:
        try:
            found = self._addresses.all(deployment)
        except ProviderError as error:
            # who keeps none needs no right to look
            if self._keeps_addresses or not is_forbidden(error):
                raise
            return []
        kind = ResourceKind.ADDRESS
        return [
            Resource(kind, str(item["AllocationId"]), str(item["PublicIp"]), deployment)
            for item in found
        ]

    def _rented(self, deployment: str) -> list[Resource]:
        """Return the managed database, or the groups that are left of one."""
        kind = ResourceKind.DATABASE
        try:
            found = self._databases.find(deployment)
            if found is not None:
                name = str(found["DBInstanceIdentifier"])
                return [Resource(kind, name, name, deployment)]
            if self._databases.leftovers(deployment):
                return [Resource(kind, "", f"groups of {deployment}'s database", deployment)]
        except ProviderError as error:
            # who rents none needs no right to look
            if self._database or not is_forbidden(error):
                raise
        return []

    def machines(self, deployment: str) -> list[Machine]:
        """Return the deployment's instances as they are now."""
        return [values.machine(self._api, item) for item in self._machines.all(deployment)]

    # -- what shall be -----------------------------------------------------------------------------

    def build_machine(self) -> str:
        """Return the address or network that machines see the build machine at."""
        assert self._account.build_machine is not None, "whoever rents machines says where it is"
        return self._account.build_machine()

    def ensure_network(self, deployment: str) -> Network:
        """Return the deployment's VPC with subnets in two zones and a way out."""
        with self._lock:
            vpc = self._networks.ensure(deployment)
        return Network(str(vpc["VpcId"]), str(vpc["CidrBlock"]), self.build_machine())

    def ensure_firewall(self, deployment: str, rules: tuple[Rule, ...], *, enabled: bool) -> None:
        """Make the security groups, one for each role, equal to `rules`."""
        with self._lock:
            vpc = self._networks.find(deployment) or self._networks.ensure(deployment)
            self._networks.set_rules(
                deployment, str(vpc["VpcId"]), rules, self.build_machine(), enabled
            )

    def ensure_file_system(self, deployment: str) -> FileSystem:
        """Return the deployment's file system once all zones of its network reach it."""
        return self._files.ensure(deployment)

    def ensure_machine(self, spec: MachineSpec) -> Machine:
        """Return the instance of that name, created if missing, once it has its addresses."""
        with self._lock:
            image = self._images.find(spec.image)
            group = self._networks.ensure_groups(spec.deployment, spec.network_id)[spec.role]
            subnets = [str(s["SubnetId"]) for s in self._networks.subnets(spec.network_id)]
            profile = self._profile(spec.deployment, spec.role)
            identity = self._machines.ensure(spec, image, str(group["GroupId"]), subnets, profile)
        machine = self._machines.wait_for_addresses(identity, spec.name)
        if not (self._keeps_addresses and spec.role is Role.WEBSERVER):
            return machine
        with self._lock:
            address = self._addresses.ensure(spec.deployment, identity, spec.name)
        return replace(machine, public_address=address, access_address=address)

    def _profile(self, deployment: str, role: Role) -> str:
        """Return the instance profile, looked after once a run."""
        scales = role is Role.AUTOSCALER
        name = self._roles.name(deployment, scales=scales)
        if self._inside:
            return name
        if name not in self._profiles:
            if scales:
                # they may rent machines of the others' role only: it is named in their rights
                self._profile(deployment, Role.WEBSERVER)
            self._roles.ensure(
                deployment, self._names, scales=scales, health_checked=self._health_checked
            )
            self._profiles.add(name)
        return name

    def ensure_database(self, spec: DatabaseSpec, progress: Progress) -> ManagedDatabase:
        """Return the deployment's RDS instance, ordered if missing, once it answers."""
        with self._lock:
            self._databases.begin(spec)
        return self._databases.finish(spec, progress)

    def snapshot(self, machine_id: str, name: str) -> Resource:
        """Keep an image of an instance's disk; its id can be a MachineSpec's `image`."""
        instance = self._machines.get(machine_id, f"copy the disk of {machine_id}")
        if instance is None or not values.tag(instance, values.TAG):
            raise ProviderError(
                f"there is no machine {machine_id}", cure="name one that `build-usb status` shows"
            )
        return self._images.copy(instance, name)

    # -- what shall be no more ---------------------------------------------------------------------

    def delete(self, resource: Resource, *, last_copy: bool = True) -> str:
        """Delete a resource and return when it is gone; what is gone already is no error. Of a
        database a final snapshot is kept (`last_copy`)."""
        if resource.kind is ResourceKind.MACHINE:
            self._machines.delete(resource.id, resource.name)
        elif resource.kind is ResourceKind.ADDRESS:
            self._addresses.release(resource.id, resource.name)
        elif resource.kind is ResourceKind.SNAPSHOT:
            self._images.delete(resource)
        elif resource.kind is ResourceKind.FILE_SYSTEM:
            self._files.delete(resource.deployment, resource.id)
        elif resource.kind is ResourceKind.DATABASE:
            return self._databases.delete(resource.deployment, snapshot=last_copy)
        elif resource.kind is ResourceKind.FIREWALL:
            with self._lock:
                self._networks.delete_group(resource.deployment, resource.id)
        elif resource.kind is ResourceKind.NETWORK:
            with self._lock:
                # before the network: a run that is killed here finds the network, and comes back
                self._profiles.clear()
                self._roles.delete(resource.deployment)
                self._networks.delete(resource.deployment, resource.id)
        return ""

    def end_if_unused(self) -> None:
        """Nothing runs only for us."""
