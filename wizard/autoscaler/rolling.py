"""Work on one webserver after the other, each out of DNS while it is worked on. Pure."""

from __future__ import annotations

from dataclasses import replace

from wizard.autoscaler.draft import Draft
from wizard.autoscaler.fleet import MEMBERS, Phase, Roll, Webserver, Work

_UNQUIET = tuple(phase for phase in Phase if phase not in (Phase.SERVING, Phase.REMOVING))
_DONE = {
    Work.CONFIGURE: "configured anew",
    Work.UPGRADE: "upgraded",
    Work.REBOOT: "rebooted",
    Work.CERTIFICATE: "given the new certificate",
}


def proceed(draft: Draft) -> None:
    """Go on with the webserver whose turn it is: wait for its visitors to go, for the work, and
    for its answers."""
    roll = draft.roll
    turn = roll.now if roll else ""
    # whoever is away without its turn having come (a document of before) comes back
    lost = [w for w in draft.of(Phase.AWAY, Phase.WORKING) if w.name != turn]
    draft.put(draft.enter(w, Phase.MENDING, False)._replace(successes=0) for w in lost)
    if roll is None or not roll.now:
        return
    webserver = next((w for w in draft.webservers if w.name == roll.now), None)
    if webserver is None or webserver.phase not in MEMBERS:
        _stop(draft, f"{roll.now} is lost")
    elif webserver.phase is Phase.AWAY:
        _wait(draft, webserver)
    elif webserver.phase is Phase.WORKING:
        _look(draft, webserver)
    elif webserver.phase is Phase.MENDING and draft.age(webserver) >= draft.policy.mend:
        if webserver.failures:
            _stop(draft, f"{roll.now} does not answer after it")
    elif webserver.phase is Phase.SERVING:
        draft.tell(f"{roll.now} is {_DONE[roll.work]}")
        at = roll.left.index(roll.now)
        left = (*roll.left[:at], *roll.left[at + 1 :])
        draft.roll = replace(roll, left=left, now="")
        _end(draft)


def begin(draft: Draft) -> None:
    """Take up what was asked for, and send the next webserver out of DNS once all others serve."""
    request, roll = draft.seen.request, draft.roll
    if request and (roll is None or (request.number > roll.number and not roll.now)):
        names = [w.name for w in draft.of(*MEMBERS)]
        # who gets a new certificate from the authority hands it to the others
        names.sort(key=lambda name: name != draft.seen.keeper)
        draft.roll = Roll(request.number, request.work, tuple(names), recipe=request.recipe)
        if request.work is Work.CONFIGURE:
            draft.recipe = ""  # from now on until all are done some differ
        by = f" (asked for by {request.by})" if request.by else ""
        draft.tell(f"{len(names)} webservers are to be {_DONE[request.work]}{by}")
    roll = draft.roll
    if roll is None or not roll.goes_on or roll.now:
        return
    if draft.of(*_UNQUIET):
        return
    members = {w.name for w in draft.of(*MEMBERS)}
    gone = next((n for n, name in enumerate(roll.left) if name in members), len(roll.left))
    if gone:
        draft.roll = roll = replace(roll, left=roll.left[gone:])
    if _end(draft):
        return
    well = {w.name: w for w in draft.of(Phase.SERVING) if w.published and not w.failures}
    candidate = next((name for name in roll.left if name in well), None)
    if candidate is None:
        return
    if len(well) - 1 < _stay(draft):
        draft.say(f"nobody is {_DONE[roll.work]}: that takes {_stay(draft) + 1} webservers that "
                  "serve, for one is out of DNS meanwhile")  # fmt: skip
        return
    draft.put([draft.enter(well[candidate], Phase.AWAY, False)])
    draft.roll = replace(roll, now=candidate)


def _stay(draft: Draft) -> int:
    """Return how many must serve while one is away."""
    return max(1, draft.target - 1)


def _wait(draft: Draft, webserver: Webserver) -> None:
    assert draft.roll is not None
    well = [w for w in draft.of(Phase.SERVING) if w.published and not w.failures]
    policy, age = draft.policy, draft.age(webserver)
    if draft.seen.paused or len(well) < _stay(draft):
        # it is needed, and nothing was done to it yet
        draft.put([draft.enter(webserver, Phase.SERVING, True)])
        draft.roll = replace(draft.roll, now="")
    elif age >= policy.ttl and (webserver.name not in draft.seen.busy or age >= policy.drain):
        draft.put([draft.enter(webserver, Phase.WORKING, False)])


def _look(draft: Draft, webserver: Webserver) -> None:
    """See whether the work is done: whoever was worked on must answer like one that was mended."""
    assert draft.roll is not None
    how = draft.seen.worked.get(webserver.name)
    if how is None and draft.age(webserver) >= draft.policy.work:
        how = f"it took longer than {draft.policy.work / 60:.0f} minutes"
    if how is None:
        return
    back = draft.enter(webserver, Phase.MENDING, False)
    draft.put([back._replace(failures=0, successes=0)])
    if how:
        _stop(draft, f"{webserver.name}: {how}")


def _stop(draft: Draft, why: str) -> None:
    assert draft.roll is not None
    draft.roll = replace(draft.roll, now="", stopped=why)
    draft.call(f"no more webservers are {_DONE[draft.roll.work]}: {why}")


def _end(draft: Draft) -> bool:
    roll = draft.roll
    assert roll is not None
    if roll.left:
        return False
    draft.tell(f"all webservers are {_DONE[roll.work]}")
    if roll.work is Work.CONFIGURE:
        draft.recipe = roll.recipe
    return True
