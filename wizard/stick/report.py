"""The report of a run without a keyboard, written back to the stick: `report/<time>/` with
`result.json` for programs, `report.md` for people, `events.jsonl` for those who want to know all.

The partition is FAT: no modes, no journal. Each file is whole or absent, `result.json` is there
from the beginning, and earlier reports are kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wizard.errors import AnswersError, BuildUsbError, ExitCode, HomeError
from wizard.events import Event, EventKind
from wizard.secrets import Secret, redact

FOLDER = "report"
Known = Callable[[], Iterable[Secret]]


@dataclass
class Report:
    """One run. `folder` is None where nothing can be written; `known` are secrets to take out."""

    folder: Path | None
    started: str
    known: list[Secret] = field(default_factory=list)
    deployment: str = ""
    plan: str = ""
    remarks: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @classmethod
    def open(cls, answers: Path, now: datetime | None = None) -> Report:
        """Begin a report in the folder of the answers. Raises HomeError if it cannot be written."""
        now = now or datetime.now(UTC)
        started = now.isoformat(timespec="seconds")
        stamp = now.strftime("%Y-%m-%dT%H-%M-%SZ")  # FAT allows no colon in a name
        try:
            parent = answers / FOLDER
            parent.mkdir(exist_ok=True)
            # a clock that was set back must not write over an earlier report
            folder = next(
                path
                for number in range(1, 1000)
                if not (path := parent / (stamp if number == 1 else f"{stamp}-{number}")).exists()
            )
            folder.mkdir()
        except OSError as error:
            raise HomeError(
                "no report can be written to the stick",
                where=str(answers),
                why=error.strerror or str(error),
                cure="check that the partition ANSWERS is there, writable and has room",
            ) from error
        report = cls(folder, started)
        report._write("result.json", _json({"version": 1, "state": "started", "started": started}))
        return report

    def take(self, event: Event) -> None:
        """Keep an event of the run."""
        if event.kind is not EventKind.PROGRESS:  # hundreds, and of no use afterwards
            self.events.append(event)

    def done(self, url: str, user: str) -> dict[str, Any]:
        """Write the end of a run that went well and return the result."""
        return self._end("done", ExitCode.OK, {"url": url, "admin_user": user})

    def failed(self, error: BuildUsbError) -> dict[str, Any]:
        """Write the end of a run that failed and return the result."""
        problem = {
            "what": error.what,
            "where": error.where,
            "why": error.why,
            "cure": error.cure,
            "problems": list(error.problems) if isinstance(error, AnswersError) else [],
        }
        code = ExitCode(error.exit_code)
        return self._end("failed", code, {"problem": problem, "error": code.name})

    def _end(self, state: str, code: ExitCode, more: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {
            "version": 1,
            "state": state,
            "exit_code": int(code),
            "started": self.started,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "deployment": self.deployment,
            "steps": _seconds(self.events),
            **more,
        }
        self._write("events.jsonl", "".join(f"{event.to_json()}\n" for event in self.events))
        self._write("report.md", _text(result, self))
        # last, so that whoever sees it finds the rest there
        self._write("result.json", _json(result))
        clean: dict[str, Any] = json.loads(redact(_json(result), self.known))
        return clean

    def _write(self, name: str, text: str) -> None:
        """Write one file, whole or not at all; the run matters more than its report."""
        if self.folder is None:
            return
        temporary = self.folder / f"{name}.tmp"
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(redact(text, self.known))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.folder / name)
            # FAT keeps no journal: without this the name may not be there after a power cut
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            with suppress(OSError):
                temporary.unlink()


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _seconds(events: list[Event]) -> dict[str, float]:
    done = [event for event in events if event.kind is EventKind.STEP_DONE]
    return {event.step: event.seconds or 0.0 for event in done}


def _text(result: dict[str, Any], report: Report) -> str:
    plan, events = report.plan, report.events
    name = result["deployment"] or "Deployment"
    lines = [
        f"# {name}: {'done' if result['state'] == 'done' else 'FAILED'}",
        "",
        f"Started {result['started']}, ended {result['ended']}, exit code {result['exit_code']}.",
        "",
    ]
    if result["state"] == "done":
        lines += [
            f"The site: {result['url']}",
            f"Administrator: {result['admin_user']}",
            "Password: kept encrypted in the build home and in the deployment's bucket, never",
            "here; show it with `build-usb secret admin_password`.",
        ]
    else:
        lines += _problem(result["problem"])
        failed = [event for event in events if event.kind is EventKind.STEP_FAILED]
        lines += [f"- step {event.step} failed: {event.message}" for event in failed]
        if not any(event.kind is EventKind.STEP_STARTED for event in events):
            lines += ["", "Nothing was made."]
    for remark in report.remarks:
        lines += ["", remark]
    if plan:
        lines += ["", "## Plan", "", "```", plan.rstrip(), "```"]
    if result["steps"]:
        lines += ["", "## Steps", "", "| step | seconds |", "|---|---|"]
        lines += [f"| {step} | {seconds:.1f} |" for step, seconds in result["steps"].items()]
    return "\n".join(lines) + "\n"


def _problem(problem: dict[str, Any]) -> list[str]:
    lines = [f"**{problem['what']}**" + (f" ({problem['where']})" if problem["where"] else ""), ""]
    if problem["problems"]:
        lines += [f"- {text}" for text in problem["problems"]]
    elif problem["why"]:
        lines += ["```", problem["why"], "```"]
    if problem["cure"]:
        lines += ["", f"What to do: {problem['cure']}"]
    return [*lines, ""]
