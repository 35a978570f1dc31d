"""What autoscalers may do at clouds: rent and end webservers, with credentials of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.contract import accounts, at_aws, at_digitalocean
from tests.contract.at_aws import opened as opened_at_aws
from tests.contract.scenario import destroy
from tests.emulators.aws_identity import Key
from wizard.errors import ProviderError, TransientError
from wizard.events import silent
from wizard.providers import aws_session
from wizard.providers.base import OWN_ROLE, Resource, ResourceKind
from wizard.rules import Role
from wizard.secrets import Secret

CAN = {
    "actions": ("read",),
    "droplet": ("read", "create", "update", "delete"),
    "snapshot": ("read", "delete"),
    "ssh_key": ("read",),
}
SCOPES = frozenset(f"{what}:{verb}" for what, verbs in CAN.items() for verb in verbs)
NAMES = ("www.example.org", "_build-usb.www.example.org")


def test_a_token_at_digitalocean_needs_few_scopes_and_no_more_is_asked_for() -> None:
    with accounts.digitalocean() as api:
        network = accounts.opened_account(api).ensure_network("demo").id
        accounts.opened_account(api).ensure_machine(at_digitalocean.spec(network))
        api.tokens["own"] = SCOPES
        changes = {"token": Secret("own"), "inside": True}
        own = accounts.opened_account(api, **changes)
        assert own.standing(silent).lacking == ()
        own.prepare(silent)
        # its own login key is none of the account's: the build machine's goes along
        other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKKK scaler"
        made = own.ensure_machine(at_digitalocean.spec(network, "web2", authorized_key=other))
        assert len(api.keys) == 1
        copy = own.snapshot(made.id, "golden")
        assert {r.kind for r in own.resources("demo")} == {
            ResourceKind.MACHINE,
            ResourceKind.SNAPSHOT,
        }
        own.delete(copy)
        own.delete(Resource(ResourceKind.MACHINE, made.id, "web2", "demo"))
        assert [m.name for m in own.machines("demo")] == ["web1"]
        api.tokens["own"] = SCOPES - {"droplet:create", "ssh_key:read"}
        assert own.standing(silent).lacking == ("droplet:create", "ssh_key:read")


def test_autoscalers_at_amazon_have_a_role_that_says_what_is_theirs() -> None:
    with at_aws.account() as api:
        provider = opened_at_aws(api, names=NAMES)
        network = provider.ensure_network("demo").id
        for name, role in (("web1", Role.WEBSERVER), ("scaler1", Role.AUTOSCALER)):
            provider.ensure_machine(at_aws.spec(network, name, role=role))
        plain, scales = sorted(api.iam.roles.values(), key=lambda role: len(role.name))
        assert scales.name == f"{plain.name}.autoscaler"
        profiles = {
            tag["value"].rpartition(".")[2]: instance.iam_instance_profile["Arn"].split("/")[-1]
            for instance in api.instances()
            for tag in instance.get_tags()
            if tag["key"] == "Name"
        }
        assert profiles == {"web1": plain.name, "scaler1": scales.name}

        by_name = {s["Sid"]: s for s in _statements(scales)}
        whole = [s for s in by_name.values() if s["Resource"] == ["*"]]
        assert {s["Sid"] for s in whole} == {"Look", "FindZone"}
        assert all(":Describe" in a for a in by_name["Look"]["Action"])
        allowed = {a for s in by_name.values() if s["Effect"] == "Allow" for a in s["Action"]}
        assert not {a for a in allowed if a.startswith(("iam:", "rds:"))} - {"iam:PassRole"}
        assert by_name["WithRole"]["Resource"] == [plain.arn]
        ended = by_name["End"]["Condition"]["StringEquals"]
        assert ended == {
            "aws:ResourceTag/build-usb:deployment": "demo",
            "aws:ResourceTag/build-usb:role": "webserver",
        }
        point = by_name["Point"]["Condition"]["ForAllValues:StringEquals"]
        assert list(NAMES) in point.values()
        # what they agree on is theirs to write, of no other machine
        (theirs,) = [s for s in _statements(plain) if s["Effect"] == "Deny"]
        assert any(r.endswith("/autoscaler/*") for r in theirs["Resource"])
        assert not any(r.endswith("/autoscaler/*") for r in by_name["ReadOnly"]["Resource"])

        # from inside nothing is given or looked after: what there is, is used
        own = opened_at_aws(api, inside=True)
        own.prepare(silent)
        before = len(api.calls("^iam:|^ec2:(Create|Auth)"))
        made = own.ensure_machine(at_aws.spec(network, "web2"))
        own.delete(Resource(ResourceKind.MACHINE, made.id, "web2", "demo"))
        assert len(api.calls("^iam:|^ec2:(Create|Auth)")) == before
        destroy(provider)
        assert api.left() == {}


def _statements(role: Any) -> list[dict[str, Any]]:
    (text,) = role.policies.values()
    found: list[dict[str, Any]] = json.loads(text)["Statement"]
    return found


@contextmanager
def metadata(keys: dict[str, str]) -> Iterator[str]:
    """Answer as an instance's metadata service does, over IMDSv2 alone."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing to say."""

        def _any(self) -> None:
            text, folder = "", "/latest/meta-data/iam/security-credentials/"
            if self.command == "PUT" and self.path == "/latest/api/token":
                text = "a-token"
            elif self.headers.get("X-aws-ec2-metadata-token") == "a-token" and keys:
                text = {folder: "own", folder + "own": json.dumps(keys)}.get(self.path, "")
            self.send_response(200 if text else 404)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = _any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_the_keys_of_a_role_come_from_the_instance_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = {
        "Code": "Success",
        "AccessKeyId": "ASIAROLE",
        "SecretAccessKey": "of-the-role",
        "Token": "passing",
        "Expiration": ends,
    }
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with at_aws.account() as api, metadata(keys) as url:
        api.keys["ASIAROLE"] = Key("of-the-role", "passing")
        monkeypatch.setattr(aws_session, "METADATA", url)
        own = opened_at_aws(api, OWN_ROLE, inside=True)
        own.prepare(silent)
        storage = own.services("example.org").object_storage
        assert storage is not None
        assert (storage.access_key, storage.by_role) == ("ASIAROLE", True)
        assert storage.session.get_credentials().access_key == "ASIAROLE"
    with at_aws.account() as api, metadata({}) as url:
        monkeypatch.setattr(aws_session, "METADATA", url)
        with pytest.raises(ProviderError, match="does not tell the keys of its role") as told:
            opened_at_aws(api, OWN_ROLE, inside=True).prepare(silent)
        assert isinstance(told.value, TransientError)
