"""A server behind something that an emulated cloud rents out: a machine of the lab of its own."""

from __future__ import annotations

import threading
import time
from typing import Any

from wizard.providers.base import MachineSpec, Resource, ResourceKind
from wizard.rules import Role
from wizard.secrets import Secret

ROLE = Role.AUTOSCALER
"""What it is to the lab's firewall: development mode has no autoscalers."""
_BOOTS = 900.0  # seconds, in an emulated computer


class RentedServer:
    """A machine that `laboratory` runs for the emulated cloud's deployment `demo`. It is set up,
    and then `ready`, some time after `begin` returns."""

    def __init__(self, laboratory: Any, name: str) -> None:
        self._laboratory = laboratory
        self._name = name
        lab = laboratory.provider
        self.machine = lab.ensure_machine(
            MachineSpec(
                deployment="demo",
                name=name,
                role=ROLE,
                size="medium",
                image="debian-13",
                region="here",
                network_id=lab.ensure_network("demo").id,
                user_data=Secret("#cloud-config\n{}\n"),
            )
        )
        self.address = self.machine.private_address
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._begin, daemon=True)

    def begin(self) -> None:
        """Begin to set it up."""
        self._thread.start()

    def set_up(self) -> None:
        """Make it what is rented, once it has booted."""
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Say whether it answers."""
        if self.failure is not None:
            raise self.failure
        return not self._thread.is_alive()

    def _begin(self) -> None:
        end = time.monotonic() + _BOOTS
        try:
            while True:
                try:
                    state = self.enter("systemctl", "is-active", "multi-user.target")
                    if state.strip() == "active":
                        break
                except Exception:
                    if time.monotonic() > end:
                        raise
                time.sleep(0.2)
            self.set_up()
        except Exception as failure:
            self.failure = failure

    def enter(self, *command: str, stdin: str = "") -> str:
        """Run a command on the server."""
        return str(self._laboratory.enter(self.machine.id, *command, stdin=stdin))

    def end(self) -> None:
        """Let go of the server."""
        self._thread.join(_BOOTS)
        own = Resource(ResourceKind.MACHINE, self.machine.id, self._name, "demo")
        self._laboratory.provider.delete(own)
