"""A deployment that begins with a baseline: fetched, verified and checked on this computer before
anything is made; what machines get of it is written anew here."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from wizard.answers.sections import Baseline
from wizard.applications import application
from wizard.applications.base import Application
from wizard.baselines import sql, texts, tree
from wizard.baselines.cleaning import PREFIX
from wizard.baselines.manifest import DATABASE, FILES, NONE, Manifest
from wizard.baselines.tree import Refused
from wizard.engine import agents, open, ssh
from wizard.engine import baseline_repository as repository
from wizard.engine.backups import LONGEST, keepers
from wizard.engine.baseline_make import engine, named, uploads_below
from wizard.engine.baseline_repository import Fetched
from wizard.engine.context import OWN, BaselineParts, Context
from wizard.engine.graph import Reporter, Step
from wizard.errors import AnswersError, MachineError
from wizard.home.files import make_folder
from wizard.secrets import Secret

FETCH = "baseline"
_INCOMING = "/var/lib/build-usb/incoming"


def wanted(context: Context) -> Baseline | None:
    """Return the baseline that is still to be put here, None if there is none or it is here."""
    source = context.answers.application.source
    return source if isinstance(source, Baseline) and not context.state.content else None


def fetched(context: Context) -> tuple[str, ...]:
    """Return the step that fetches it, if there is one: nothing is begun before."""
    return (FETCH,) if wanted(context) else ()


def steps(context: Context, put: str) -> list[Step]:
    """Return the steps that put it on the machines; `put` is the id of the last one."""
    source = wanted(context)
    if source is None:
        return []
    keeper = keepers(context)
    ready = (FETCH, *(f"configure:{name}" for name in keeper.values()))
    database = Step(
        "content:database",
        "load the baseline's database",
        partial(_load, context, keeper.get("database", "")),
        needs=ready,
        machine=keeper.get("database", ""),
        expected=5,
    )
    before = [database] if "database" in keeper else []
    return [
        Step(FETCH, "fetch and verify the baseline", partial(_fetch, context, source), expected=3),
        *before,
        Step(
            put,
            "unpack the baseline's files",
            partial(_unpack, context, keeper["files"]),
            needs=tuple(step.id for step in before) or ready,
            machine=keeper["files"],
            expected=5,
        ),
    ]


def _fetch(context: Context, source: Baseline, report: Reporter) -> str:
    token = None
    if source.credentials is not None:
        where = "application.source.credentials"
        token = open.credential(source.credentials, context.credentials, where)
    signers = source.signers or (repository.own_key(context.credentials).public,)
    app = application(context.plan.application.kind)
    report.progress(source.repository, 0, 2)
    with repository.fetched(source.repository, source.revision, token, signers) as found:
        try:
            manifest = tree.check(found.entries, found.read, list(named(app)), uploads_below(app))
            _refuse_other(context, manifest)
        except Refused as refused:
            raise AnswersError(
                "the baseline is refused: it holds what no baseline may",
                refused.problems,
                where=source.repository,
                cure="tell who shares it; nothing of it was used",
            ) from refused
        report.progress("writing it anew", 1, 2)
        context.baseline = _written(context, app, found)
    return (
        f"{found.commit[:12]}: {manifest.application} {manifest.application_version} of "
        f"{manifest.created}{f' by {manifest.author}' if manifest.author else ''}"
    )


def _refuse_other(context: Context, manifest: Manifest) -> None:
    """Raise Refused if it is of another application, or of another kind of database."""
    plan = context.plan
    problems = []
    if manifest.application != plan.application.kind:
        problems.append(f"it is of {manifest.application}, not of {plan.application.kind}")
    own = engine(context)
    like = ({"mariadb", "mysql"}, {"postgresql"}, {NONE})
    if not any({manifest.engine, own} <= engines for engines in like):
        problems.append(f"its database is {manifest.engine}, not {own}")
    if problems:
        raise Refused(problems)


def _written(context: Context, app: Application, found: Fetched) -> BaselineParts:
    """Write what machines get, with this deployment's names, and return where it is."""
    plan = context.plan.application
    prefix = app.table_prefix(context.plan.deployment)
    folder = context.home.folder / "baseline"
    make_folder(folder)
    parts = BaselineParts(
        f"baseline {found.commit[:12]}", folder / "database.sql", folder / "files.tar"
    )
    in_rows = texts.from_placeholders(plan.hosts[0], plan.admin_email, plan.title)
    in_files = texts.from_placeholders(plan.hosts[0], plan.admin_email)
    prefixed = set(app.cleaning.prefixed) if app.cleaning else set()
    addressed = app.cleaning is not None and app.cleaning.addressed is not None
    paths = sorted(entry.path for entry in found.entries)
    with parts.database.open("w", encoding="utf-8", newline="\n") as out:
        for path in paths:
            if path.startswith(f"{DATABASE}/"):
                for statement in sql.read(found.read(path).decode(), PREFIX):
                    if isinstance(statement, sql.Row):
                        statement = statement.renamed(prefixed, PREFIX, prefix)
                        statement = statement.mapped(lambda text: texts.changed(text, in_rows))
                    out.write(statement.written(prefix))
    with tarfile.open(parts.files, "w") as archive:
        for path in paths:
            if path.startswith(f"{FILES}/"):
                data = found.read(path)
                new = data if addressed else in_files(data)
                data = new if new != data and tree.is_text(data) else data
                member = tarfile.TarInfo(path.removeprefix(f"{FILES}/"))
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
    return parts


def _load(context: Context, machine: str, report: Reporter) -> str:
    assert context.baseline is not None
    own = {"database": context.plan.application.kind}
    answer = _put(context, machine, context.baseline.database, own)
    if answer["state"] == "kept":
        context.update(lambda state: replace(state, content=OWN))
        return "the database holds content already: it is kept"
    return context.baseline.point


def _unpack(context: Context, machine: str, report: Reporter) -> str:
    parts = context.baseline
    assert parts is not None
    if context.state.content:
        return "kept"
    folders = named(application(context.plan.application.kind))
    with tarfile.open(parts.files) as archive:
        there = {name.split("/", 1)[0] for name in archive.getnames()}
    own = {"folders": {name: folder for name, folder in folders.items() if name in there}}
    _put(context, machine, parts.files, own)
    context.update(lambda state: replace(state, content=parts.point))
    for file in (parts.database, parts.files):
        file.unlink(missing_ok=True)
    return parts.point


def _put(context: Context, machine: str, file: Path, own: dict[str, Any]) -> dict[str, Any]:
    """Carry a file to a machine and have its agent put it in place."""
    assert context.baseline is not None
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    there = f"{_INCOMING}-{digest[:16]}"
    context.journal.record("intent", f"content {machine}", point=context.baseline.point)
    with ssh.connect(agents.connection(context, machine)) as client:
        made = ssh.run(client, ("install", "-d", "-m", "0700", _INCOMING.rpartition("/")[0]))
        if made[0]:
            raise MachineError(
                "the baseline cannot be put there", where=machine, why=made[2][-500:]
            )
        with client.open_sftp() as files:
            files.put(str(file), there)
            files.chmod(there, 0o600)
    order = {**own, "point": context.baseline.point, "file": there, "digest": digest}
    stdin = Secret(json.dumps(order))
    answer = agents.demand(context, machine, "content", seconds=LONGEST, stdin=stdin)
    context.journal.record("done", f"content {machine}", point=context.baseline.point)
    return answer
