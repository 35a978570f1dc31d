"""What all steps of one run share: answers, plan, home, secrets, provider and what is known so far.

Steps run in threads; everything they change goes through `update`, which saves before it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wizard.answers.model import Answers
from wizard.dns.base import DnsProvider
from wizard.engine import open
from wizard.engine import state as states
from wizard.engine.repository import Code
from wizard.engine.state import MachineState, State
from wizard.events import Progress
from wizard.home.home import DeploymentHome
from wizard.home.journal import Journal
from wizard.home.store import SecretStore
from wizard.plan.model import Plan
from wizard.providers.base import FileSystem, ManagedDatabase, Network, Provider, Services
from wizard.storage.base import Bucket
from wizard.storage.s3 import S3Bucket

OWN = "its own"
"""What the state says of content that was there before another was asked for, and is kept."""


@dataclass(frozen=True)
class BaselineParts:
    """A baseline as machines get it: its name, SQL, and an archive of files (on this computer)."""

    point: str
    database: Path
    files: Path


@dataclass
class Context:
    """One run on one deployment. `secrets` are what was made for it, `credentials` what the user
    put into the home; `network`, `services`, `dns`, `bucket`, `file_system` (where there is one),
    `database` (where one is rented), `backups` (a bucket too, where backups are made) and `second`
    (where they are made as well) are set by the first steps and only read by later ones; so is
    `certificate` (PEM), where the proxies' own authority signs it.

    `inside`: this runs on a machine of the deployment, and reaches the others at their private
    addresses. `published`: webservers that DNS is to answer with, where an autoscaler has decided
    it. `product`: the program that autoscalers run; `recipe`: what webservers are made by (a digest
    of all that has a part in it).

    `begins_with`: the restore point of another deployment that was put there. `code`: own code as
    it was fetched. `baseline`: what it begins with, as it was fetched."""

    answers: Answers
    plan: Plan
    home: DeploymentHome
    secrets: SecretStore
    credentials: SecretStore
    journal: Journal
    provider: Provider
    state: State
    network: Network | None = None
    services: Services = field(default_factory=Services)
    dns: DnsProvider | None = None
    bucket: Bucket | None = None
    backups: Bucket | None = None
    second: Bucket | None = None
    certificate: str = ""
    file_system: FileSystem | None = None
    inside: bool = False
    published: frozenset[str] | None = None
    product: str = ""
    recipe: str = ""
    begins_with: str = ""
    database: ManagedDatabase | None = None
    code: Code | None = None
    baseline: BaselineParts | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def update(self, change: Callable[[State], State]) -> State:
        """Apply `change` to the state and save it; returns the new state."""
        with self.lock:
            changed = change(self.state)
            if changed != self.state:
                states.save(self.home.state_file, changed)
                self.state = changed
            return changed

    def address(self, machine: MachineState) -> str:
        """Return where this computer reaches a machine."""
        return machine.private_address if self.inside else machine.access_address

    def connect(self, progress: Progress) -> None:
        """Prepare the provider and open what it and the answers name: services, DNS, bucket."""
        self.provider.prepare(progress)
        self.services = self.provider.services(self.plan.zone)
        self.dns = open.dns(self.answers, self.services, self.credentials)
        storage = open.storage(self.answers, self.services, self.credentials)
        self.bucket = S3Bucket(self.plan.bucket.name, storage)
        if self.plan.backups is not None:
            self.backups = S3Bucket(self.plan.backups.bucket, storage)
            second = open.second_storage(self.answers, self.credentials)
            if second is not None and self.plan.backups.second is not None:
                self.second = S3Bucket(self.plan.backups.second.bucket, second)
