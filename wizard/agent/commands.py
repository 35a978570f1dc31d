"""The agent's commands. Each prints one line of JSON and ends with 0 (well) or 1 (a problem)."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from wizard import __version__
from wizard.agent import (
    alarms,
    backup,
    baseline,
    build_machine,
    content,
    cronjob,
    edge,
    health,
    mount,
    onefile,
    peers,
    points,
    registry,
    restore,
    scratch,
    ufw,
    verify,
)
from wizard.agent import config as configuration
from wizard.agent.config import Config, Peer
from wizard.agent.errors import AgentError
from wizard.agent.guard import TimeLimit
from wizard.agent.state import Places, held_for, locked, read_last, record, write_whole

log = logging.getLogger(__name__)
Result = dict[str, Any]
# seconds; together under STALE, so that a run which is older hangs in a way nobody thought of.
# 100 peers that all are new take ufw about 30 s.
LIMITS = {"mount": 80.0, "edge": 35.0, "firewall": 150.0, "heartbeat": 30.0, "mail": 60.0}
STALE = 360.0
_WAIT = 60.0
_NICE = 15


def run_mount(config: Config, places: Places) -> Result:
    """Check the shared configuration and mount it again if it is dead."""
    return {"done": mount.ensure(config)}


def run_edge(config: Config, places: Places) -> Result:
    """Keep the networks of the proxies in front of the site up to date, once a day."""
    done, problem = edge.ensure(config, places)
    return {"done": done, **({"problem": problem} if problem else {})}


def run_firewall(config: Config, places: Places) -> Result:
    """Make ufw equal to the rules with the peers of now."""
    config = edge.applied(config, places.edge)
    moved = build_machine.ensure(config, places)
    config = build_machine.applied(config, places.build_machine)
    found, problem = _peers(config, places)
    now, done = ufw.apply(config, found, places)
    result: Result = {
        "done": done,
        "enabled": now.enabled,
        "ipv6": now.ipv6,
        "openings": len(now.held.ours),
        "peers": [peer.name for peer in found],
        "synced": ufw.is_synced(config, found, now),
    }
    if now.held.foreign:
        result["foreign"] = list(now.held.foreign)
    if now.past:
        result["past_ufw"] = list(now.past)
    problems = [text for text in (problem, moved) if text]
    if config.ipv6 and config.ipv6 not in ufw.global_ipv6():
        problems.append(f"no interface has the address {config.ipv6}, which names lead to")
    if not result["synced"]:
        blocked = ufw.change_of(config, found, now).blocked
        problems += [f"somebody's rule in ufw denies {opening}" for opening in blocked]
        problems = problems or ["ufw differs from the rules after it was changed"]
    if problems:
        result["problem"] = "; ".join(problems)
    return result


def _peers(config: Config, places: Places) -> tuple[tuple[Peer, ...], str]:
    """Return the peers to go by, and why they are not those of the shared file if so."""
    try:
        found = peers.parse(mount.read_shared(config, mount.PROOF), config)
    except AgentError as error:
        old = peers.last_good(config, places.config, places.peers)
        return old, f"{mount.PROOF}: {error}; going by the last good peers"
    # always written anew: its date tells whether the deploy's own list is newer
    write_whole(places.peers, peers.serialize(found))
    return found, ""


def run_heartbeat(config: Config, places: Places) -> Result:
    """Put this machine's entry into the registry."""
    commands = read_last(places.last)
    facts = health.facts(config)
    values = registry.entry(config, facts, _synced(config, places), commands)
    registry.write(config, values)
    return {"entry": f"{registry.FOLDER}/{config.name}.json"}


def _synced(config: Config, places: Places) -> bool | None:
    config = edge.applied(config, places.edge)
    config = build_machine.applied(config, places.build_machine)
    try:
        known = peers.last_good(config, places.config, places.peers)
        return ufw.is_synced(config, known, ufw.look(places))
    except AgentError:
        return None


def run_mail(config: Config, places: Places) -> Result:
    """Tell people by mail what fails for a while, and that it is over."""
    facts = health.facts(config) if config.mail else {}
    done, problem = alarms.ensure(config, facts, places.last, places.mail)
    return {"done": done, **({"problem": problem} if problem else {})}


COMMANDS: dict[str, Callable[[Config, Places], Result]] = {
    "mount": run_mount,
    "edge": run_edge,
    "firewall": run_firewall,
    "heartbeat": run_heartbeat,
    "mail": run_mail,
}


def perform(name: str, places: Places) -> Result:
    """Run one command within its time limit and keep how it ended."""
    started = time.monotonic()
    result: Result = {"ok": True, "at": registry.now()}
    try:
        with TimeLimit(LIMITS[name]):
            result.update(COMMANDS[name](configuration.load(places.config), places))
    except (AgentError, OSError) as error:
        result["problem"] = str(error)
    except Exception as error:
        # a fault of ours must be seen in `status`, and must not stop the commands after it
        log.exception("%s", name)
        result["problem"] = f"fault in the agent: {type(error).__name__}: {error}"
    result["ok"] = "problem" not in result
    result["seconds"] = round(time.monotonic() - started, 2)
    if result["ok"]:
        for line in result.get("done", []):
            log.info("%s: %s", name, line)
    else:
        log.warning("%s: %s", name, result["problem"])
    try:
        return record(places.last, name, result)
    except OSError as error:
        return {**result, "ok": False, "problem": f"{places.last}: {error.strerror}"}


def make_backup(period: str, point: str, places: Places) -> Result:
    """Keep this machine's part of a restore point, and how that ended."""
    name = point or points.point_name(period, datetime.now(UTC))
    return _beside(
        f"backup-{period}", {"point": name}, lambda: backup.make(_backups(places), name), places
    )


def check_backup(period: str, places: Places) -> Result:
    """Restore this machine's part of a period's newest point into a scratch place (empty: of all
    periods), and keep how that ended."""
    name, now = f"check-{period or 'now'}", datetime.now(UTC)
    known = read_last(places.last).get(name, {})
    if not verify.is_due(period, known, now):
        return {**known, "skipped": f"{known.get('point')} was restored at {known.get('at')}"}
    return _beside(
        name, {}, lambda: verify.verify(_backups(places), period, now, places.scratch), places
    )


def _beside(name: str, result: Result, work: Callable[[], Result], places: Places) -> Result:
    """Do what takes long, and keep how it ended. Has a lock of its own: the minute's work goes on
    beside it."""
    started = time.monotonic()
    result = {"ok": True, "at": registry.now(), **result}
    # the disk's priority follows: visitors come first
    os.nice(_NICE)
    with locked(places.backup_lock, 1800.0) as free:
        try:
            if not free:
                raise AgentError("another backup has been running for more than half an hour")
            result.update(work())
        except (AgentError, OSError) as error:
            result.update(problem=str(error))
    result["ok"] = "problem" not in result
    result["seconds"] = round(time.monotonic() - started, 2)
    log.info("%s: %s", name, result.get("problem", "well"))
    with locked(places.lock, 120.0):
        return record(places.last, name, result)


def list_points(places: Places, second: bool) -> Result:
    """Return the restore points there are."""
    found = _backups(places, second)
    return {"ok": True, "points": points.points(found.repository, found.parts)}


def put_back(point: str, places: Places, second: bool) -> Result:
    """Put this machine's part of a restore point back."""
    with locked(places.backup_lock, 1800.0) as free:
        if not free:
            return {"ok": False, "problem": "a backup is being made"}
        return {"ok": True, **restore.restore(_backups(places, second), point)}


def put_file_back(point: str, path: str, places: Places, second: bool) -> Result:
    """Put one file of a restore point back."""
    with locked(places.backup_lock, 1800.0) as free:
        if not free:
            return {"ok": False, "problem": "a backup is being made"}
        return {"ok": True, **onefile.put_back(_backups(places, second), point, path)}


def begin_content(places: Places) -> Result:
    """Put what a deployment begins with here, as the order on standard input says: another one's
    restore point, or a baseline."""
    with locked(places.backup_lock, 1800.0) as free:
        if not free:
            return {"ok": False, "problem": "a backup is being made"}
        order = _order()
        begin = content.begin if "backup" in order else baseline.put
        return {"ok": True, **begin(order, places)}


def copy_database(verb: str, places: Places) -> Result:
    """Make, clean or drop a copy of the database, as the order on standard input says."""
    verbs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "make": scratch.make,
        "clean": partial(scratch.clean, places=places),
        "drop": scratch.drop,
    }
    return {"ok": True, **verbs[verb](_order())}


def _order() -> dict[str, Any]:
    try:
        order = json.load(sys.stdin)
    except ValueError as error:
        raise AgentError("standard input holds no order") from error
    if not isinstance(order, dict):
        raise AgentError("standard input holds no order")
    return order


def _backups(places: Places, second: bool = False) -> backup.Backup:
    found = configuration.load(places.config).backup
    if found is None:
        raise AgentError("this machine backs nothing up: the answers name no backups.periods")
    if second and found.second is None:
        raise AgentError("there is no second storage: the answers name no backups.second_storage")
    return found.places[-1][1] if second else found


def run_all(places: Places) -> Result:
    """Run every command, the shared configuration first because the others read it."""
    results = {name: perform(name, places) for name in COMMANDS}
    return {"ok": all(result["ok"] for result in results.values()), **results}


def status(places: Places) -> Result:
    """Return how the last runs ended and how the machine is now. Changes nothing, and touches
    nothing that could hang."""
    result: Result = {"ok": True, "version": 1, "agent": __version__, "time": registry.now()}
    commands = result["commands"] = read_last(places.last)
    problems = [
        f"{name}: {commands[name].get('problem', 'failed')}"
        if name in commands
        else f"{name}: never run"
        for name in COMMANDS
        if not commands.get(name, {}).get("ok")
    ]
    busy = held_for(places.lock)
    if busy is not None:
        result["running_for"] = round(busy, 1)
        if busy > STALE:
            problems.append(f"the agent has been running for {busy:.0f} s")
    try:
        config = configuration.load(places.config)
        result.update(name=config.name, role=config.role, health=health.facts(config))
        result["health"]["firewall_synced"] = _synced(config, places)
        states = result["health"]["services"] or {}
        problems += [f"{unit} is {state}" for unit, state in states.items() if state != "active"]
        failing = alarms.failing(commands)
        problems += [text for name, text in failing.items() if name.startswith(alarms.CRON)]
        if config.backup:
            problems += verify.problems(config.backup.periods, commands, datetime.now(UTC))
    except AgentError as error:
        problems.append(str(error))
    result["problems"] = problems
    result["ok"] = not problems
    return result


def _locked_out(places: Places) -> Result:
    busy = held_for(places.lock) or 0.0
    result: Result = {"ok": busy <= STALE, "skipped": f"another run began {busy:.0f} s ago"}
    if busy > STALE:
        log.warning("another run began %.0f s ago and has not ended", busy)
    return result


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="agent", description="Keeps this machine in line with its deployment."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    summaries = {name: call.__doc__ or "" for name, call in COMMANDS.items()}
    summaries["run"] = f"All of them in turn: {', '.join(COMMANDS)}. What cron calls."
    summaries["status"] = "Print how the last runs ended and how the machine is."
    for name, summary in summaries.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name != "status":
            command.add_argument(
                "--wait",
                type=float,
                default=0.0 if name == "run" else _WAIT,
                metavar="SECONDS",
                help="how long to wait for another run to end (default: %(default).0f)",
            )
    _backup_commands(commands)
    options = parser.parse_args(arguments)
    if options.command == "cron":
        return cronjob.run(options.name, options.user, options.words, places or Places())
    if options.command == "scratch" and options.verb == "dump":
        return scratch.dump(_order())
    if options.command == "print":
        return _print_file(options.point, options.path, places or Places(), options.second)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    result = _dispatch(options, places or Places())
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if result["ok"] else 1


def _print_file(point: str, path: str, places: Places, second: bool) -> int:
    try:
        return onefile.print_file(_backups(places, second), point, path)
    except (AgentError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _backup_commands(commands: Any) -> None:
    made = commands.add_parser("backup", help="Make this machine's part of a restore point.")
    made.add_argument("period", choices=points.PERIODS)
    made.add_argument("--point", default="", help="the point's name (default: that of now)")
    checked = commands.add_parser("check", help="Restore a newest point into a scratch place.")
    checked.add_argument("period", nargs="?", choices=("", *points.PERIODS), default="")
    listed = commands.add_parser("points", help="List the restore points.")
    _from_second(listed)
    for name, text in (
        ("show", "Show this machine's part of a restore point, and what a folder of it holds."),
        ("print", "Write one file of a restore point to standard output."),
        ("file", "Put one file of a restore point back."),
    ):
        one = commands.add_parser(name, help=text)
        one.add_argument("point")
        one.add_argument("path", nargs="?", default="")
        _from_second(one)
    back = commands.add_parser("restore", help="Put this machine's part of a restore point back.")
    back.add_argument("point")
    _from_second(back)
    commands.add_parser(
        "content", help="Begin with another deployment's restore point, or a baseline."
    )
    job = commands.add_parser("cron", help="Run a program for cron, and remember how it ended.")
    job.add_argument("--user", default="", help="run it as this user")
    job.add_argument("name", help="what it is called")
    job.add_argument("words", nargs="+", metavar="WORD", help="the program and its arguments")
    copy = commands.add_parser("scratch", help="Copy the database beside the live one.")
    copy.add_argument("verb", choices=("make", "clean", "dump", "drop"))


def _from_second(command: argparse.ArgumentParser) -> None:
    command.add_argument("--second", action="store_true", help="those of the second storage")


def _dispatch(options: argparse.Namespace, places: Places) -> Result:
    if options.command == "status":
        return status(places)
    try:
        if options.command == "backup":
            return make_backup(options.period, options.point, places)
        if options.command == "check":
            return check_backup(options.period, places)
        if options.command == "points":
            return list_points(places, options.second)
        if options.command == "restore":
            return put_back(options.point, places, options.second)
        if options.command == "show":
            source = _backups(places, options.second)
            return {"ok": True, **onefile.show(source, options.point, options.path)}
        if options.command == "file":
            return put_file_back(options.point, options.path, places, options.second)
        if options.command == "content":
            return begin_content(places)
        if options.command == "scratch":
            return copy_database(options.verb, places)
    except (AgentError, OSError) as error:
        return {"ok": False, "problem": str(error)}
    try:
        with locked(places.lock, options.wait) as free:
            if not free:
                return _locked_out(places)
            if options.command == "run":
                return run_all(places)
            return perform(options.command, places)
    except OSError as error:
        return {"ok": False, "problem": f"{places.lock}: {error.strerror}; run as root"}
