"""Amazon's EC2, EFS, IAM, STS, price list and quotas: moto's, and in front of it the rules that
moto does not have.

Keys, signatures, clocks and rights are checked; client tokens are remembered; what is in use cannot
be deleted; zones can be full and quotas reached; what was made is not seen at once. Time passes
with requests: what is under way is done after it was asked for `steps` times.
"""

from __future__ import annotations

import io
import itertools
import json
import secrets
import socket
import time
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode
from xml.etree import ElementTree

import moto.settings
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.backends import get_backend
from moto.ec2.models.amis import Ami
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from tests.emulators import aws_asks, aws_files
from tests.emulators.aws_answers import AwsRequest, Refusal, product, query_reply, refusal_reply
from tests.emulators.aws_databases import Databases
from tests.emulators.aws_ec2 import Machines
from tests.emulators.aws_identity import Key, Statement
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
_SKEW = 300  # seconds
_accounts = itertools.count(200_000_000_000)


class AwsEmulator(Machines, Databases, Emulator):
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
        self.clock = 0.0
        self.steps = steps
        self.prices: dict[str, str] | None = None
        self._known: set[str] = set()
        self._files: dict[str, aws_files.Files] = {}
        self.begin_machines()
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

    def begin_image(self, image: Any, instance: str) -> None:
        """A new image of that instance's disk."""

    def end_image(self, image: str) -> None:
        """The image is gone."""

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
            reply = refusal_reply(own, reply.body)
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
            return refusal_reply(request, refusal)
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
        lacked = request.line if request.line in self.denied else self._lacked(request, key)
        if lacked:
            code = "UnauthorizedOperation" if request.service == "ec2" else "AccessDenied"
            raise Refusal(code, f"You are not authorized to perform: {lacked}", 403)

    def _lacked(self, request: AwsRequest, key: Key) -> str:
        """Return the right that a role's key lacks, "" for none."""
        if key.rights is None:
            return ""
        with self.lock:
            try:
                backend = self.ec2(request.region) if request.service == "ec2" else None
                asks = aws_asks.of_request(request, self.account, backend, self.iam)
                lacked = key.lacks(asks)
            except Exception as mistake:
                self.violations.append(f"{request.line}: {mistake!r}")
                raise
        return lacked.told if lacked else ""

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
                return refusal_reply(request, refusal)
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

    def _do_RemoveRoleFromInstanceProfile(self, request: AwsRequest) -> Reply:
        for profile in self.iam.instance_profiles.values():
            if profile.name == request.form["InstanceProfileName"] and not profile.roles:
                raise Refusal("NoSuchEntity", "the role is not in the instance profile", 404)
        return self._ask_moto(request)

    def key_of_role(self, name: str, who: str) -> str:
        """Make keys as an instance (`who`) is given those of its role; returns the access key. What
        they may do is what the role's policies say at the time."""
        made = f"ASIA{secrets.token_hex(8).upper()}"

        def rights() -> list[Statement]:
            roles = [role for role in self.iam.roles.values() if role.name == name]
            texts = [text for role in roles for text in role.policies.values()]
            return [s for text in texts for s in json.loads(text)["Statement"]]

        arn = f"arn:aws:sts::{self.account}:assumed-role/{name}/{who}"
        token = secrets.token_hex(64)
        self.keys[made] = Key(secrets.token_hex(20), token, rights=rights, arn=arn)
        return made

    def _do_GetCallerIdentity(self, request: AwsRequest) -> Reply:
        key = self.keys[_scope(request)[0]]
        if not key.arn:
            return self._ask_moto(request)
        who = key.arn.rpartition("/")[2]
        inner = f"<Arn>{key.arn}</Arn><UserId>AROA:{who}</UserId><Account>{self.account}</Account>"
        return query_reply("sts", "GetCallerIdentity", inner)

    # -- what moto has not -------------------------------------------------------------------------

    def _do_SimulatePrincipalPolicy(self, request: AwsRequest) -> Reply:
        names = [v for k, v in request.form.items() if k.startswith("ActionNames.member.")]
        members = "".join(
            f"<member><EvalActionName>{name}</EvalActionName><EvalDecision>"
            f"{'implicitDeny' if name in self.denied else 'allowed'}</EvalDecision></member>"
            for name in names
        )
        return query_reply(
            "iam",
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
        rows = [product(name, region, price) for name, price in sorted(prices.items())]
        start, size = int(asked.get("NextToken", 0)), asked.get("MaxResults", 100)
        body: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": rows[start : start + size]}
        if start + size < len(rows):
            body["NextToken"] = str(start + size)
        return Reply(200, body)

    def _do_GetServiceQuota(self, request: AwsRequest) -> Reply:
        code = request.body["QuotaCode"]
        limits = {
            "L-1216C47A": self.vcpu_limit,
            "L-34B43A08": self.spot_limit,
            "L-F678F1CE": self.vpc_limit,
            "L-0263D0A3": self.address_limit,
        }
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
