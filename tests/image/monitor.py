"""QEMU's monitor protocol (QMP): commands, and events as they come."""

from __future__ import annotations

import json
import queue
import socket
import threading
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


class Monitor:
    """One connection; commands from one thread."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("r", encoding="utf-8")
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._events: list[Answer] = []
        self._happened = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.tell("qmp_capabilities")

    def _read(self) -> None:
        try:
            for line in self._stream:
                message = json.loads(line)
                if "event" in message:
                    with self._happened:
                        self._events.append(message)
                        self._happened.notify_all()
                elif "QMP" not in message:
                    self._answers.put(message)
        except OSError:
            return

    def tell(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its result."""
        message = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        answer = self._answers.get(timeout=120)
        assert "return" in answer, (command, answer)
        return answer["return"]

    def happened(self, event: str, seconds: float = 0) -> bool:
        """Say whether an event of that name came, waiting for it."""
        with self._happened:
            return self._happened.wait_for(
                lambda: any(found["event"] == event for found in self._events), seconds
            )

    def close(self) -> None:
        """Let go; the machine may have gone before."""
        self._socket.close()
        self._reader.join(timeout=5)
        self._stream.close()
