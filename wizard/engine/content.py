"""The content that a new deployment begins with when its answers name a backup.

The points are in the object storage of the deployment they are of, which may be another one's and
elsewhere. The machines fetch them (wizard.agent.content); what opens them goes to the machines on
standard input, for as long as they read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from wizard.agent.points import DATABASE, FILES
from wizard.answers import MOVES
from wizard.answers.sections import Backup
from wizard.applications import application
from wizard.engine import agents, baseline_put, code, gather, open
from wizard.engine.backups import LONGEST, keepers, kept_password
from wizard.engine.context import OWN, Context
from wizard.engine.graph import Reporter, Step
from wizard.errors import UsageError
from wizard.machines import backups as machines
from wizard.providers.base import ObjectStorage
from wizard.secrets import Secret
from wizard.storage.names import bucket_prefix
from wizard.storage.s3 import S3Bucket, find_buckets

PUT = "content:files"
"""The step after which the machines hold what the deployment begins with."""


def wanted(context: Context) -> Backup | None:
    """Return the backup that is still to be put here, None if there is none or it is here."""
    source = context.answers.application.source
    return source if isinstance(source, Backup) and not context.state.content else None


def begins(context: Context) -> bool:
    """Say whether there is something to be put here before the application is set up."""
    return wanted(context) is not None or baseline_put.wanted(context) is not None


def steps(context: Context) -> list[Step]:
    """Return the steps that put a backup, or a baseline, on the machines, before the application is
    set up, and gather what of it other webservers have in common."""
    put = _backup(context) if wanted(context) else baseline_put.steps(context, PUT)
    return [*put, *gather.steps(context, (PUT,) if put else ())]


def _backup(context: Context) -> list[Step]:
    """Return the steps that put a backup there. Its point is chosen where the database is, if there
    is one; the files are of the same."""
    keeper = keepers(context)
    ready = (*code.fetched(context), *(f"configure:{name}" for name in keeper.values()))
    database = Step(
        "content:database",
        "fetch the database from the backup",
        partial(_database, context),
        needs=ready,
        machine=keeper.get(DATABASE, ""),
        expected=10,
    )
    files = Step(
        PUT,
        "fetch the files from the backup",
        partial(_files, context),
        needs=(database.id,) if DATABASE in keeper else ready,
        machine=keeper[FILES],
        expected=10,
    )
    return [database, files] if DATABASE in keeper else [files]


def check(context: Context) -> None:
    """Raise an error while nothing is made yet if the backup cannot be reached or opened."""
    source = wanted(context)
    if source is not None:
        storage = _storage(context, source)
        bucket = S3Bucket(_bucket(context, source, storage), storage)
        if bucket.get("config") is None:
            raise UsageError(
                f"the bucket {bucket.name} holds no backups",
                where="application.source.bucket",
                cure="name the bucket that `build-usb plan` shows for the deployment it is of",
            )
        _password(context, source)


def _database(context: Context, report: Reporter) -> str:
    plan = context.plan
    own = machines.database(
        plan.application.kind, plan.database_engine, managed=plan.database is not None
    )
    if context.state.deployed_at:
        return _kept(context)
    answer = _begin(context, DATABASE, own)
    if answer["state"] == "kept":
        return _kept(context)
    context.begins_with = answer["point"]
    return f"as of {answer['point']}"


def _kept(context: Context) -> str:
    context.update(lambda state: replace(state, content=OWN))
    return "the site holds content already: it is kept"


def _files(context: Context, report: Reporter) -> str:
    if context.state.content:
        return "kept"
    if context.state.deployed_at:
        return _kept(context)
    folders = list(application(context.plan.application.kind).writable)
    answer = _begin(context, FILES, {"folders": folders}, context.begins_with)
    point, hosts = str(answer["point"]), tuple(answer["hosts"])
    context.update(lambda state: replace(state, content=point, former_hosts=hosts))
    said = [f"as of {point}", *_about(context, answer)]
    return "; ".join(said)


def _about(context: Context, answer: dict[str, Any]) -> Iterator[str]:
    """Yield what a person has to know of what was put there."""
    if answer.get("naming"):
        yield f"{answer['naming']} files name the old domain, such as {answer['files'][0]}"
    if context.plan.application.kind not in MOVES and DATABASE in keepers(context):
        yield "texts in the database are as they were: where they name the old domain they still do"
    made, now = str(answer.get("code", "")), context.code.settings.digest if context.code else ""
    if made and now and not now.startswith(made):
        yield f"it was made of the code {made}, this is {now[:16]}"


def _begin(context: Context, part: str, own: dict[str, Any], point: str = "") -> dict[str, Any]:
    source = wanted(context)
    assert source is not None
    storage = _storage(context, source)
    place = machines.place(
        storage.machine_endpoint, storage.region, _bucket(context, source, storage)
    )
    order = {
        "backup": {**place, "part": part, "parts": list(keepers(context)), **own},
        "password": _password(context, source).reveal(),
        "credentials": machines.credentials(storage.access_key, storage.secret_key.reveal()),
        "release": source.release.sha256 if source.release else "",
        "point": point,
        "period": source.period,
        # the whole of that minute
        "before": source.at.replace("Z", ":59+00:00") if source.at else "",
    }
    machine = keepers(context)[part]
    context.journal.record("intent", f"content {part}", point=point or source.period)
    answer = agents.demand(
        context, machine, "content", seconds=LONGEST, stdin=Secret(json.dumps(order))
    )
    if answer["state"] == "refused":
        raise _of_another(source, answer)
    context.journal.record("done", f"content {part}", point=answer["point"])
    return answer


def _of_another(source: Backup, found: dict[str, Any]) -> UsageError:
    named = source.release.sha256[:16] if source.release else ""
    return UsageError(
        f"the restore point {found['point']} is of another release than the answers name",
        where="application.source.release.sha256",
        why=f"it was made of the release {found['code']}, the answers name {named}: a database "
        "cannot be downgraded, and is upgraded with a restore point of its own only",
        cure=f"name the release whose checksum begins with {found['code']} and deploy again; name "
        "a newer one after that",
    )


def _storage(context: Context, source: Backup) -> ObjectStorage:
    cloud = context.answers.provider
    if source.storage is not None:
        where = "application.source.storage"
        return open.storage_of(source.storage, cloud.name, cloud.region, context.credentials, where)
    own = open.storage(context.answers, context.services, context.credentials)
    if own.by_role:
        raise UsageError(
            "the answers do not say with which keys machines may read the backup",
            where="application.source.storage.credentials",
            why="machines reach the deployment's own bucket by their role, which opens no other",
            cure="name storage.provider, storage.region and a source of ACCESS_KEY:SECRET_KEY that "
            "may read the backup's bucket",
        )
    return own


def _deployment(context: Context, source: Backup) -> str:
    return source.deployment or context.plan.deployment


def _bucket(context: Context, source: Backup, storage: ObjectStorage) -> str:
    if source.bucket:
        return source.bucket
    name = _deployment(context, source)
    found = [b for b in find_buckets(storage, name) if b.endswith("-backups")]
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"{'several buckets hold' if found else 'no bucket holds'} backups of {name}",
        where="application.source.bucket",
        why=", ".join(found) or f"none is called {bucket_prefix(name)}…-backups and tagged as its",
        cure="name the bucket, and the storage it is in",
    )


def _password(context: Context, source: Backup) -> Secret:
    if source.password is not None:
        return open.credential(source.password, context.credentials, "application.source.password")
    name = _deployment(context, source)
    kept = context.credentials.get(kept_password(name))
    if kept is None and name in context.home.home.deployments():
        other = context.home.home.deployment(name).vault(context.secrets.vault)
        kept = other.get("backup_password")
    if kept is None:
        raise UsageError(
            f"this build home does not keep what opens the backups of {name}",
            where="application.source.password",
            cure=f"where it is kept: build-usb secret backup_password, or {kept_password(name)} "
            "when it is destroyed; then here: build-usb secret set NAME, and name {home: NAME}",
        )
    return kept
