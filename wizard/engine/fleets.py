"""What autoscalers and the build machine tell each other through the deployment's bucket: the
fleet, and what people wish of it, each signed (see autoscaler.signed).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from wizard.agent.outbox import Note, Outbox
from wizard.agent.outbox import wanted as wanted_notes
from wizard.autoscaler.draft import News
from wizard.autoscaler.fleet import Fleet, Phase, Roll, Snapshot, Webserver, Work
from wizard.autoscaler.schedule import Entry, Wish, wanted
from wizard.autoscaler.signed import sealed, unsealed
from wizard.engine.context import Context
from wizard.engine.state import MachineState, State
from wizard.errors import ProviderError, UsageError
from wizard.home import keys
from wizard.plan.build import with_webservers
from wizard.providers.base import Machine
from wizard.rules import Role
from wizard.secrets import Secret, generate
from wizard.storage.base import Bucket

FLEET_KEY = "autoscaler/fleet.json"
WISH_KEY = "autoscaler/wish.json"
_EVENTS_KEPT = 60
_TRIES = 5


@dataclass(frozen=True)
class Record:
    """The fleet as it was written last: by whom, as the how manieth leader, which webserver keeps
    certificate and cron, how many are wanted, what happened (ISO 8601 in UTC, text), and what of
    that people are still to be told by mail."""

    fleet: Fleet = field(default_factory=Fleet)
    lease: int = 0
    leader: str = ""
    keeper: str = ""
    wanted: int = 0
    events: tuple[tuple[str, str], ...] = ()
    outbox: Outbox = field(default_factory=Outbox)

    def telling(self, told: tuple[News, ...], least: str = "") -> Record:
        """Return the record with these events, of now, added; those that are at least of the level
        `least`, if one is named, are to be mailed."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        events = (*self.events, *((now, news.text) for news in told))
        notes = (Note(now, news.level, news.text) for news in told)
        outbox = (
            self.outbox.add(wanted_notes(notes, least), self.fleet.clock) if least else Outbox()
        )
        return replace(self, events=events[-_EVENTS_KEPT:], outbox=outbox)


def seed(context: Context) -> Secret:
    """Return what the keys of webservers and of these documents are derived from."""
    return context.secrets.get_or_create("fleet_seed", lambda: generate(40))


def host_key(context: Context, machine: str, kind: str = "host_key") -> keys.KeyPair:
    """Return a webserver's host key (`first_host_key`: that of its first boot)."""
    return keys.derived_key_pair(seed(context), f"{kind}.{machine}")


def load(context: Context) -> tuple[Record, str] | None:
    """Return the fleet's record and its version, None if none was written yet."""
    assert context.bucket is not None
    found = _read(context.bucket, FLEET_KEY, seed(context))
    if found is None:
        return None
    values, etag = found
    return _record(values), etag


def save(context: Context, record: Record, etag: str | None) -> str | None:
    """Write the record if it still has the version `etag` (None: there is none yet); return its
    new version, or None if somebody else has written."""
    assert context.bucket is not None
    values = asdict(record)
    values["fleet"]["told"] = sorted(record.fleet.told)
    values["outbox"] = record.outbox.to_plain()
    values["fleet"]["webservers"] = [w._asdict() for w in record.fleet.webservers]
    data = sealed(seed(context), FLEET_KEY, values)
    if etag is None:
        return context.bucket.put(FLEET_KEY, data, if_absent=True)
    return context.bucket.put(FLEET_KEY, data, if_etag=etag)


def load_wish(context: Context) -> Wish:
    """Return what was wished last."""
    return _wish(context)[0]


def make_wish(context: Context, by: str, **changes: Any) -> Wish:
    """Change the wish (`webservers`, `paused`, `work` with its `recipe`) and return it as it was
    written."""
    assert context.bucket is not None
    for _ in range(_TRIES):
        old, etag = _wish(context)
        now = datetime.now(UTC)
        new = replace(old, version=old.version + 1, by=by, at=now, **changes)
        if "work" in changes:
            new = replace(new, works=old.works + 1, work_by=by, by=old.by)
        if "webservers" not in changes:
            # a pause must not make an old number younger than the schedule's last change
            new = replace(new, at=old.at if old.webservers is not None else now)
        values = {**asdict(new), "at": new.at.isoformat()}
        data = sealed(seed(context), WISH_KEY, values)
        condition: dict[str, Any] = {"if_absent": True} if etag is None else {"if_etag": etag}
        if context.bucket.put(WISH_KEY, data, **condition) is not None:
            return new
    raise ProviderError(
        "others change what is wished at the same moment",
        where=WISH_KEY,
        cure="run the command again",
    )


def wanted_now(context: Context, wish: Wish) -> int:
    """Return how many webservers are wanted now: by the wish, the schedule, or the answers."""
    answers = context.answers
    entries = tuple(Entry(e.at, e.days, e.webservers) for e in answers.scaling.schedule)
    zone = answers.machines.timezone
    return wanted(answers.webserver.count, entries, zone, wish, datetime.now(UTC))


def check_number(context: Context, webservers: int) -> None:
    """Raise UsageError if so many webservers are not within the answers' bounds."""
    scaling = context.answers.scaling
    if not scaling.minimum <= webservers <= scaling.maximum:
        raise UsageError(
            f"{webservers} webservers are not within the bounds of the answers",
            where="scaling.minimum, scaling.maximum",
            cure=f"choose a number from {scaling.minimum} to {scaling.maximum}, or change the "
            "answers and deploy again",
        )


def begin(context: Context) -> Record:
    """Hand the webservers of the plan over to the autoscalers, if that was not done before."""
    found = load(context)
    if found is not None:
        return found[0]
    names = [m.name for m in context.plan.of_role(Role.WEBSERVER)]
    webservers = tuple(Webserver(name, Phase.SERVING, published=True) for name in names)
    fleet = Fleet(webservers=webservers, next=len(names) + 1, recipe=context.recipe)
    record = Record(fleet, keeper=names[0], wanted=len(names)).telling((News("deployed"),))
    if save(context, record, None) is None:
        raise ProviderError("the fleet was written by somebody else", where=FLEET_KEY)
    return record


def follow(context: Context) -> Record | None:
    """Take what the autoscalers have made of the webservers into plan and state; None if there is
    no fleet yet. The bucket must be open."""
    found = load(context)
    if found is None:
        return None
    record = found[0]
    adapt(context, record.fleet, record.keeper, listing(context))
    return record


def listing(context: Context) -> dict[str, Machine]:
    """Return the deployment's machines by name, asked for at the provider now."""
    return {m.name: m for m in context.provider.machines(context.plan.deployment)}


def adapt(context: Context, fleet: Fleet, keeper: str, present: dict[str, Machine]) -> None:
    """Make plan and state those of the fleet; `present` are the machines there are, as far as
    that is known."""
    members = [w for w in fleet.webservers if w.phase is not Phase.REMOVING]
    names = sorted((w.name for w in members), key=lambda name: name != keeper)
    if names:
        context.plan = with_webservers(context.plan, tuple(names))
    context.published = fleet.published
    context.update(lambda state: _adapted(context, state, members, present))


def _adapted(
    context: Context, state: State, members: list[Webserver], present: dict[str, Machine]
) -> State:
    known = state.machines
    machines = {n: m for n, m in known.items() if m.role is not Role.WEBSERVER}
    for webserver in members:
        name = webserver.name
        machine = present.get(name)
        if machine is None:
            if name in known:
                machines[name] = known[name]
        elif name in known and known[name].id == machine.id:
            # whoever looked while it was built has seen it with its first host key
            rotated = known[name].rotated or webserver.phase is not Phase.BUILDING
            machines[name] = replace(known[name], rotated=rotated)
        else:
            machines[name] = MachineState(
                id=machine.id,
                name=name,
                role=Role.WEBSERVER,
                private_address=machine.private_address,
                public_address=machine.public_address,
                access_address=machine.access_address,
                ipv6=machine.ipv6,
                host_key=host_key(context, name).public,
                rotated=webserver.phase is not Phase.BUILDING,
            )
    return replace(state, machines=machines)


def _wish(context: Context) -> tuple[Wish, str | None]:
    assert context.bucket is not None
    found = _read(context.bucket, WISH_KEY, seed(context))
    if found is None:
        return Wish(), None
    values, etag = found
    return Wish(**{**values, "at": datetime.fromisoformat(values["at"])}), etag


def _record(values: dict[str, Any]) -> Record:
    fleet = values["fleet"]
    webservers = tuple(
        Webserver(**{**w, "phase": Phase(w["phase"]), "mends": tuple(w["mends"])})
        for w in fleet["webservers"]
    )
    return Record(
        **{
            **values,
            "fleet": Fleet(
                **{
                    **fleet,
                    "webservers": webservers,
                    "replaced": tuple(fleet["replaced"]),
                    "told": frozenset(fleet["told"]),
                    "roll": _roll(fleet.get("roll")),
                    "snapshot": Snapshot(**fleet.get("snapshot", {})),
                }
            ),
            "events": tuple((at, text) for at, text in values["events"]),
            "outbox": Outbox.from_plain(values["outbox"]) if "outbox" in values else Outbox(),
        }
    )


def _roll(values: dict[str, Any] | None) -> Roll | None:
    if values is None:
        return None
    return Roll(**{**values, "work": Work(values["work"]), "left": tuple(values["left"])})


def _read(bucket: Bucket, name: str, key: Secret) -> tuple[dict[str, Any], str] | None:
    stored = bucket.get(name)
    if stored is None:
        return None
    try:
        return unsealed(key, name, stored.data), stored.etag
    except ValueError as error:
        raise ProviderError(
            "a document of the autoscalers is damaged or forged; nothing is done on its word",
            where=f"{bucket.name}/{name}",
            why=str(error),
            cure="look who wrote it; put an older version of the object back, or delete it and "
            "deploy again",
        ) from error
