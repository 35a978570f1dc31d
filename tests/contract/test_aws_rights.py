"""Who asks Amazon: keys, roles and profiles, clocks, missing rights, and the policy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import at_aws
from tests.contract.at_aws import (
    WHOLE,
    database_spec,
    deploy,
    opened,
    spec,
    trouble,
)
from tests.contract.scenario import RULES, destroy
from tests.emulators.aws import ACCESS_KEY, SECRET_KEY, TOKEN, AwsEmulator
from tests.emulators.aws_identity import Key
from wizard.errors import (
    BuildUsbError,
    TransientError,
    UsageError,
)
from wizard.events import silent
from wizard.providers import aws_session
from wizard.providers.aws import AwsProvider
from wizard.secrets import Secret


@pytest.fixture
def api() -> Iterator[AwsEmulator]:
    with at_aws.account() as emulator:
        yield emulator


@pytest.fixture
def provider(api: AwsEmulator) -> AwsProvider:
    return opened(api)


def test_keys_that_are_wrong_are_said_with_the_cure(api: AwsEmulator) -> None:
    unknown = trouble(opened(api, "AKIDOTHER:x").facts)
    assert (unknown.code, unknown.where) == ("AuthFailure", "provider.credentials")
    assert "valid keys" in unknown.cure
    assert unknown.request_id
    assert unknown.request_id in unknown.why
    secret = trouble(lambda: opened(api, f"{ACCESS_KEY}:not-it").prepare(silent))
    assert secret.code == "SignatureDoesNotMatch"
    assert "secret key" in secret.cure
    for shown in (str(unknown), str(secret), repr(opened(api))):
        assert SECRET_KEY not in shown
        assert "not-it" not in shown


def test_a_clock_that_is_wrong_is_said(api: AwsEmulator) -> None:
    api.clock = 3600
    for act in (opened(api).facts, lambda: opened(api).prepare(silent)):
        assert "clock: it is 60 minutes behind" in trouble(act).cure


def test_credentials_that_expire_midway_are_said(api: AwsEmulator, provider: AwsProvider) -> None:
    provider.ensure_network("demo")
    api.keys[ACCESS_KEY].expired = True
    expired = trouble(lambda: provider.ensure_firewall("demo", RULES, enabled=True))
    assert expired.code == "RequestExpired"
    assert "fresh credentials" in expired.cure
    assert not isinstance(expired, TransientError)
    api.keys["AKIDNEW"] = Key(token="a-token")
    deploy(opened(api, f"AKIDNEW:{SECRET_KEY}:a-token"))
    assert api.left() == WHOLE


def test_missing_rights_are_named_before_anything_is_made(api: AwsEmulator) -> None:
    api.denied = {"ec2:RunInstances", "iam:PassRole", "s3:CreateBucket", "pricing:GetProducts"}
    provider = opened(api)
    standing = provider.standing(silent)
    assert standing.lacking == ("ec2:RunInstances", "iam:PassRole", "s3:CreateBucket")
    assert standing.unknowing == ("pricing:GetProducts",)
    assert api.account in standing.owner
    lacking = trouble(lambda: provider.prepare(silent))
    assert "ec2:RunInstances" in lacking.why
    assert "pricing:GetProducts" not in lacking.why
    assert api.left() == {}
    # who may not ask for rights is told of each when it is missed
    api.denied = {"ec2:CreateVpc", "iam:SimulatePrincipalPolicy"}
    provider.prepare(silent)
    assert provider.standing(silent).unknowing == ("iam:SimulatePrincipalPolicy",)
    refused = trouble(lambda: provider.ensure_network("demo"))
    assert refused.code == "UnauthorizedOperation"
    assert "ec2:CreateVpc" in refused.cure


def test_the_policy_is_what_is_used_and_no_more(api: AwsEmulator, provider: AwsProvider) -> None:
    policy = provider.standing(silent).policy
    provider.facts()
    deploy(provider)
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    rented = opened(api, database="mysql", reserved=True)
    rented.ensure_machine(spec(rented.ensure_network("demo").id))
    rented.facts()
    rented.ensure_database(database_spec(rented), silent)
    destroy(provider)
    provider.resources("demo")
    listed = {
        action
        for statement in json.loads(policy)["Statement"]
        for action in statement["Action"]
        if not action.startswith("s3:")
    }
    used = {request.line for request in api.requests} - {"sts:GetCallerIdentity"}
    # needed by others: to tag what is made, to give a role to a machine, by EFS for its interfaces,
    # by RDS in our name and with what we ask it for
    beside = {
        "ec2:CreateNetworkInterface",
        "ec2:CreateTags",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "iam:CreateServiceLinkedRole",
        "elasticfilesystem:TagResource",
        "iam:PassRole",
        "iam:TagInstanceProfile",
        "iam:TagRole",
        "rds:AddTagsToResource",
        "rds:CreateDBSnapshot",
        "rds:DeleteDBInstanceAutomatedBackup",
    }
    assert listed == used | beside
    assert len(json.dumps(json.loads(policy))) < 6144  # what IAM takes
    documented = Path("docs/providers.md").read_text().partition("```json\n")[2]
    shown = policy.replace(api.account, "123456789012")
    assert json.loads(documented.partition("```")[0]) == json.loads(shown)


def test_a_role_can_be_assumed(api: AwsEmulator) -> None:
    role = f"arn:aws:iam::{api.account}:role/deployer"
    provider = opened(api, f"{TOKEN}@{role}")
    provider.prepare(silent)
    assert ":assumed-role/deployer/" in provider.standing(silent).owner
    first, *others = api.requests
    assert first.line == "sts:AssumeRole"
    assert ACCESS_KEY in first.headers["authorization"]
    assert all(ACCESS_KEY not in request.headers["authorization"] for request in others)
    storage = provider.services("example.org").object_storage
    assert storage is not None
    assert storage.by_role
    assert storage.session_token == Secret(api.keys[storage.access_key].token)


def test_a_profile_is_taken_from_the_file_that_is_named(api: AwsEmulator, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        f"[base]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        f"[profile ops]\nrole_arn = arn:aws:iam::{api.account}:role/ops\nsource_profile = base\n"
        "[empty]\nregion = eu-west-1\n"
    )
    opened(api, f"profile:base:{file}").prepare(silent)
    owner = opened(api, f"profile:ops:{file}").standing(silent).owner
    assert "assumed-role/ops" in owner
    for wrong in ("profile:none:", "profile:empty:", "profile::"):
        with pytest.raises(UsageError) as caught:
            opened(api, f"{wrong}{file}")
        assert caught.value.where == "provider.credentials"
    with pytest.raises(BuildUsbError, match="cannot read"):
        opened(api, f"profile:base:{tmp_path}/nothing")


@pytest.mark.parametrize("given", ["one", "a:", ":b", "a:b:c:d", "a:b@role", "profile:x", "a:b@"])
def test_other_forms_of_credentials_are_refused(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        aws_session.parse(Secret(given))
    assert "ACCESS_KEY:SECRET_KEY" in caught.value.cure or "profile" in caught.value.cure


HOSTILE = """
import json, os, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from wizard.providers.aws import AwsProvider
from wizard.providers.base import Account
from wizard.secrets import Secret
account = Account(Secret(sys.argv[1]), "eu-central-1", lambda: "198.51.100.7", sys.argv[2])
AwsProvider(account).ensure_network("demo")
home = os.environ["HOME"]
print(json.dumps([path for path in opened if home in path or ".aws" in path]))
"""


def test_settings_of_this_computer_are_not_even_opened(api: AwsEmulator, tmp_path: Path) -> None:
    folder = tmp_path / ".aws"
    (folder / "models" / "ec2" / "2016-11-15").mkdir(parents=True)
    (folder / "models" / "ec2" / "2016-11-15" / "service-2.json").write_text("{}")
    poison = "[default]\naws_access_key_id = POISON\naws_secret_access_key = poison\nregion = xx\n"
    for name in ("config", "credentials", "own"):
        (folder / name).write_text(poison + "endpoint_url = http://127.0.0.1:9\n")
    hostile = {
        "AWS_ACCESS_KEY_ID": "POISON",
        "AWS_SECRET_ACCESS_KEY": "poison",
        "AWS_SESSION_TOKEN": "poison",
        "AWS_SECURITY_TOKEN": "poison",
        "AWS_PROFILE": "poison",
        "AWS_DEFAULT_PROFILE": "poison",
        "AWS_REGION": "xx-poison-1",
        "AWS_DEFAULT_REGION": "xx-poison-1",
        "AWS_CONFIG_FILE": str(folder / "own"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "own"),
        "AWS_DATA_PATH": str(folder / "models"),
        "AWS_CA_BUNDLE": str(folder / "ca.pem"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:9",
        "AWS_ROLE_ARN": "arn:aws:iam::666666666666:role/poison",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token"),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_RETRY_MODE": "legacy",
        "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "BOTO_CONFIG": str(folder / "own"),
    }
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, TOKEN, api.url],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **hostile},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    assert api.requests
    for request in api.requests:
        assert f"Credential={ACCESS_KEY}/" in request.headers["authorization"]
        assert "/eu-central-1/" in request.headers["authorization"]
