"""A time server (NTP) whose clock is wrong, so that whoever asks it must set theirs."""

from __future__ import annotations

import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

PORT = 123
_EPOCH = 2208988800  # seconds from 1900, where NTP begins, to 1970


class TimeServer:
    """Answers on this computer's loopback, which a virtual computer sees as 10.0.2.2."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", PORT))
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                asked, sender = self._socket.recvfrom(1024)
            except TimeoutError:
                continue
            now = time.time() + self._ahead + _EPOCH
            stamp = struct.pack("!II", int(now), int(now % 1 * 2**32))
            # version 4, server, stratum 1; no delay; the asker's time of sending comes back
            head = struct.pack("!BBbbII4s", 0x24, 1, asked[2], -20, 0, 0, b"TEST")
            self._socket.sendto(head + stamp + asked[40:48] + stamp + stamp, sender)
