"""When the snapshot that new webservers are built from is made, renewed, and not trusted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wizard.autoscaler.draft import DAY, HOUR, Draft
from wizard.autoscaler.fleet import Phase, Snapshot


def usable(draft: Draft) -> str:
    """Return the snapshot that a webserver can be built from now, empty for none."""
    kept = draft.snapshot
    young = draft.clock - kept.since < draft.policy.stale
    return kept.id if young and kept.recipe == draft.seen.recipe else ""


def distrust(draft: Draft, images: Sequence[str]) -> None:
    """Build from the base image when nothing came of a webserver from the snapshot."""
    if draft.snapshot.id and draft.snapshot.id in images:
        draft.snapshot = replace(draft.snapshot, id="", recipe="")
        draft.warn("the snapshot is given up: webservers are built from the base image")


def renew(draft: Draft) -> None:
    """Have a snapshot made when there is none of what webservers are by now, or it is old, while
    nothing else goes on. After a failure an hour has to pass, then two, at last a day; a day at
    once where the token is not allowed to make any."""
    seen, kept = draft.seen, draft.snapshot
    if kept.making and kept.making != seen.recipe:
        draft.snapshot = kept = replace(kept, making="", tried=None)
    if kept.making:
        _take(draft)
        return
    old = kept.recipe != seen.recipe or draft.clock - kept.since >= draft.policy.renew
    rested = kept.tried is None or draft.clock - kept.tried >= kept.rest
    if not (seen.recipe and old and rested and _is_quiet(draft)):
        return
    draft.snapshot = replace(kept, making=seen.recipe, tried=draft.clock)


def _take(draft: Draft) -> None:
    """Take over what became of one that was being made."""
    made, kept = draft.seen.made, draft.snapshot
    if made is None or made.recipe != kept.making:
        return
    if made.id:
        draft.snapshot = Snapshot(made.id, made.recipe, draft.clock)
        draft.tell("a snapshot is made: new webservers are built from it")
    else:
        rest = DAY if made.forbidden else min(max(HOUR, 2 * kept.rest), DAY)
        draft.snapshot = replace(kept, making="", rest=rest)
        draft.warn(f"no snapshot could be made: {made.why}")


def _is_quiet(draft: Draft) -> bool:
    if draft.roll and draft.roll.goes_on:
        return False
    serving = [w for w in draft.of(Phase.SERVING) if not w.failures]
    return len(serving) == len(draft.webservers) == draft.target
