"""Which rights a request to Amazon needs, as Amazon's list of actions, resources and condition keys
says it: most of a machine's requests are about several things, and each is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from tests.emulators.aws_answers import AwsRequest
from tests.emulators.aws_identity import Ask

Context = dict[str, tuple[str, ...]]
_NEEDS_NONE = ("sts:GetCallerIdentity",)
# what belongs to no account, as EC2 names it
_OF_NONE = ("image", "snapshot")
_XML = "{https://route53.amazonaws.com/doc/2013-04-01/}"
_NORMALIZED = "route53:ChangeResourceRecordSets"


def of_request(request: AwsRequest, account: str, ec2: Any, iam: Any) -> list[Ask]:
    """Return what a request to EC2, IAM and all the others needs; `ec2` and `iam` are moto's."""
    if request.line in _NEEDS_NONE:
        return []
    here: Context = {"aws:RequestedRegion": (request.region,)}
    if request.service == "ec2":
        return list(_Ec2(request, account, ec2, iam, here).asks())
    return [Ask(request.line, context=here)]


class _Ec2:
    def __init__(
        self, request: AwsRequest, account: str, ec2: Any, iam: Any, here: Context
    ) -> None:
        self.form, self.action, self.region = request.form, request.action, request.region
        self.account, self.backend, self.iam, self.here = account, ec2, iam, here
        self.asked = _asked_tags(request.form)

    def asks(self) -> Iterator[Ask]:
        own = getattr(self, f"_{self.action}", None)
        if own is None:
            yield Ask(f"ec2:{self.action}", context=self.here)
            return
        yield from own()
        for kind, tags in self.asked.items():
            made = {"ec2:CreateAction": (self.action,)}
            yield self._ask(kind, "*", {**_tags("Request", tags), **made}, "CreateTags")

    def _ask(self, kind: str, name: str, context: Context, action: str = "") -> Ask:
        account = "" if kind in _OF_NONE else self.account
        arn = f"arn:aws:ec2:{self.region}:{account}:{kind}/{name}"
        return Ask(f"ec2:{action or self.action}", arn, {**self.here, **context})

    def _existing(self, kind: str, name: str) -> Ask:
        """Return the right to do it to what exists, which has tags."""
        context = _tags("Resource", dict(self.backend.tags.get(name) or {}))
        if kind == "image" and name in self.backend.amis:
            context["ec2:Owner"] = (str(self.backend.amis[name].owner_id),)
        return self._ask(kind, name, context)

    def _fresh(self, kind: str) -> Ask:
        """Return the right to make it, with the tags that were asked for."""
        return self._ask(kind, "*", _tags("Request", self.asked.get(kind, {})))

    def _numbered(self, name: str) -> list[str]:
        keys = (f"{name}.{number}" for number in itertools.count(1))
        return [self.form[key] for key in itertools.takewhile(self.form.__contains__, keys)]

    def _RunInstances(self) -> Iterator[Ask]:
        yield self._existing("image", self.form["ImageId"])
        yield self._existing("subnet", self.form["NetworkInterface.1.SubnetId"])
        for group in self._numbered("NetworkInterface.1.SecurityGroupId"):
            yield self._existing("security-group", group)
        for kind in ("instance", "network-interface", "volume"):
            yield self._fresh(kind)
        if "InstanceMarketOptions.MarketType" in self.form:
            yield self._fresh("spot-instances-request")
        profile = self.form.get("IamInstanceProfile.Name")
        if profile is not None:
            known = {p.name: p for p in self.iam.instance_profiles.values()}
            roles = known[profile].roles if profile in known else ()
            to = {"iam:PassedToService": ("ec2.amazonaws.com",)}
            for role in roles:
                yield Ask("iam:PassRole", role.arn, to)

    def _TerminateInstances(self) -> Iterator[Ask]:
        for name in self._numbered("InstanceId"):
            yield self._existing("instance", name)

    def _CreateImage(self) -> Iterator[Ask]:
        yield self._existing("instance", self.form["InstanceId"])
        yield self._fresh("image")
        yield self._fresh("snapshot")

    def _DeregisterImage(self) -> Iterator[Ask]:
        yield self._existing("image", self.form["ImageId"])

    def _DeleteSnapshot(self) -> Iterator[Ask]:
        yield self._existing("snapshot", self.form["SnapshotId"])

    def _CreateTags(self) -> Iterator[Ask]:
        for name in self._numbered("ResourceId"):
            yield self._existing(_KINDS[name.partition("-")[0]], name)


_KINDS = {
    "ami": "image",
    "i": "instance",
    "sg": "security-group",
    "snap": "snapshot",
    "subnet": "subnet",
    "vpc": "vpc",
}


def _tags(where: str, tags: dict[str, str]) -> Context:
    return {f"aws:{where}Tag/{key}": (value,) for key, value in tags.items()}


def _asked_tags(form: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return the tags that a request wants on what it makes, by kind."""
    found: dict[str, dict[str, str]] = {}
    for key, kind in form.items():
        head, dot, last = key.rpartition(".")
        if not (head.startswith("TagSpecification.") and last == "ResourceType" and dot):
            continue
        names = {k: v for k, v in form.items() if k.startswith(f"{head}.Tag.")}
        found[kind] = {
            v: names[k.removesuffix(".Key") + ".Value"]
            for k, v in names.items()
            if k.endswith(".Key")
        }
    return found


def of_route53(action: str, path: str, body: bytes) -> list[Ask]:
    """Return what a request to Route 53 needs; its paths end in the id of what it is about."""
    parts = path.strip("/").split("/")
    if action == "DeleteHealthCheck":
        return [Ask(f"route53:{action}", f"arn:aws:route53:::healthcheck/{parts[-1]}")]
    if "hostedzone" not in parts:
        return [Ask(f"route53:{action}")]
    zone = f"arn:aws:route53:::hostedzone/{parts[parts.index('hostedzone') + 1]}"
    context: Context = {}
    if action == "ChangeResourceRecordSets":
        tree = ElementTree.fromstring(body)
        told = {
            "NormalizedRecordNames": {
                str(e.text).removesuffix(".").lower() for e in tree.iter(f"{_XML}Name")
            },
            "RecordTypes": {str(e.text) for e in tree.iter(f"{_XML}Type")},
            "Actions": {str(e.text) for e in tree.iter(f"{_XML}Action")},
        }
        context = {f"{_NORMALIZED}{key}": tuple(sorted(v)) for key, v in told.items()}
    return [Ask(f"route53:{action}", zone, context)]
