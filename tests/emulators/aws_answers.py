"""How Amazon's emulated APIs are asked and answer: requests, refusals, and lists that moto writes
slowly or not at all."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from moto.ec2.models.instance_types import INSTANCE_TYPES

from tests.emulators import aws_files
from tests.emulators.server import Reply, Request

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"


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


def refusal_reply(request: AwsRequest, refusal: Refusal) -> Reply:
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


def in_use(what: str) -> Refusal:
    return Refusal("DependencyViolation", f"resource {what} has a dependent object")


_QUERIES = {"iam": "2010-05-08", "sts": "2011-06-15"}


def query_reply(service: str, action: str, inner: str) -> Reply:
    text = (
        f'<{action}Response xmlns="https://{service}.amazonaws.com/doc/{_QUERIES[service]}/">'
        f"<{action}Result>{inner}</{action}Result>"
        f"<ResponseMetadata><RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata>"
        f"</{action}Response>"
    )
    return Reply(200, text.encode())


def crowded(request: AwsRequest, reply: Reply, crowd: int) -> Reply:
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


def instance_types(request: AwsRequest) -> Reply:
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
        f'<DescribeInstanceTypesResponse xmlns="{NAMESPACE}"><requestId>1</requestId>'
        f"<instanceTypeSet>{items}</instanceTypeSet>{following}</DescribeInstanceTypesResponse>"
    )
    return Reply(200, text.encode())


def product(name: str, region: str, price: str) -> str:
    attributes = {"instanceType": name, "regionCode": region}
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
    terms = {"OnDemand": {"term": {"priceDimensions": {"one": dimension}}}}
    return json.dumps({"product": {"attributes": attributes}, "terms": terms})


def vcpus(name: str) -> int:
    return int(INSTANCE_TYPES[name]["VCpuInfo"]["DefaultVCpus"])
