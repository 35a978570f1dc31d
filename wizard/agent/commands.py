"""The agent's commands. Each prints one line of JSON and ends with 0 (well) or 1 (a problem)."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from wizard import __version__
from wizard.agent import backup, content, edge, health, mount, peers, registry, ufw
from wizard.agent import config as configuration
from wizard.agent.config import Config, Peer
from wizard.agent.errors import AgentError
from wizard.agent.guard import TimeLimit
from wizard.agent.state import Places, held_for, locked, read_last, record, write_whole

log = logging.getLogger(__name__)
Result = dict[str, Any]
# seconds; together under STALE, so that a run which is older hangs in a way nobody thought of.
# 100 peers that all are new take ufw about 30 s.
LIMITS = {"mount": 80.0, "edge": 35.0, "firewall": 150.0, "heartbeat": 30.0}
STALE = 300.0
_WAIT = 60.0


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
    problems = [problem] if problem else []
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
    try:
        known = peers.last_good(config, places.config, places.peers)
        return ufw.is_synced(config, known, ufw.look(places))
    except AgentError:
        return None


COMMANDS: dict[str, Callable[[Config, Places], Result]] = {
    "mount": run_mount,
    "edge": run_edge,
    "firewall": run_firewall,
    "heartbeat": run_heartbeat,
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
    """Keep this machine's part of a restore point, and how that ended. Has a lock of its own: the
    minute's work goes on beside it."""
    started = time.monotonic()
    result: Result = {"ok": True, "at": registry.now()}
    name = point or backup.point_name(period, datetime.now(UTC))
    with locked(places.backup_lock, 1800.0) as free:
        try:
            if not free:
                raise AgentError("another backup has been running for more than half an hour")
            result.update(backup.make(_backups(places), name))
        except (AgentError, OSError) as error:
            result.update(point=name, problem=str(error))
    result["ok"] = "problem" not in result
    result["seconds"] = round(time.monotonic() - started, 2)
    log.info("backup %s: %s", name, result.get("problem", "kept"))
    with locked(places.lock, 120.0):
        return record(places.last, f"backup-{period}", result)


def list_points(places: Places) -> Result:
    """Return the restore points there are."""
    return {"ok": True, "points": backup.points(_backups(places))}


def restore(point: str, places: Places) -> Result:
    """Put this machine's part of a restore point back."""
    with locked(places.backup_lock, 1800.0) as free:
        if not free:
            return {"ok": False, "problem": "a backup is being made"}
        return {"ok": True, **backup.restore(_backups(places), point)}


def begin_content(places: Places) -> Result:
    """Put another deployment's restore point here, as the order on standard input says."""
    with locked(places.backup_lock, 1800.0) as free:
        if not free:
            return {"ok": False, "problem": "a backup is being made"}
        try:
            order = json.load(sys.stdin)
        except ValueError as error:
            raise AgentError("standard input holds no order") from error
        return {"ok": True, **content.begin(order, places)}


def _backups(places: Places) -> backup.Backup:
    found = configuration.load(places.config).backup
    if found is None:
        raise AgentError("this machine backs nothing up: the answers name no backups.periods")
    return found


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
        if config.backup:
            problems += backup.overdue(config.backup, commands, datetime.now(UTC))
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
    summaries["run"] = "All of them in turn: mount, edge, firewall, heartbeat. What cron calls."
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
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    result = _dispatch(options, places or Places())
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if result["ok"] else 1


def _backup_commands(commands: Any) -> None:
    made = commands.add_parser("backup", help="Make this machine's part of a restore point.")
    made.add_argument("period", choices=backup.PERIODS)
    made.add_argument("--point", default="", help="the point's name (default: that of now)")
    commands.add_parser("points", help="List the restore points.")
    back = commands.add_parser("restore", help="Put this machine's part of a restore point back.")
    back.add_argument("point")
    commands.add_parser("content", help="Begin with a restore point of another deployment.")


def _dispatch(options: argparse.Namespace, places: Places) -> Result:
    if options.command == "status":
        return status(places)
    try:
        if options.command == "backup":
            return make_backup(options.period, options.point, places)
        if options.command == "points":
            return list_points(places)
        if options.command == "restore":
            return restore(options.point, places)
        if options.command == "content":
            return begin_content(places)
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
