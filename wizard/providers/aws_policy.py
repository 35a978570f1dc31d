"""The IAM policy that a deployment's credentials need, and the one that its machines get; that of
autoscalers is in aws_scaling_policy. Data."""

from __future__ import annotations

import json
from typing import Any

from wizard.storage.names import bucket_prefix

_SUFFIX = "?" * 16  # what wizard.storage.names puts behind a bucket's prefix

# EFS asks for those about interfaces in the name of who makes a mount target
_EC2 = (
    "AllocateAddress",
    "AssociateAddress",
    "AttachInternetGateway",
    "AuthorizeSecurityGroupIngress",
    "CreateImage",
    "CreateInternetGateway",
    "CreateNetworkInterface",
    "CreateRoute",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateTags",
    "CreateVpc",
    "DeleteInternetGateway",
    "DeleteNetworkInterface",
    "DeleteSecurityGroup",
    "DeleteSnapshot",
    "DeleteSubnet",
    "DeleteVpc",
    "DeregisterImage",
    "DescribeAddresses",
    "DescribeAvailabilityZones",
    "DescribeImages",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeInternetGateways",
    "DescribeNetworkInterfaces",
    "DescribeRegions",
    "DescribeRouteTables",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSubnets",
    "DescribeVpcs",
    "DetachInternetGateway",
    "ModifyInstanceAttribute",
    "ReleaseAddress",
    "RevokeSecurityGroupIngress",
    "RunInstances",
    "TerminateInstances",
)
_RDS = (
    "AddTagsToResource",
    "CreateDBInstance",
    "CreateDBParameterGroup",
    "CreateDBSnapshot",
    "CreateDBSubnetGroup",
    "DeleteDBInstance",
    "DeleteDBInstanceAutomatedBackup",
    "DeleteDBParameterGroup",
    "DeleteDBSubnetGroup",
    "DescribeDBEngineVersions",
    "DescribeDBInstances",
    "DescribeDBParameterGroups",
    "DescribeDBSubnetGroups",
    "ModifyDBInstance",
    "ModifyDBParameterGroup",
)
_IAM = (
    "AddRoleToInstanceProfile",
    "CreateInstanceProfile",
    "CreateRole",
    "DeleteInstanceProfile",
    "DeleteRole",
    "DeleteRolePolicy",
    "GetInstanceProfile",
    "GetRole",
    "PassRole",
    "PutRolePolicy",
    "RemoveRoleFromInstanceProfile",
    "TagInstanceProfile",
    "TagRole",
)
_BUCKETS = (
    "CreateBucket",
    "DeleteBucket",
    "GetBucketTagging",
    "ListBucket",
    "ListBucketVersions",
    "PutBucketPolicy",
    "PutBucketPublicAccessBlock",
    "PutBucketTagging",
    "PutBucketVersioning",
    "PutEncryptionConfiguration",
    "PutLifecycleConfiguration",
)
_OBJECTS = ("DeleteObject", "DeleteObjectVersion", "GetObject", "PutObject")
_FILES = (
    "CreateFileSystem",
    "CreateMountTarget",
    "DeleteFileSystem",
    "DeleteMountTarget",
    "DescribeFileSystemPolicy",
    "DescribeFileSystems",
    "DescribeMountTargets",
    "PutFileSystemPolicy",
    "TagResource",
)
_FACTS = (
    "iam:SimulatePrincipalPolicy",
    "pricing:GetProducts",
    "s3:ListAllMyBuckets",
    "servicequotas:GetServiceQuota",
)

OPTIONAL = frozenset(_FACTS)
"""Rights without which less is known (prices, quotas, rights), and a deployment works."""

DATABASES = frozenset(f"rds:{name}" for name in _RDS)
"""Rights that only deployments with a managed database need."""


def statements(account: str, partition: str = "aws") -> list[dict[str, Any]]:
    """Return the statements of the policy for who deploys from this account (12 digits)."""
    role = f"arn:{partition}:iam::{account}:role/build-usb.*"
    profile = f"arn:{partition}:iam::{account}:instance-profile/build-usb.*"
    bucket = f"arn:{partition}:s3:::build-usb-*"
    linked = [
        f"arn:{partition}:iam::{account}:role/aws-service-role/{service}.amazonaws.com/*"
        for service in ("elasticfilesystem", "rds", "spot")
    ]
    return [
        allow("Machines", [f"ec2:{name}" for name in _EC2], ["*"]),
        allow("MachinesRoles", [f"iam:{name}" for name in _IAM], [role, profile]),
        allow("Databases", [f"rds:{name}" for name in _RDS], ["*"]),
        allow("Buckets", [f"s3:{name}" for name in _BUCKETS], [bucket]),
        allow("Objects", [f"s3:{name}" for name in _OBJECTS], [f"{bucket}/*"]),
        # the roles of EFS and RDS, which they make in our name for an account's first ones
        allow("ServicesRoles", ["iam:CreateServiceLinkedRole"], linked),
        allow("SharedFolders", [f"elasticfilesystem:{name}" for name in _FILES], ["*"]),
        allow("Facts", list(_FACTS), ["*"]),
    ]


def for_deploying(account: str, partition: str = "aws") -> str:
    """Return the minimal policy as JSON text, to be pasted into Amazon's console."""
    return document(statements(account, partition), indent=2)


NOT_AUTOSCALERS = ("product/*", "state/*")
"""What autoscalers only read of their bucket: the program that they run, and the build home."""
NOT_MACHINES = ("autoscaler/*", *NOT_AUTOSCALERS)
"""What other machines only read of it: what autoscalers agree on, too."""


def for_machines(deployment: str, partition: str = "aws") -> str:
    """Return the policy of a deployment's machines: its bucket, that of its backups, no other."""
    return document(of_bucket(deployment, partition, NOT_MACHINES))


def of_bucket(deployment: str, partition: str, read_only: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the statements about the deployment's bucket and that of its backups."""
    bucket = f"arn:{partition}:s3:::{bucket_prefix(deployment)}{_SUFFIX}"
    buckets = [bucket, f"{bucket}-backups"]
    objects = ("AbortMultipartUpload", "DeleteObject", "GetObject", "PutObject")
    return [
        allow("Buckets", ["s3:GetBucketLocation", "s3:ListBucket"], buckets),
        allow("Objects", [f"s3:{name}" for name in objects], [f"{b}/*" for b in buckets]),
        {
            "Sid": "ReadOnly",
            "Effect": "Deny",
            "Action": ["s3:DeleteObject", "s3:PutObject"],
            "Resource": [f"{bucket}/{keys}" for keys in read_only],
        },
    ]


def service_of(partition: str) -> str:
    """Return what EC2 is called where it takes a role."""
    return "ec2.amazonaws.com.cn" if partition == "aws-cn" else "ec2.amazonaws.com"


def trust(partition: str = "aws") -> str:
    """Return the policy that lets machines, and nobody else, take a role."""
    who = {
        "Effect": "Allow",
        "Principal": {"Service": service_of(partition)},
        "Action": "sts:AssumeRole",
    }
    return document([who])


def only_tls(bucket: str, partition: str = "aws") -> str:
    """Return the policy of a bucket that nobody may reach without TLS."""
    whole = f"arn:{partition}:s3:::{bucket}"
    return document(
        [
            {
                "Sid": "OnlyTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [whole, f"{whole}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ]
    )


def for_files(file_system: str) -> str:
    """Return the policy of a file system (its ARN): over TLS alone, and from where its mount
    targets let in, which is the deployment's machines."""
    over = {"aws:SecureTransport": "true", "elasticfilesystem:AccessedViaMountTarget": "true"}
    may = ("ClientMount", "ClientRootAccess", "ClientWrite")
    return document(
        [
            {
                "Sid": "OnlyTls",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": [f"elasticfilesystem:{name}" for name in may],
                "Resource": file_system,
                "Condition": {"Bool": over},
            }
        ]
    )


def allow(
    sid: str, actions: list[str], resources: list[str], when: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a statement that allows this, under the conditions `when`."""
    statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return statement | ({"Condition": when} if when else {})


def document(parts: list[dict[str, Any]], indent: int | None = None) -> str:
    """Return a policy as JSON text."""
    return json.dumps({"Version": "2012-10-17", "Statement": parts}, indent=indent)
