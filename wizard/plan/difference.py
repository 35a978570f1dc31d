"""What deploying a plan would change, compared with what runs. Pure.

What is known of what runs are the answers it was last deployed with, their plan, and the names of
the machines that were made. A deployment keeps some of what it was made with: that is said, and
how to get there all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from wizard.answers.fields import ORIGIN
from wizard.answers.model import Answers
from wizard.answers.problems import shown
from wizard.answers.sections import Backup, Baseline, Code, Release
from wizard.plan.model import Plan, PlannedMachine, PlannedRecord
from wizard.plan.render import rule_text
from wizard.rules import Rule

Thing = TypeVar("Thing")

ANEW = "destroy the deployment and deploy these answers"
KEPT: Mapping[str, str] = {
    "mode": ANEW,
    "provider.name": f"what exists stays there and is paid for; first {ANEW}",
    "provider.region": f"what exists stays where it is; {ANEW}",
    "provider.ipv6": f"machines that exist keep the addresses they have; {ANEW}",
    "machines.os": f"machines that exist keep their system; {ANEW}",
    "machines.sizes": f"machines that exist keep their size; {ANEW}",
    "machines.disks": f"machines that exist keep their disk; {ANEW}",
    "machines.spot": f"machines that exist stay what they are; {ANEW}",
    "application.kind": ANEW,
    "application.source": f"content is only put there at the beginning; {ANEW}",
    "application.title": "change it in the settings of the site",
    "application.locale": "change it in the settings of the site",
    "application.admin": "change it in the user list of the site",
    "dns.provider": f"records at the old one stay; {ANEW}",
    "dns.zone": f"records in the old zone stay; {ANEW}",
    "database.engine": ANEW,
    "database.managed": ANEW,
    "database.size": f"a managed database keeps its size; {ANEW}",
    "webserver.kind": ANEW,
    "shared_config.kind": ANEW,
    "object_storage": ANEW,
    "ssh.port": f"machines that exist listen on the old port and would not be found; {ANEW}",
    "tls.authority": "the certificate is only ordered there when the present one is renewed",
}
"""Settings that a deployment keeps as it was made with, and what to do instead."""


@dataclass(frozen=True)
class Change:
    """One thing that differs: `before` is empty for what is new, `after` for what goes."""

    what: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if not self.before:
            return f"+ {self.what}: {self.after}"
        if not self.after:
            return f"- {self.what}: {self.before}"
        return f"~ {self.what}: {self.before} -> {self.after}"


@dataclass(frozen=True)
class Difference:
    """All that differs. `kept` is what deploying leaves as it is although the answers differ."""

    machines: tuple[Change, ...] = ()
    records: tuple[Change, ...] = ()
    rules: tuple[Change, ...] = ()
    answers: tuple[Change, ...] = ()
    kept: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(asdict(self).values())


def difference(
    before: Answers, now: Plan | None, after: Answers, plan: Plan, made: Iterable[str]
) -> Difference:
    """Return what deploying `plan` (of `after`) changes.

    `before` are the answers that were deployed last and `now` their plan (None when the provider
    does not offer any more what they ask for); `made` names the machines that exist.
    """
    existing = set(made)
    had = {machine.name: machine for machine in now.machines} if now else {}
    wanted = {machine.name: machine for machine in plan.machines}
    answers = tuple(_answers(before.model_dump(mode="json"), after.model_dump(mode="json")))
    gone = sorted(existing - set(wanted))
    records = _compared(now.records, plan.records, _record) if now else ()
    kept = [
        f"{key}: {cure}"
        for key, cure in KEPT.items()
        if any(f"{change.what}.".startswith(f"{key}.") for change in answers)
        # one of the proxies' own authority is put in place at once, and as quickly replaced
        and not (key == "tls.authority" and ORIGIN in (before.tls.authority, after.tls.authority))
        and not (key == "application.source" and _released_anew(before, after))
    ]
    kept += [f"{name}: the machine stays, and is paid for, until it is destroyed" for name in gone]
    kept += [
        f"{change.what}: the record stays until the deployment is destroyed"
        for change in records
        if not change.after
    ]
    return Difference(
        machines=(
            *(Change(f"machine {name}", before="exists") for name in gone),
            *(
                Change(f"machine {name}", after=_machine(machine))
                for name, machine in wanted.items()
                if name not in existing
            ),
            *(
                Change(f"machine {name}", _machine(had[name]), _machine(machine))
                for name, machine in wanted.items()
                if name in existing and name in had and had[name] != machine
            ),
        ),
        records=records,
        rules=_compared(now.rules, plan.rules, _rule) if now else (),
        answers=answers,
        kept=tuple(kept),
    )


def _released_anew(before: Answers, after: Answers) -> bool:
    """Say whether nothing but the code is another one: that is put in place at once."""
    codes = [a.application.code for a in (before, after)]
    known = all(isinstance(code, Code) for code in codes) or all(
        isinstance(code, Release) for code in codes
    )
    had, has = (_content(a.application.source) for a in (before, after))
    # what a site began with can be left out later
    return known and has in (None, had)


def _content(source: object) -> Backup | Baseline | None:
    if isinstance(source, Backup | Baseline):
        return source.model_copy(update={"code": None, "release": None})
    return None


def to_text(found: Difference) -> str:
    """Return the difference in words, `+` for new, `-` for gone, `~` for changed."""
    if not found:
        return "What changes: nothing; what exists and is right stays as it is.\n"
    changes = (*found.machines, *found.records, *found.rules)
    lines = ["What changes against what runs", *(f"  {change}" for change in changes)]
    if found.answers:
        lines += ["  answers:", *(f"    {change}" for change in found.answers)]
    if found.kept:
        lines += ["", "What deploying does NOT change, and what to do instead"]
        lines += [f"  ! {text}" for text in found.kept]
    return "\n".join(lines) + "\n"


def to_plain(found: Difference) -> dict[str, Any]:
    """Return the difference as plain JSON values."""
    return asdict(found)


def _machine(machine: PlannedMachine) -> str:
    return f"{machine.role}, {machine.size.name}, {machine.image}"


def _record(record: PlannedRecord) -> tuple[str, str]:
    return f"record {record.name}", f"{record.ttl} s, {', '.join(record.machines)}"


def _rule(rule: Rule) -> tuple[str, str]:
    return f"firewall {rule_text(rule)}", rule.why


def _compared(
    before: Iterable[Thing], after: Iterable[Thing], told: Callable[[Thing], tuple[str, str]]
) -> tuple[Change, ...]:
    """Return what differs between two lists of things that `told` gives a name and a text."""
    old, new = dict(map(told, before)), dict(map(told, after))
    return tuple(
        Change(name, old.get(name, ""), new.get(name, ""))
        for name in (*old, *(name for name in new if name not in old))
        if old.get(name) != new.get(name)
    )


def _answers(before: Any, after: Any, key: str = "") -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*before, *(name for name in after if name not in before)):
            inner = f"{key}.{name}" if key else name
            yield from _answers(before.get(name), after.get(name), inner)
        return
    yield Change(key, _value(before), _value(after))


def _value(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(entry, str | int) for entry in value):
        return ", ".join(map(str, value)) or "none"
    return shown(value)
