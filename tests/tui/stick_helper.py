"""Stands in for the stick's helper, which needs a stick: the same JSON, from a state in a file.

Run as `python stick_helper.py STATE.json COMMAND...`; what it was told is kept in the state.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

KEY = "ABCDE-FGHJK-LMNPQ-RSTUV-WXYZ2-34567"


def main(path: Path, command: str, *words: str) -> None:
    state = json.loads(path.read_text())
    given = json.loads(sys.stdin.read() or "{}")
    state["told"].append([command, *words])
    answer: dict[str, object] = {}
    error = None
    if command == "status":
        volume = {
            "phase": state["phase"],
            "size": 0,
            "free": 2 * 10**9,
            "room": 14 * 10**9,
            "protected": state.get("protected", False),
        }
        answer = {
            "origin": "stick",
            "stick": {"model": "Acme Flash", "size": 16 * 10**9},
            "volume": volume,
        }
    elif command == "create":
        state["phase"], state["passphrase"] = "open", given["passphrase"]
        answer = {"recovery": KEY}
    elif command == "open" and given["passphrase"] != state["passphrase"]:
        error = {"kind": "PassphraseError", "what": "wrong passphrase"}
    elif command == "recover":
        state["passphrase"] = given["passphrase"]
    if command in ("open", "recover") and error is None:
        state["phase"] = "open"
    path.write_text(json.dumps(state))
    if error:
        print(json.dumps({"error": {"where": "", "why": "", "cure": "", **error}}))
    else:
        print(json.dumps({"result": answer}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
