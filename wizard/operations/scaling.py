"""What people tell the autoscalers, and what they hear of them: through the deployment's bucket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from wizard.answers.model import Answers
from wizard.autoscaler.fleet import Roll, Snapshot, Work
from wizard.autoscaler.schedule import Wish
from wizard.engine import fleets, rolling
from wizard.engine.context import Context
from wizard.engine.fleets import Record
from wizard.errors import UsageError
from wizard.events import silent
from wizard.home.home import DeploymentHome
from wizard.operations.run import follow
from wizard.operations.session import Session, make_context, read_answers, read_state

SCHEDULE, PAUSE, RESUME = "schedule", "pause", "resume"
"""What may be asked for beside a number."""
WORKS = {
    Work.UPGRADE: "install upgrades, reboot if they ask for it",
    Work.REBOOT: "reboot",
    Work.CERTIFICATE: "order a new certificate",
}
"""Work on one webserver after the other that may be asked for, in words."""
_EVENTS_SHOWN = 8


@dataclass(frozen=True)
class FleetStatus:
    """The autoscalers' own account: how many webservers are wanted, who leads, each webserver's
    phase, whether DNS answers with it, what was wished, what happened last; the work that goes on
    or went on last, and the snapshot that new webservers are built from."""

    wanted: int
    leader: str
    webservers: tuple[tuple[str, str, bool], ...]
    wish: Wish
    events: tuple[tuple[str, str], ...]
    roll: Roll | None = None
    snapshot: Snapshot = field(default_factory=Snapshot)

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "wanted": self.wanted,
            "leader": self.leader,
            "webservers": [
                {"name": name, "phase": phase, "published": published}
                for name, phase, published in self.webservers
            ],
            "wish": {**vars(self.wish), "at": self.wish.at.isoformat()},
            "roll": asdict(self.roll) if self.roll else None,
            "snapshot": {
                "id": self.snapshot.id,
                "recipe": self.snapshot.recipe,
                "making": bool(self.snapshot.making),
            },
            "events": [{"at": at, "text": text} for at, text in self.events],
        }

    def lines(self) -> list[str]:
        """Return it for people."""
        lines = [f"  autoscalers  {self.leader or 'none leads yet'}; {self.wanted} wanted"]
        if self.wish.version:
            said = "the schedule" if self.wish.webservers is None else str(self.wish.webservers)
            paused = ", PAUSED: nothing is replaced, added or removed" if self.wish.paused else ""
            lines.append(
                f"  asked for    {said}{paused} (by {self.wish.by}, {self.wish.at:%Y-%m-%d %H:%M})"
            )
        lines += [f"  new ones     are built from {self.snapshot}"]
        if self.roll and (self.roll.goes_on or self.roll.stopped):
            lines.append(f"  one by one   {self.roll}")
        for name, phase, published in self.webservers:
            lines.append(f"    {name:<8} {phase}{'' if published else ', not in DNS'}")
        for at, text in self.events[-_EVENTS_SHOWN:]:
            lines.append(f"    {at[:19].replace('T', ' ')}  {text}")
        return lines


def fleet_status(context: Context, record: Record) -> FleetStatus:
    """Return what the autoscalers wrote down last."""
    fleet = record.fleet
    return FleetStatus(
        wanted=record.wanted,
        leader=record.leader,
        webservers=tuple((w.name, str(w.phase), w.published) for w in fleet.webservers),
        wish=fleets.load_wish(context),
        events=record.events,
        roll=fleet.roll,
        snapshot=fleet.snapshot,
    )


def refresh(session: Session, deployment: DeploymentHome) -> FleetStatus | None:
    """Take over what the autoscalers have made of the webservers, and return their account of it;
    None for a deployment without."""
    answers = read_answers(deployment)
    if answers.mode != "production":
        return None
    with deployment.lock(f"look at {deployment.name}"):
        context = make_context(session, deployment, answers)
        record = follow(context)
    return None if record is None else fleet_status(context, record)


def offered(deployment: DeploymentHome) -> dict[str, str]:
    """Return what may be asked of the autoscalers, and in words. UsageError if there are none."""
    answers = read_answers(deployment)
    _refuse_without(deployment, answers)
    scaling = answers.scaling
    numbers = range(scaling.minimum, scaling.maximum + 1)
    return (
        {PAUSE: "Pause: add, replace and remove nothing", RESUME: "Go on after a pause"}
        | {str(work): f"One webserver after the other: {words}" for work, words in WORKS.items()}
        | ({SCHEDULE: "What the schedule says"} if scaling.schedule else {})
        | {str(n): f"{n} webserver{'s' if n > 1 else ''}" for n in numbers}
    )


def ask(session: Session, deployment: DeploymentHome, what: str) -> Wish:
    """Ask for one of what is `offered`."""
    if what in (PAUSE, RESUME):
        return pause(session, deployment, paused=what == PAUSE)
    if what in WORKS:
        return roll(session, deployment, Work(what))
    return scale(session, deployment, None if what == SCHEDULE else int(what))


def scale(session: Session, deployment: DeploymentHome, webservers: int | None) -> Wish:
    """Ask for this number of webservers, None: what the answers' schedule says. UsageError if it
    is not within the answers' bounds."""

    def check(context: Context) -> None:
        if webservers is not None:
            fleets.check_number(context, webservers)

    return _wish(session, deployment, check, webservers=webservers)


def pause(session: Session, deployment: DeploymentHome, *, paused: bool) -> Wish:
    """Let the autoscalers replace, add and remove nothing, or go on."""
    return _wish(session, deployment, lambda _: None, paused=paused)


def roll(session: Session, deployment: DeploymentHome, work: Work) -> Wish:
    """Ask for work on one webserver after the other."""
    return _wish(session, deployment, lambda _: None, work=str(work))


def _wish(
    session: Session, deployment: DeploymentHome, check: Callable[[Context], None], **changes: Any
) -> Wish:
    answers = read_answers(deployment)
    read_state(deployment)
    _refuse_without(deployment, answers)
    context = make_context(session, deployment, answers)
    context.provider.check()
    check(context)
    context.connect(silent)
    return fleets.make_wish(context, rolling.me(), **changes)


def _refuse_without(deployment: DeploymentHome, answers: Answers) -> None:
    if answers.mode != "production":
        raise UsageError(
            f"{deployment.name} has no autoscalers",
            where="mode",
            cure="only a deployment in production mode can be scaled",
        )
