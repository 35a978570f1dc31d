"""What a deployment last looked like: state.json in its folder of the build home.

A memory, not the truth: the provider is asked before anything is created or deleted. No secrets.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from wizard.errors import HomeError
from wizard.home.files import write_atomic
from wizard.rules import Role

VERSION = 1


@dataclass(frozen=True)
class MachineState:
    """A machine as last seen; `host_key` is the one public key accepted (`ssh-ed25519 AAAA…`),
    `rotated` says that it is no longer the one that user-data carried."""

    id: str
    name: str
    role: Role
    private_address: str
    public_address: str
    access_address: str
    host_key: str = ""
    rotated: bool = False
    ipv6: str = ""


@dataclass(frozen=True)
class State:
    """Everything `status`, `ssh`, `destroy` and a second run need without asking anyone. `gated`:
    the proxies may have a gate of ours. `content` is the restore point it began with, made by a
    site that answered to `former_hosts`. `files` is the digest of the plugins and themes that all
    webservers have (empty: the package's own), `files_of` says where they come from.
    `build_machine` is the address or network that the machines let SSH in from, as they were told
    at `build_machine_at` (seconds since 1970)."""

    deployment: str
    bucket: str
    provider: str = ""
    mode: str = ""
    ssh_port: int = 0
    hosts: tuple[str, ...] = ()
    application: str = ""
    admin_user: str = ""
    url: str = ""
    authority_root: str = ""
    deployed_at: str = ""
    bundle_digest: str = ""
    gated: bool = False
    content: str = ""
    former_hosts: tuple[str, ...] = ()
    managed_database: bool = False
    files: str = ""
    files_of: str = ""
    database_engine: str = ""
    build_machine: str = ""
    build_machine_at: int = 0
    machines: dict[str, MachineState] = field(default_factory=dict)

    @property
    def login_url(self) -> str:
        """Return where the administrator logs in; empty: own code has no such page."""
        pages = {
            "wordpress": "wp-login.php",
            "moodle": "login/index.php",
            "drupal": "user/login",
            "joomla": "administrator/",
        }
        page = pages.get(self.application)
        return f"{self.url}{page}" if page else ""

    def with_machine(self, machine: MachineState) -> State:
        """Return the state with this machine added or replaced."""
        return replace(self, machines={**self.machines, machine.name: machine})


def load(path: Path) -> State | None:
    """Return the state saved at `path`, or None if there is none."""
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        if values.pop("version") != VERSION:
            raise HomeError(
                "the state was written by another version of Build USB",
                where=str(path),
                cure="use that version, or move this file away: the provider is asked again",
            )
        machines = {
            name: MachineState(**{**machine, "role": Role(machine["role"])})
            for name, machine in values.pop("machines").items()
        }
        hosts = tuple(values.pop("hosts"))
        former = tuple(values.pop("former_hosts", ()))
        return State(**values, hosts=hosts, former_hosts=former, machines=machines)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HomeError(
            "the state file is damaged",
            where=str(path),
            why=str(error),
            cure=f"move it away (mv {path} {path}.damaged) and run again: "
            "the provider is asked for everything that exists",
        ) from error


def save(path: Path, state: State) -> None:
    """Write the state atomically."""
    values = {"version": VERSION, **asdict(state)}
    write_atomic(path, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode())
