"""Runs where a machine at Amazon does, and tries what whoever took it over would, all with the keys
that the instance tells. Prints how each ended as JSON: an error's code, or "" if it was done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from wizard.providers import aws_session
from wizard.providers.base import OWN_ROLE
from wizard.secrets import Secret

given = json.loads(sys.argv[1])
session = aws_session.session(aws_session.parse(Secret(OWN_ROLE)))


def client(service: str, url: str, **settings: Any) -> Any:
    return aws_session.client(session, service, "eu-central-1", url, **settings)


ec2, iam = client("ec2", given["api"]), client("iam", given["api"])
dns = client("route53", given["dns"])
s3 = client("s3", given["storage"], s3={"addressing_style": "path"})
own, other, names = given["bucket"], f"{given['bucket']}-other", given["names"]
database = [given["database"]]


def change(kind: str, name: str) -> dict[str, Any]:
    values = [{"Value": "203.0.113.66"}]
    named = {"Name": f"{name}.", "Type": kind, "TTL": 60, "ResourceRecords": values}
    return {"Changes": [{"Action": "CREATE", "ResourceRecordSet": named}]}


tries: dict[str, Callable[[], Any]] = {
    "list its bucket": lambda: s3.list_objects_v2(Bucket=own),
    "write into its bucket": lambda: s3.put_object(Bucket=own, Key="uploads/try", Body=b""),
    "take that back": lambda: s3.delete_object(Bucket=own, Key="uploads/try"),
    "forge what autoscalers agree on": lambda: s3.put_object(
        Bucket=own, Key="autoscaler/try", Body=b""
    ),
    "forge the program": lambda: s3.put_object(Bucket=own, Key="product/try", Body=b""),
    "list another bucket": lambda: s3.list_objects_v2(Bucket=other),
    "read another bucket": lambda: s3.get_object(Bucket=other, Key="a"),
    "list all buckets": lambda: s3.list_buckets(),
    "delete its bucket": lambda: s3.delete_bucket(Bucket=own),
    "list machines": lambda: ec2.describe_instances(),
    "end the database": lambda: ec2.terminate_instances(InstanceIds=database),
    "unprotect the database": lambda: ec2.modify_instance_attribute(
        InstanceId=database[0], DisableApiTermination={"Value": False}
    ),
    "call the database a webserver": lambda: ec2.create_tags(
        Resources=database, Tags=[{"Key": "build-usb:role", "Value": "webserver"}]
    ),
    "make a user": lambda: iam.create_user(UserName="thief"),
    "give itself rights": lambda: iam.put_role_policy(
        RoleName=given["role"], PolicyName="rights", PolicyDocument="{}"
    ),
    "change another name": lambda: dns.change_resource_record_sets(
        HostedZoneId=given["zone"], ChangeBatch=change("A", names["other"])
    ),
    "take the site's mail": lambda: dns.change_resource_record_sets(
        HostedZoneId=given["zone"], ChangeBatch=change("MX", names["site"])
    ),
}

ended = {}
for what, act in tries.items():
    try:
        act()
    except ClientError as error:
        ended[what] = error.response["Error"]["Code"]
    else:
        ended[what] = ""
print(json.dumps(ended))
