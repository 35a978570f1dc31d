"""The emulated Amazon with the lab behind it: instances are machines of this computer that boot
the very user-data they were given, security groups are the lab's firewall, and each machine finds
the metadata service (IMDSv2) where instances do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.emulators.authority import Authority
from tests.emulators.aws import AwsEmulator, AwsRequest
from tests.emulators.aws_identity import Key
from tests.emulators.rented import Feed
from tests.emulators.rented_database import RentedDatabase
from tests.emulators.rented_files import RentedFiles
from tests.emulators.rented_server import ROLE
from tests.emulators.server import Listening, Reply
from wizard.lab import addresses
from wizard.lab.namespaces import OtherNetwork
from wizard.machines.places import SHARED_CONFIG_UNIT
from wizard.providers.base import MachineSpec, Resource, ResourceKind
from wizard.rules import ANYONE, Role, Rule, Source, from_networks, from_role
from wizard.secrets import Secret

_LISTEN = ("127.0.0.1", 1693)
_REDIRECT = f"""table ip metadata {{
  chain output {{
    type nat hook output priority -100;
    ip daddr 169.254.169.254 tcp dport 80 redirect to :{_LISTEN[1]}
  }}
}}
"""
_ADDRESS = re.compile(rb">(\d+\.\d+\.\d+\.\d+)<")


class RentedAws(AwsEmulator):
    """Every instance is a machine of the lab's deployment `demo`; `laboratory` is the lab."""

    laboratory: Any
    deployment = "demo"
    feed: Feed | None = None
    server: RentedDatabase | None = None
    shared: RentedFiles | None = None

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.machines: dict[str, str] = {}
        self.metadata: list[Metadata] = []
        self.copies: dict[str, str] = {}
        self._addresses: dict[bytes, bytes] = {}
        self._public = Authority("A public authority")

    def __exit__(self, *given: object) -> None:
        super().__exit__(*given)
        for service in self.metadata:
            service.close()

    def _ec2(self, request: AwsRequest) -> Reply:
        if request.action == "CreateVpc":
            # the lab has one network
            request.form["CidrBlock"] = addresses.CIDR
        reply = super()._ec2(request)
        if isinstance(reply.body, bytes) and request.action.endswith("Instances"):
            known = self._addresses
            body = _ADDRESS.sub(lambda m: b">%s<" % known.get(m[1], m[1]), reply.body)
            return Reply(reply.status, body, reply.headers)
        return reply

    def _efs(self, request: AwsRequest) -> Reply:
        reply = super()._efs(request)
        body = reply.body
        if request.action == "CreateFileSystem":
            host = f"{body['FileSystemId']}.efs.{request.region}.amazonaws.com"
            self.shared = RentedFiles(self.laboratory, self._public, host)
        elif request.action == "DeleteFileSystem":
            assert self.shared is not None
            self.shared.end()
        elif request.action in ("CreateMountTarget", "DescribeMountTargets"):
            for target in body.get("MountTargets", [body]):
                assert self.shared is not None
                target["IpAddress"] = self.shared.address
                if not self.shared.ready and target["LifeCycleState"] == "available":
                    target["LifeCycleState"] = "creating"
        return reply

    def begin_instance(self, instance: Any, user_data: str) -> None:
        lab = self.laboratory.provider
        tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
        machine = lab.ensure_machine(
            MachineSpec(
                deployment=self.deployment,
                name=tags["Name"].rpartition(".")[2],
                role=Role(tags["build-usb:role"]),
                size="medium",
                image=self.copies.get(instance.image_id, "debian-13"),
                region="here",
                network_id=lab.ensure_network(self.deployment).id,
                user_data=Secret(user_data),
            )
        )
        self.machines[instance.id] = machine.id
        for own, real in (
            (instance.private_ip, machine.private_address),
            (instance.public_ip, machine.public_address),
        ):
            self._addresses[str(own).encode()] = real.encode()
        arn = str((instance.iam_instance_profile or {}).get("Arn"))
        (role,) = next(p.roles for p in self.iam.instance_profiles.values() if p.arn == arn)
        access_key = self.key_of_role(role.name, instance.id)
        key = self.keys[access_key]
        self.metadata.append(Metadata(self._leader(machine.id), role.name, access_key, key))
        # as every machine trusts who signs for Amazon
        trusted = "cat >> /etc/ssl/certs/ca-certificates.crt"
        self.laboratory.enter(machine.id, "sh", "-c", trusted, stdin=self._public.certificate)

    def _leader(self, machine: str) -> int:
        """Return the process id of a machine's systemd, once there is one."""
        end = time.monotonic() + 60
        while True:
            try:
                return int(self.laboratory.leader(machine))
            except (OSError, IndexError):
                assert time.monotonic() < end, f"{machine} does not boot"
                time.sleep(0.05)

    def end_instance(self, instance: Any) -> None:
        machine = self.machines[instance.id]
        lab = self.laboratory.provider
        if self.shared is not None:
            # shut down, as Amazon does it: this computer's kernel would wait for the server
            self.laboratory.enter(machine, "systemctl", "stop", SHARED_CONFIG_UNIT)
        lab.delete(Resource(ResourceKind.MACHINE, machine, machine, self.deployment))

    def begin_image(self, image: Any, instance: str) -> None:
        # who boots it again gets what was on the disk
        made = self.laboratory.provider.snapshot(self.machines[instance], image.id)
        self.copies[image.id] = made.id

    def end_image(self, image: str) -> None:
        lab, copy = self.laboratory.provider, self.copies[image]
        lab.delete(Resource(ResourceKind.SNAPSHOT, copy, copy, self.deployment))

    def begin_database(self, database: Any, password: str) -> str:
        assert self.feed is not None
        host = f"{database.db_instance_identifier}.rds.{self.feed.zone}"
        self.server = RentedDatabase(
            self.laboratory,
            self.authority(database.region),
            host,
            database.port,
            database.master_username,
            password,
            postgresql=database.engine == "postgres",
            tls_alone=self.lets_in_tls_alone(database),
            groups=("rds_superuser",),
            first="postgres",
        )
        self.feed.fix(host, self.server.address)
        return host

    def database_is_ready(self, database: Any) -> bool:
        return self.server is not None and self.server.ready

    def end_database(self, name: str) -> None:
        assert self.server is not None
        self.server.end()

    def groups_changed(self) -> None:
        """Make the lab's firewall what all security groups let in together."""
        (region,) = self._known
        groups = {g.id: g for s in self.ec2(region).groups.values() for g in s.values()}
        roles = {i: _role(g.name) for i, g in groups.items()}
        rules = [
            Rule(role, rule.from_port, source, groups[i].name)
            for i, role in roles.items()
            if role
            for rule in groups[i].ingress_rules
            if rule.ip_protocol == "tcp"
            for source in _sources(rule, roles)
        ]
        lab = self.laboratory.provider
        lab.ensure_firewall(self.deployment, tuple(rules), enabled=True)


def _role(name: str) -> Role | None:
    if name.endswith((".managed-database", ".shared-config")):
        return ROLE
    return next((role for role in Role if name.endswith(f".{role}")), None)


def _sources(rule: Any, roles: dict[str, Role | None]) -> list[Source]:
    role = roles.get(rule.source_group.get("GroupId"))
    if role:
        return [from_role(role)]
    network = rule.ip_range.get("CidrIp")
    if network == "0.0.0.0/0":
        return [ANYONE]
    return [from_networks(network)] if network else []


class Metadata:
    """A machine's metadata service, in its own network: IMDSv2 alone, and there the keys of its
    role. `keys` counts how often they were asked for."""

    def __init__(self, leader: int, role: str, access_key: str, key: Key) -> None:
        self.role, self.access_key, self.key = role, access_key, key
        self.keys = 0
        self.tokens: set[str] = set()
        network = f"/proc/{leader}/ns/net"
        # the address alone: port 80 of the machine itself is the webserver's
        command = ["nsenter", f"--net={network}", "nft", "-f", "-"]
        subprocess.run(command, check=True, text=True, input=_REDIRECT)
        descriptor = os.open(network, os.O_RDONLY)
        try:
            inside = OtherNetwork(descriptor)
            listener = inside.run(lambda: socket.create_server(_LISTEN, backlog=16))
        finally:
            os.close(descriptor)
        self._server = _Server(listener, self)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: Any) -> tuple[int, str]:
        if method == "PUT" and path == "/latest/api/token":
            seconds = headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            if not seconds.isdecimal():
                return 400, ""
            token = secrets.token_urlsafe(32)
            self.tokens.add(token)
            return 200, token
        if headers.get("X-aws-ec2-metadata-token") not in self.tokens:
            return 401, ""
        folder = "/latest/meta-data/iam/security-credentials/"
        if path == folder:
            return 200, self.role
        if path != folder + self.role:
            return 404, ""
        self.keys += 1
        now = datetime.now(UTC)
        form = "%Y-%m-%dT%H:%M:%SZ"
        told = {
            "Code": "Success",
            "LastUpdated": now.strftime(form),
            "Type": "AWS-HMAC",
            "AccessKeyId": self.access_key,
            "SecretAccessKey": self.key.secret,
            "Token": self.key.token,
            "Expiration": (now + timedelta(hours=6)).strftime(form),
        }
        return 200, json.dumps(told, indent=2)


class _Server(Listening):
    def __init__(self, listener: socket.socket, metadata: Metadata) -> None:
        super().__init__(listener, _Handler)
        self.metadata = metadata


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        """Nothing to say."""

    def _any(self) -> None:
        status, text = self.server.metadata.answer(self.command, self.path, self.headers)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(text.encode())

    do_GET = do_PUT = _any
