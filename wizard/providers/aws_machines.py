"""Machines at EC2: instances, made once however often they are asked for, and ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from wizard.errors import ProviderError
from wizard.providers import aws_values as values
from wizard.providers.aws_api import Api, is_missing, wait_until
from wizard.providers.base import Machine, MachineSpec

# how long instances take to have addresses or be gone; seconds
_BIRTH, _DEATH = 300.0, 600.0
_GENERATIONS = 50
_FORGOTTEN = timedelta(minutes=45)
_GONE = ("shutting-down", "terminated")
_PAGE = 200  # instances a request: more at once cost memory
_FULL = (
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientFreeAddressesInSubnet",
    "Unsupported",  # this zone has no such size
)
_PROTECTED = "OperationNotPermitted"


class Machines:
    """Instances of deployments."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self, deployment: str) -> list[dict[str, Any]]:
        """Return the instances of a deployment that are not gone, in the order of their ids."""
        states = {"Name": "instance-state-name", "Values": list(values.LIVE)}
        return self._listed(deployment, [states])

    def _listed(self, deployment: str, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        reservations = self._api.pages(
            "ec2.describe_instances",
            "Reservations",
            "list the instances",
            Filters=[*values.ours(deployment), *filters],
            MaxResults=_PAGE,
        )
        found = [i for reservation in reservations for i in reservation.get("Instances") or ()]
        # what is deleted is by tag: the filter is looked at again
        found = [i for i in found if values.tag(i, values.TAG) == deployment]
        return sorted(found, key=lambda instance: str(instance["InstanceId"]))

    def get(self, identity: str, doing: str, *, fresh: bool = False) -> dict[str, Any] | None:
        """Return an instance, those that are gone too; None if there is none of that id."""
        try:
            answer = self._api.call(
                "ec2.describe_instances", doing, fresh=fresh, InstanceIds=[identity]
            )
        except ProviderError as error:
            if is_missing(error) or error.code == "InvalidInstanceID.Malformed":
                return None
            raise
        for reservation in answer.get("Reservations") or ():
            for instance in reservation.get("Instances") or ():
                return dict(instance)
        return None

    def ensure(
        self, spec: MachineSpec, image: dict[str, Any], group: str, subnets: list[str], profile: str
    ) -> str:
        """Return the id of the machine of that name, created if missing. The caller makes sure
        that nobody else creates the same."""
        name = values.name_of(spec.deployment, spec.name)
        listed = self._listed(spec.deployment, [{"Name": "tag:Name", "Values": [name]}])
        gone = {str(i["InstanceId"]) for i in listed if _state(i) in _GONE}
        same = [str(i["InstanceId"]) for i in listed if _state(i) not in _GONE]
        if not same:
            wanted = values.instance(spec, image, [group], profile)
            return self._create(spec, wanted, subnets, gone)
        # one whose answer was lost, and that the list did not show when it was asked again
        for twin in same[1:]:
            self.delete(twin, spec.name)
        return same[0]

    def _create(
        self, spec: MachineSpec, wanted: dict[str, Any], subnets: list[str], gone: set[str]
    ) -> str:
        """Create it in the first zone that has room; which is tried first goes by its name."""
        digits = "".join(c for c in spec.name if c.isdigit()) or "1"
        start = (int(digits) - 1) % len(subnets)
        refusals: list[ProviderError] = []
        for subnet in subnets[start:] + subnets[:start]:
            try:
                return self._create_in(spec, wanted, subnet, gone)
            except ProviderError as error:
                if error.code not in _FULL:
                    raise _named(spec, error) from error
                refusals.append(error)
        last = refusals[-1]
        raise ProviderError(
            f"no zone has room for {spec.name}",
            where="machines.sizes",
            why="\n".join(refusal.why for refusal in refusals),
            cure=f"choose another size than {spec.size}, another region, or run again later",
            code=last.code,
            request_id=last.request_id,
        ) from last

    def _create_in(
        self, spec: MachineSpec, wanted: dict[str, Any], subnet: str, gone: set[str]
    ) -> str:
        (interface,) = wanted["NetworkInterfaces"]
        wanted = {**wanted, "NetworkInterfaces": [{**interface, "SubnetId": subnet}]}
        for generation in range(_GENERATIONS):
            answer = self._api.call(
                "ec2.run_instances",
                f"create {spec.name}",
                fresh=True,  # security group, subnet and profile may be new
                ClientToken=values.client_token(spec.network_id, wanted, generation),
                **wanted,
            )
            made = answer["Instances"][0]
            # EC2 remembers tokens longer than it lists machines that are gone (an hour)
            age = datetime.now(UTC) - made["LaunchTime"]
            if made["InstanceId"] not in gone and age < _FORGOTTEN:
                return str(made["InstanceId"])
        raise self._api.senseless(
            f"create {spec.name}", "EC2 goes on answering with machines that are gone"
        )

    def wait_for_addresses(self, identity: str, name: str) -> Machine:
        """Return the machine once it runs and has its addresses."""
        found: list[Machine] = []

        def is_there() -> bool:
            doing = f"ask for {name}"
            instance = self.get(identity, doing, fresh=True)
            if instance is None:
                return False
            found[:] = [values.machine(self._api, instance)]
            if found[0].state in ("terminated", "ending"):
                reason = instance.get("StateReason") or {}
                raise ProviderError(
                    f"{name} ended while it was created",
                    where=identity,
                    why=f"{reason.get('Code', '')}: {reason.get('Message', 'without a reason')}",
                    cure="correct what it says, then run again",
                    code=str(reason.get("Code", "")),
                )
            addresses = found[0].private_address and found[0].public_address
            # a stopped machine has no public address: who asks wants to see that it is stopped
            return bool(addresses and found[0].state != "starting") or found[0].state == "stopped"

        wait_until(is_there, f"creating {name}", _BIRTH, self._api.pause)
        return found[0]

    def delete(self, identity: str, name: str) -> None:
        """End an instance and return when it is gone; its protection is lifted first."""
        doing = f"delete {name}"

        def is_gone() -> bool:
            instance = self.get(identity, doing)
            return instance is None or _state(instance) == "terminated"

        if is_gone():
            return
        try:
            self._api.remove("ec2.terminate_instances", doing, InstanceIds=[identity])
        except ProviderError as error:
            if error.code != _PROTECTED:
                raise
            self._api.call(
                "ec2.modify_instance_attribute",
                f"lift the protection of {name}",
                InstanceId=identity,
                DisableApiTermination={"Value": False},
            )
            self._api.remove("ec2.terminate_instances", doing, InstanceIds=[identity])
        wait_until(is_gone, f"deleting {name}", _DEATH, self._api.pause)


def _state(instance: dict[str, Any]) -> str:
    return str((instance.get("State") or {}).get("Name"))


def _named(spec: MachineSpec, error: ProviderError) -> ProviderError:
    """Return the error, saying which of the answers is wrong where that is known."""
    if error.code in ("InvalidInstanceType", "InvalidParameterValue") and spec.size in error.why:
        return ProviderError(
            f"there is no size {spec.size!r} at EC2 in {spec.region}",
            where="machines.sizes",
            why=error.why,
            cure="use a size that `build-usb plan` allows",
            code=error.code,
            request_id=error.request_id,
        )
    return error
