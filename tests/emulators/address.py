"""What a cloud tells of who asks it: the address that it is seen at."""

from __future__ import annotations

import socket

from tests.emulators.server import Emulator, Reply, Request


class AddressTeller(Emulator):
    """Answers any GET with `says`."""

    def __init__(self, says: str, listener: socket.socket | None = None) -> None:
        super().__init__(None, listener)
        self.says = says

    def authorise(self, request: Request) -> Reply | None:
        return None

    def missing(self, request: Request) -> Reply:
        return Reply(200, self.says.encode())
