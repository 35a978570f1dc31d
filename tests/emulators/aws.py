"""Amazon's EC2, EFS, IAM, STS, price list and quotas: moto's, and in front of it the rules that
moto does not have.

Keys, signatures, clocks and rights are checked; client tokens are remembered; what is in use cannot
be deleted; zones can be full and quotas reached; what was made is not seen at once. Time passes
with requests: what is under way is done after it was asked for `steps` times.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import secrets
import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import moto.settings
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.backends import get_backend
from moto.ec2.models.amis import Ami
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from tests.emulators import aws_files
from tests.emulators.aws_databases import Databases
from tests.emulators.server import Emulator, Reply, Request
from wizard.providers import aws_price_table

ACCESS_KEY, SECRET_KEY = "AKIDGOOD", "a-secret-key"
TOKEN = f"{ACCESS_KEY}:{SECRET_KEY}"
DEBIAN, CANONICAL, STRANGER = "136693071363", "099720109477", "666666666666"
IMAGES = (
    (DEBIAN, "debian-12-amd64-20260101-2000", "2026-01-01T00:00:00Z"),
    (DEBIAN, "debian-13-amd64-20260101-2000", "2026-01-01T00:00:00Z"),
    (DEBIAN, "debian-13-amd64-20260901-2200", "2026-09-01T00:00:00Z"),
    (DEBIAN, "debian-13-backports-amd64-20261001-2300", "2026-10-01T00:00:00Z"),
    (STRANGER, "debian-13-amd64-20261111-6666", "2026-11-11T00:00:00Z"),
    (
        CANONICAL,
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260801",
        "2026-08-01T00:00:00Z",
    ),
)
_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"
_X = f"{{{_NAMESPACE}}}"
_UNSEEN = {
    "ami": "InvalidAMIID.NotFound",
    "i": "InvalidInstanceID.NotFound",
    "igw": "InvalidInternetGatewayID.NotFound",
    "sg": "InvalidGroup.NotFound",
    "subnet": "InvalidSubnetID.NotFound",
    "vpc": "InvalidVpcID.NotFound",
}
_MADE = {
    "CreateInternetGateway": "internetGatewayId",
    "CreateSecurityGroup": "groupId",
    "CreateSubnet": "subnetId",
    "CreateVpc": "vpcId",
    "RunInstances": "instanceId",
}
_SKEW = 300  # seconds
_accounts = itertools.count(200_000_000_000)


@dataclass
class Key:
    """An access key: its secret, and the token that belongs to it."""

    secret: str = SECRET_KEY
    token: str = ""
    expired: bool = False


@dataclass
class AwsRequest(Request):
    """A request as Amazon's services are asked; its line is such as `ec2:RunInstances`."""

    service: str = ""
    region: str = ""
    action: str = ""
    form: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        return f"{self.service}:{self.action}"


@dataclass
class Refusal(Exception):
    code: str
    message: str
    status: int = 400


class AwsEmulator(Databases, Emulator):
    """An account of its own. `denied` are IAM actions that its keys may not do, `full` zones
    without room, `clock` the seconds by which its clock is ahead, `steps` how many requests about
    it an instance is pending or shutting down, `unseen` for how many what is new is hidden. `crowd`
    instances are listed where there is one."""

    def __init__(self, listener: socket.socket | None = None, *, steps: int = 1) -> None:
        super().__init__(None, listener)
        moto.settings.ec2_load_default_amis = lambda: False  # they take seconds
        moto.settings.ENABLE_AMI_VALIDATION = True
        moto.settings.EC2_ENABLE_INSTANCE_TYPE_VALIDATION = True
        # each is an account of its own, so that nothing of another test is seen
        self.account = str(next(_accounts))
        self.keys = {ACCESS_KEY: Key()}
        self.denied: set[str] = set()
        self.full: set[str] = set()
        self.clock = 0.0
        self.steps = steps
        self.unseen = 0
        self.vcpu_limit, self.vpc_limit = 32, 5
        self.prices: dict[str, str] | None = None
        self.crowd = 0
        self._tokens: dict[str, tuple[dict[str, str], Reply]] = {}
        self._hidden: dict[str, int] = {}
        self._under_way: dict[str, tuple[int, str, int]] = {}
        self._known: set[str] = set()
        self._files: dict[str, aws_files.Files] = {}
        self.begin_databases()
        self._moto = DomainDispatcherApplication(create_backend_app)

    def ec2(self, region: str = "eu-central-1") -> Any:
        """Return moto's own state of a region."""
        backend = get_backend("ec2")[self.account][region]
        if region not in self._known:
            self._known.add(region)
            backend.amis.clear()
            backend.snapshots.clear()
            for number, (owner, name, made) in enumerate(IMAGES, start=1):
                image = Ami(
                    backend,
                    f"ami-{number:017x}",
                    name=name,
                    owner_id=owner,
                    public=True,
                    architecture="x86_64",
                    virtualization_type="hvm",
                    root_device_type="ebs",
                    root_device_name="/dev/xvda",
                    creation_date=datetime.fromisoformat(made.replace("Z", "+00:00")),
                )
                backend.amis[image.id] = image
        return backend

    def files(self, region: str = "eu-central-1") -> aws_files.Files:
        """Return EFS's state of a region."""
        if region not in self._files:
            self._files[region] = aws_files.Files(self.account, region, self.steps)
        return self._files[region]

    @property
    def iam(self) -> Any:
        return get_backend("iam")[self.account]["aws"]

    def instances(self, region: str = "eu-central-1") -> list[Any]:
        """Return moto's instances that are not gone."""
        listed = self.ec2(region).all_instances()
        return [i for i in listed if i._state.name not in ("terminated", "shutting-down")]

    def left(self, region: str = "eu-central-1") -> dict[str, int]:
        """Count what is there beside what every account has."""
        ec2, iam, rds = self.ec2(region), self.iam, self.rds(region)
        groups = [g for s in ec2.groups.values() for g in s.values() if g.name != "default"]
        vpcs = [v for v in ec2.vpcs.values() if str(v.is_default).lower() != "true"]
        found = {
            "instances": len(self.instances(region)),
            "vpcs": len(vpcs),
            "gateways": len(ec2.internet_gateways),
            "groups": len(groups),
            "images": len([i for i in ec2.amis.values() if i.owner_id == self.account]),
            "snapshots": len([s for s in ec2.snapshots.values() if s.owner_id == self.account]),
            "databases": len(rds.databases),
            "database groups": len(rds.subnet_groups) + len(rds.db_parameter_groups),
            "roles": len(iam.roles),
            "profiles": len(iam.instance_profiles),
            **self.files(region).left(),
        }
        return {name: count for name, count in found.items() if count}

    # -- what stands behind it; overridden where instances become real machines --------------------

    def begin_instance(self, instance: Any, user_data: str) -> None:
        """A new instance; its addresses may be changed."""

    def end_instance(self, instance: Any) -> None:
        """The instance is gone."""

    def groups_changed(self) -> None:
        """Security groups, or the instances that they are about, changed."""

    # -- requests ----------------------------------------------------------------------------------

    def handle(self, request: Request) -> tuple[Reply, Any]:
        published = self.truststore(request.path)
        if published is not None:
            return published, self.fault_for(request)
        scope = _scope(request)
        form = {}
        target = request.headers.get("x-amz-target", "")
        if scope and scope[3] == aws_files.SERVICE:
            target = aws_files.operation(request.method, request.path)
        elif not target:
            form = dict(parse_qsl(request.raw.decode(), keep_blank_values=True))
        own = AwsRequest(
            **vars(request),
            service=scope[3] if scope else "",
            region=scope[2] if scope else "",
            action=target.rpartition(".")[2] or form.get("Action", ""),
            form=form,
        )
        reply, fault = super().handle(own)
        if isinstance(reply.body, Refusal):
            reply = _refusal(own, reply.body)
        reply.headers.setdefault("Date", formatdate(time.time() + self.clock, usegmt=True))
        return reply, fault

    def refuse(self, match: str, code: str, status: int = 400, **more: Any) -> None:
        """Script an error of that code in place of doing what matches."""
        self.fail(match, reply=Reply(status, Refusal(code, "scripted", status)), **more)

    def authorise(self, request: Request) -> Reply | None:
        assert isinstance(request, AwsRequest)
        try:
            self._check_keys(request)
        except Refusal as refusal:
            return _refusal(request, refusal)
        return None

    def _check_keys(self, request: AwsRequest) -> None:
        scope = _scope(request)
        key = self.keys.get(scope[0]) if scope else None
        codes = {"ec2": "AuthFailure", "iam": "InvalidClientTokenId", "sts": "InvalidClientTokenId"}
        unknown = codes.get(request.service, "UnrecognizedClientException")
        if key is None:
            raise Refusal(unknown, "AWS was not able to validate the provided credentials", 401)
        at = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(at.timestamp() - time.time() - self.clock) > _SKEW:
            late = "RequestExpired" if request.service == "ec2" else "SignatureDoesNotMatch"
            raise Refusal(late, "Request has expired.")
        if key.expired:
            late = "RequestExpired" if request.service == "ec2" else "ExpiredToken"
            raise Refusal(late, "The security token included in the request is expired")
        if request.headers.get("x-amz-security-token", "") != key.token:
            raise Refusal(unknown, "The security token included in the request is invalid", 401)
        if _signature(request, self.origin, key) != request.headers["authorization"].split("=")[-1]:
            wrong = "AuthFailure" if request.service == "ec2" else "SignatureDoesNotMatch"
            raise Refusal(wrong, "The signature we calculated does not match yours", 403)
        name = _iam_action(request)
        if name in self.denied:
            code = "UnauthorizedOperation" if request.service == "ec2" else "AccessDenied"
            raise Refusal(code, f"You are not authorized to perform: {name}", 403)

    def dispatch(self, request: Request) -> Reply:
        assert isinstance(request, AwsRequest)
        with self.lock:
            try:
                if request.service == "ec2":
                    return self._ec2(request)
                if request.service == aws_files.SERVICE:
                    return self._efs(request)
                own = getattr(self, f"_do_{request.action}", None)
                reply = own(request) if own else self._ask_moto(request)
                if request.action == "AssumeRole" and reply.status == 200:
                    self._learn_keys(reply.body)
                return reply
            except Refusal as refusal:
                return _refusal(request, refusal)
            except Exception as mistake:
                self.violations.append(f"{request.line}: {mistake!r}")
                raise

    def _ask_moto(self, request: AwsRequest) -> Reply:
        raw = urlencode(request.form).encode() if request.form else request.raw
        environ = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": urlencode(request.query),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(raw)),
            "HTTP_X_MOTO_ACCOUNT_ID": self.account,
            "wsgi.input": io.BytesIO(raw),
            "wsgi.errors": io.StringIO(),
            "wsgi.url_scheme": "http",
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            if name not in ("content-type", "content-length"):
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        told: dict[str, Any] = {}

        def start(status: str, headers: Any, _error: Any = None) -> Any:
            told["status"] = int(status.split()[0])

        chunks = self._moto(environ, start)
        body = b"".join(chunks)
        if body.startswith((b"{", b"[")):
            return Reply(told["status"], json.loads(body))
        return Reply(told["status"], body)

    def _efs(self, request: AwsRequest) -> Reply:
        files = self.files(request.region)
        try:
            asked = {**request.query, **(request.body or {})}
            if files.before(request.action, request.path, asked):
                return Reply(204)
        except aws_files.Refused as refused:
            raise Refusal(*refused.args, 409) from refused
        reply = self._ask_moto(request)
        if reply.status >= 300:
            told = reply.body
            code = told.get("__type") or told.get("code") or told.get("ErrorCode")
            raise Refusal(str(code), str(told), reply.status)
        if reply.status == 204:
            return Reply(204)
        return Reply(reply.status, files.after(request.action, reply.body))

    # -- EC2 ---------------------------------------------------------------------------------------

    def _ec2(self, request: AwsRequest) -> Reply:
        backend = self.ec2(request.region)
        self._pass_time(request, backend)
        self._refuse_unseen(request)
        if request.action == "DescribeInstanceTypes":
            return _instance_types(request)
        refuse = getattr(self, f"_may_{request.action}", None)
        token = request.form.get("ClientToken", "")
        if token in self._tokens:
            before, reply = self._tokens[token]
            if before != request.form:
                raise Refusal("IdempotentParameterMismatch", "used before with other parameters")
            return reply
        if refuse:
            refuse(request, backend)
        snapshot_tags = _without_snapshot_tags(request)
        asked = dict(request.form)
        if self.crowd:
            request.form.pop("NextToken", None)
        reply = self._ask_moto(request)
        request.form.update(asked)
        if reply.status != 200:
            return reply
        self._made(request, reply, backend, snapshot_tags)
        if token:
            self._tokens[token] = (dict(request.form), reply)
        if request.action == "DescribeInstances" and self.crowd:
            return _crowded(request, reply, self.crowd)
        if request.action.startswith("Describe"):
            reply = self._without_unseen(reply)
        return reply

    def _made(self, request: AwsRequest, reply: Reply, backend: Any, snapshot_tags: Any) -> None:
        tree = ElementTree.fromstring(reply.body)
        if request.action == "RunInstances":
            identity = tree.findtext(f".//{_X}instanceId", "")
            instance = backend.get_instance(identity)
            instance.disable_api_termination = request.form.get("DisableApiTermination") == "true"
            given = base64.b64decode(request.form.get("UserData", "")).decode()
            self.begin_instance(instance, given)
            self._begin(instance, "pending", 0)
        elif request.action == "TerminateInstances":
            for number in itertools.count(1):
                identity = request.form.get(f"InstanceId.{number}", "")
                if not identity:
                    break
                instance = backend.get_instance(identity)
                if self._under_way.get(identity, ("", "", 0))[1] != "terminated":
                    self.end_instance(instance)
                    self._begin(instance, "shutting-down", 32)
        elif request.action == "CreateImage":
            image = backend.amis[tree.findtext(f".//{_X}imageId", "")]
            image.ebs_snapshot.add_tags(snapshot_tags)
        if request.action.startswith(("Authorize", "Revoke", "RunInstances", "Terminate")):
            self.groups_changed()
        if self.unseen and request.action in _MADE:
            identity = tree.findtext(f".//{_X}{_MADE[request.action]}", "")
            self._hidden[identity] = self.unseen

    def _begin(self, instance: Any, state: str, code: int) -> None:
        after = {"pending": ("running", 16), "shutting-down": ("terminated", 48)}[state]
        self._under_way[instance.id] = (self.steps, *after)
        instance._state.name, instance._state.code = state, code

    def _pass_time(self, request: AwsRequest, backend: Any) -> None:
        if request.action != "DescribeInstances":
            return
        for identity, (left, name, code) in list(self._under_way.items()):
            if identity not in {i.id for i in backend.all_instances()}:
                continue
            if left > 0:
                self._under_way[identity] = (left - 1, name, code)
            else:
                del self._under_way[identity]
                instance = backend.get_instance(identity)
                instance._state.name, instance._state.code = name, code

    def _refuse_unseen(self, request: AwsRequest) -> None:
        for name, value in request.form.items():
            if value in self._hidden and not name.startswith("Filter."):
                self._show_soon(value)
                code = _UNSEEN[value.partition("-")[0]]
                raise Refusal(code, f"The ID '{value}' does not exist")

    def _without_unseen(self, reply: Reply) -> Reply:
        hidden = [identity for identity in self._hidden if identity.encode() in reply.body]
        if not hidden:
            return reply
        ElementTree.register_namespace("", _NAMESPACE)
        tree = ElementTree.fromstring(reply.body)
        for parent in list(tree.iter()):
            for item in list(parent):
                if item.tag == f"{_X}item" and any(child.text in hidden for child in item):
                    parent.remove(item)
        for identity in hidden:
            self._show_soon(identity)
        return Reply(reply.status, ElementTree.tostring(tree))

    def _show_soon(self, identity: str) -> None:
        self._hidden[identity] -= 1
        if not self._hidden[identity]:
            del self._hidden[identity]

    # -- what EC2 refuses and moto does not --------------------------------------------------------

    def _may_RunInstances(self, request: AwsRequest, backend: Any) -> None:
        form = request.form
        subnet = backend.get_subnet(form["NetworkInterface.1.SubnetId"])
        zone = subnet.availability_zone
        if zone in self.full:
            message = f"We do not have sufficient capacity in the Zone you requested ({zone})."
            raise Refusal("InsufficientInstanceCapacity", message, 500)
        if form["InstanceType"] not in INSTANCE_TYPES:
            message = f"Invalid value '{form['InstanceType']}' for InstanceType."
            raise Refusal("InvalidParameterValue", message)
        cpus = _vcpus(form["InstanceType"])
        used = sum(_vcpus(i.instance_type) for i in self.instances(request.region))
        if used + cpus > self.vcpu_limit:
            message = "You have requested more vCPU capacity than your current vCPU limit allows"
            raise Refusal("VcpuLimitExceeded", message)

    def _may_CreateVpc(self, request: AwsRequest, backend: Any) -> None:
        if len(backend.vpcs) >= self.vpc_limit:
            raise Refusal("VpcLimitExceeded", "The maximum number of VPCs has been reached.")

    def _may_DeleteSecurityGroup(self, request: AwsRequest, backend: Any) -> None:
        group = request.form["GroupId"]
        if self.files(request.region).uses(group) or self.used_by_databases(request.region, group):
            raise _in_use(group)
        for instance in self._there(backend):
            if any(g.id == group for nic in instance.nics.values() for g in nic.group_set):
                raise _in_use(group)
        for groups in backend.groups.values():
            for other in groups.values():
                named = {rule.source_group.get("GroupId") for rule in other.ingress_rules}
                if other.id != group and group in named:
                    raise _in_use(group)

    def _may_DeleteSubnet(self, request: AwsRequest, backend: Any) -> None:
        subnet = request.form["SubnetId"]
        if self.files(request.region).uses(subnet) or self.used_by_databases(
            request.region, subnet
        ):
            raise _in_use(subnet)
        for instance in self._there(backend):
            if any(nic.subnet.id == subnet for nic in instance.nics.values()):
                raise _in_use(subnet)

    def _may_DetachInternetGateway(self, request: AwsRequest, backend: Any) -> None:
        vpc = request.form["VpcId"]
        for instance in self._there(backend):
            if any(nic.subnet.vpc_id == vpc and nic.public_ip for nic in instance.nics.values()):
                raise _in_use(vpc)

    def _may_DeleteVpc(self, request: AwsRequest, backend: Any) -> None:
        vpc = request.form["VpcId"]
        subnets = [s for zone in backend.subnets.values() for s in zone.values()]
        gateways = [g for g in backend.internet_gateways.values() if g.vpc]
        groups = [g for g in backend.groups.get(vpc, {}).values() if g.name != "default"]
        inside = [s for s in subnets if s.vpc_id == vpc]
        if inside or groups or any(g.vpc.id == vpc for g in gateways):
            raise _in_use(vpc)

    def _there(self, backend: Any) -> list[Any]:
        return [i for i in backend.all_instances() if i._state.name != "terminated"]

    def _do_RemoveRoleFromInstanceProfile(self, request: AwsRequest) -> Reply:
        for profile in self.iam.instance_profiles.values():
            if profile.name == request.form["InstanceProfileName"] and not profile.roles:
                raise Refusal("NoSuchEntity", "the role is not in the instance profile", 404)
        return self._ask_moto(request)

    # -- what moto has not -------------------------------------------------------------------------

    def _do_SimulatePrincipalPolicy(self, request: AwsRequest) -> Reply:
        names = [v for k, v in request.form.items() if k.startswith("ActionNames.member.")]
        members = "".join(
            f"<member><EvalActionName>{name}</EvalActionName><EvalDecision>"
            f"{'implicitDeny' if name in self.denied else 'allowed'}</EvalDecision></member>"
            for name in names
        )
        return _iam_reply(
            "SimulatePrincipalPolicy",
            f"<IsTruncated>false</IsTruncated><EvaluationResults>{members}</EvaluationResults>",
        )

    def _do_GetProducts(self, request: AwsRequest) -> Reply:
        asked = request.body
        wanted = {f["Field"]: f["Value"] for f in asked["Filters"]}
        if asked["ServiceCode"] == "AmazonRDS":
            return self.database_products(asked, wanted)
        region = wanted["regionCode"]
        if wanted.get("productFamily") == "Storage":
            prices = {"": "0.0952"}
        else:
            hourly = aws_price_table.hourly(region)
            prices = self.prices or {name: str(price) for name, price in hourly.items()}
        rows = [_product(name, region, price) for name, price in sorted(prices.items())]
        start, size = int(asked.get("NextToken", 0)), asked.get("MaxResults", 100)
        body: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": rows[start : start + size]}
        if start + size < len(rows):
            body["NextToken"] = str(start + size)
        return Reply(200, body)

    def _do_GetServiceQuota(self, request: AwsRequest) -> Reply:
        code = request.body["QuotaCode"]
        limits = {"L-1216C47A": self.vcpu_limit, "L-F678F1CE": self.vpc_limit}
        if code not in limits:
            raise Refusal("NoSuchResourceException", "no such quota")
        return Reply(200, {"Quota": {"QuotaCode": code, "Value": float(limits[code])}})

    def _learn_keys(self, body: bytes) -> None:
        tree = ElementTree.fromstring(body)
        told = {item.tag.rpartition("}")[2]: item.text or "" for item in tree.iter()}
        self.keys[told["AccessKeyId"]] = Key(told["SecretAccessKey"], told["SessionToken"])


def _scope(request: Request) -> list[str]:
    """Return access key, date, region, service and the end of a signature's scope."""
    _, _, rest = request.headers.get("authorization", "").partition("Credential=")
    return rest.partition(",")[0].split("/") if rest else []


def _signature(request: AwsRequest, origin: str, key: Key) -> str:
    found = _scope(request)
    names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    asked = "&".join(f"{quote(k, '')}={quote(v, '')}" for k, v in request.query.items())
    url = f"{origin}{request.path}?{asked}" if asked else origin + request.path
    signed = AWSRequest(request.method, url, data=request.raw)
    for name in names.split(";"):
        if name != "host":
            signed.headers[name] = request.headers[name]
    signed.context["timestamp"] = request.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(found[0], key.secret, key.token or None), found[3], found[2])
    return str(auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed))


def _iam_action(request: AwsRequest) -> str:
    return f"{request.service}:{request.action}"


def _refusal(request: AwsRequest, refusal: Refusal) -> Reply:
    told = secrets.token_hex(8)
    code, message = refusal.code, escape(refusal.message)
    if request.headers.get("x-amz-target") or request.service == aws_files.SERVICE:
        headers = {"x-amzn-RequestId": told, "x-amzn-ErrorType": code}
        return Reply(refusal.status, {"__type": code, "message": refusal.message}, headers)
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    text = f"<ErrorResponse>{error}<RequestId>{told}</RequestId></ErrorResponse>"
    if request.service == "ec2":
        text = f"<Response><Errors>{error}</Errors><RequestID>{told}</RequestID></Response>"
    return Reply(refusal.status, text.encode())


def _in_use(what: str) -> Refusal:
    return Refusal("DependencyViolation", f"resource {what} has a dependent object")


def _iam_reply(action: str, inner: str) -> Reply:
    text = (
        f'<{action}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<{action}Result>{inner}</{action}Result>"
        f"<ResponseMetadata><RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata>"
        f"</{action}Response>"
    )
    return Reply(200, text.encode())


def _crowded(request: AwsRequest, reply: Reply, crowd: int) -> Reply:
    """Answer with many copies of the one instance there is, in pages: moto writes slowly."""
    head, item, rest = reply.body.decode().partition("<item><reservationId>")
    assert item
    one, end, _ = rest.rpartition("</reservationSet>")
    identity = one.partition("<instanceId>")[2].partition("</instanceId>")[0]
    start, size = int(request.form.get("NextToken", 0)), int(request.form.get("MaxResults", 100))
    numbers = range(start, min(crowd, start + size))
    items = "".join(item + one.replace(identity, f"i-{number:017x}") for number in numbers)
    following = f"<nextToken>{start + size}</nextToken>" if start + size < crowd else ""
    return Reply(200, f"{head}{items}{end}{following}</DescribeInstancesResponse>".encode())


def _instance_types(request: AwsRequest) -> Reply:
    """Answer from moto's data, in pages; moto itself takes ten seconds for all in one."""
    form, filters = request.form, {}
    for key, name in form.items():
        if key.startswith("Filter.") and key.endswith(".Name"):
            filters[name] = form[key.removesuffix("Name") + "Value.1"]
    tests = {
        "bare-metal": lambda item: [str(item["BareMetal"]).lower()],
        "current-generation": lambda item: [str(item["CurrentGeneration"]).lower()],
        "processor-info.supported-architecture": lambda item: item["ProcessorInfo"][
            "SupportedArchitectures"
        ],
        "supported-root-device-type": lambda item: item["SupportedRootDeviceTypes"],
    }
    found = [
        item
        for _, item in sorted(INSTANCE_TYPES.items())
        if all(value in tests[name](item) for name, value in filters.items())
    ]
    start, size = int(form.get("NextToken", 0)), int(form.get("MaxResults", 100))
    items = "".join(
        f"<item><instanceType>{item['InstanceType']}</instanceType><vCpuInfo><defaultVCpus>"
        f"{item['VCpuInfo']['DefaultVCpus']}</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>"
        f"{item['MemoryInfo']['SizeInMiB']}</sizeInMiB></memoryInfo>"
        + ("<gpuInfo><totalGpuMemoryInMiB>1</totalGpuMemoryInMiB></gpuInfo>" * ("GpuInfo" in item))
        + "</item>"
        for item in found[start : start + size]
    )
    following = f"<nextToken>{start + size}</nextToken>" if start + size < len(found) else ""
    text = (
        f'<DescribeInstanceTypesResponse xmlns="{_NAMESPACE}"><requestId>1</requestId>'
        f"<instanceTypeSet>{items}</instanceTypeSet>{following}</DescribeInstanceTypesResponse>"
    )
    return Reply(200, text.encode())


def _product(name: str, region: str, price: str) -> str:
    attributes = {"instanceType": name, "regionCode": region}
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
    terms = {"OnDemand": {"term": {"priceDimensions": {"one": dimension}}}}
    return json.dumps({"product": {"attributes": attributes}, "terms": terms})


def _vcpus(name: str) -> int:
    return int(INSTANCE_TYPES[name]["VCpuInfo"]["DefaultVCpus"])


def _without_snapshot_tags(request: AwsRequest) -> dict[str, str]:
    """Take the tags for snapshots out of a request, which moto cannot do, and return them."""
    found: dict[str, str] = {}
    if request.action != "CreateImage":
        return found
    for number in (1, 2):
        head = f"TagSpecification.{number}."
        if request.form.get(f"{head}ResourceType") == "snapshot":
            own = {k: request.form.pop(k) for k in list(request.form) if k.startswith(head)}
            for key in [k for k in own if k.endswith(".Key")]:
                found[own[key]] = own[key.removesuffix(".Key") + ".Value"]
    return found
