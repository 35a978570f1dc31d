"""Makes a baseline of a running deployment: a folder with a manifest, SQL and files.

The live site is only read. Its database is copied beside the live one on the database machine, and
cleaned there: what is private does not leave that machine. Names and addresses are replaced here.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath

from wizard import __version__
from wizard.applications import application
from wizard.applications.base import Application
from wizard.baselines import sql, texts, tree
from wizard.baselines.cleaning import PREFIX, Cleaning, statements
from wizard.baselines.manifest import DATABASE, FILES, MANIFEST, NONE, Manifest
from wizard.engine import agents, ssh
from wizard.engine.backups import LONGEST, keepers
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.jobs import hosts
from wizard.errors import NotSupportedError, UsageError
from wizard.home.files import make_folder, write_atomic
from wizard.machines import backups as machines
from wizard.machines.places import AGENT_PATH
from wizard.rules import Role
from wizard.secrets import Secret

KEPT = ("README.md", "LICENSE", "LICENSE.txt", "LICENCE")
"""Files of the one who shares it, which stay when it is made anew."""


@dataclass
class Order:
    """A baseline to make in `folder`; `tables` are patterns of further ones whose rows are taken
    (without prefix), besides those that answers name. What was done is in `left_out` (files) and
    `emptied` (tables); `named` are names of files in the rows (Cleaning.addressed)."""

    folder: Path
    author: str
    licence: str
    price: str
    tables: tuple[str, ...] = ()
    left_out: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    named: set[object] = field(default_factory=set)

    @property
    def new(self) -> Path:
        """Return where it is made, before it takes its place."""
        return self.folder.with_name(f".{self.folder.name}.new")


def steps(context: Context, order: Order) -> list[Step]:
    """Return the steps that make it. UsageError, NotSupportedError: it cannot be made."""
    app, cleaning = _application(context)
    _prepare(order)
    order.tables = (*context.answers.baselines.rows, *order.tables)
    keeper = keepers(context)
    files = keeper["files"]
    database = Step(
        "baseline:database",
        "copy the database, clean the copy, fetch it",
        partial(_database, context, order, app, cleaning, keeper.get("database", "")),
        machine=keeper.get("database", ""),
        expected=8,
    )
    before = [database] if "database" in keeper else []
    return [
        *before,
        Step(
            "baseline:files",
            "fetch the files",
            partial(_files, context, order, app, cleaning, files),
            needs=tuple(step.id for step in before),
            machine=files,
            expected=5,
        ),
        Step(
            "baseline:write",
            "write the manifest",
            partial(_write, context, order, app, cleaning, files),
            needs=("baseline:files",),
            machine=files,
            expected=2,
        ),
    ]


def _application(context: Context) -> tuple[Application, Cleaning]:
    plan = context.plan
    app = application(plan.application.kind)
    if app.cleaning is None:
        raise NotSupportedError(
            f"there are no baselines of {plan.application.kind}",
            where="application.kind",
            why="nobody here knows what of it is private",
            cure="what its code comes from can be shared; its content is in the temporal backups",
        )
    if plan.of_role(Role.DATABASE) and plan.database_engine not in app.cleaning.engines:
        raise NotSupportedError(
            f"there are no baselines of {plan.application.kind} with {plan.database_engine}",
            where="database.engine",
            why="what cleans them is other databases' SQL",
            cure="its content is in the temporal backups",
        )
    return app, app.cleaning


def _prepare(order: Order) -> None:
    """Make sure of the place. UsageError if it is something else's."""
    folder = order.folder
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{folder} holds something else", cure="name another folder with --into, or empty it"
        )
    make_folder(folder.parent)
    # one that was killed
    old = folder.with_name(f".{folder.name}.old")
    if old.is_dir() and not folder.is_dir():
        old.rename(folder)
    for left in (old, order.new):
        shutil.rmtree(left, ignore_errors=True)
    order.new.mkdir(mode=0o700)


# -- the database --------------------------------------------------------------------------------


def _database(
    context: Context,
    order: Order,
    app: Application,
    cleaning: Cleaning,
    machine: str,
    report: Reporter,
) -> str:
    plan = context.plan
    where = machines.database(
        plan.application.kind, plan.database_engine, managed=plan.database is not None
    )
    prefix = app.table_prefix(plan.deployment)

    def ask(verb: str, **more: object) -> list[str]:
        stdin = Secret(json.dumps({**where, **more}))
        answer = agents.demand(context, machine, "scratch", verb, seconds=LONGEST, stdin=stdin)
        return [str(table) for table in answer.get("tables", ())]

    try:
        found = ask("make")
        report.progress("cleaning the copy", 1, 3)
        made = statements(cleaning, found, prefix, order.tables)
        tables = sorted(ask("clean", statements=made, program=_program(context, cleaning)))
        order.emptied = sorted(
            bare
            for bare in (table.removeprefix(prefix) for table in tables)
            if not cleaning.takes_rows(bare, order.tables)
        )
        report.progress("fetching the copy", 2, 3)
        dump = order.new / "dump"
        with ssh.connect(agents.connection(context, machine)) as client, dump.open("wb") as into:
            command = (AGENT_PATH, "scratch", "dump")
            said = json.dumps({**where, "tables": tables})
            ssh.fetch(client, command, into, said, LONGEST)
    finally:
        with suppress(Exception):
            # the error that led here says more; the next one drops it too
            ask("drop")
    rows = 0
    with dump.open(encoding="utf-8", newline="\n") as lines:
        rows = _tables(context, order, cleaning, prefix, lines)
    dump.unlink()
    return f"{len(tables)} tables, {rows} rows; {len(order.emptied)} tables without rows"


def _program(context: Context, cleaning: Cleaning) -> str:
    """Return the SQL by which the application itself cleans a copy; empty: it has none."""
    if not cleaning.program:
        return ""
    machine, path = keepers(context)["files"], shlex.quote(cleaning.program)
    with ssh.connect(agents.connection(context, machine)) as client:
        found = io.BytesIO()
        ssh.fetch(client, ("sh", "-c", f"! test -e {path} || cat {path}"), found, seconds=60)
    if found.getbuffer().nbytes and context.plan.database is not None:
        raise NotSupportedError(
            f"{PurePosixPath(cleaning.program).name} is not run with a managed database",
            why="the account that it would be run by is this deployment's own server's",
            cure="name in baselines.rows only tables that need no cleaning, and take it away",
        )
    return found.getvalue().decode(errors="replace")


def _tables(
    context: Context,
    order: Order,
    cleaning: Cleaning,
    prefix: str,
    lines: Iterator[str] | io.TextIOBase,
) -> int:
    """Write a file for each table of a dump; return how many rows there are."""
    folder = order.new / DATABASE
    folder.mkdir()
    to_placeholders = texts.to_placeholders(hosts(context))
    prefixed = set(cleaning.prefixed)

    def change(data: bytes) -> bytes:
        return to_placeholders(texts.without_addresses(data))

    rows = 0
    file: io.TextIOBase | None = None
    try:
        for statement in _read(lines, prefix):
            if isinstance(statement, sql.Table):
                if file is not None:
                    file.close()
                path = folder / f"{statement.table}.sql"
                file = path.open("x", encoding="utf-8", newline="\n")
            else:
                rows += 1
                if cleaning.addressed and statement.table == cleaning.addressed[0]:
                    row = zip(statement.columns, statement.values, strict=True)
                    order.named.add(dict(row)[cleaning.addressed[1]])
                statement = statement.renamed(prefixed, prefix, PREFIX)
                statement = statement.mapped(lambda text: texts.changed(text, change))
            assert file is not None
            file.write(statement.written(PREFIX))
    except sql.SqlError as error:
        raise NotSupportedError(
            "a table of the application cannot be part of a baseline",
            why=str(error),
            cure="drop the table, or the plugin that made it",
        ) from error
    finally:
        if file is not None:
            file.close()
    return rows


def _read(lines: Iterator[str] | io.TextIOBase, prefix: str) -> Iterator[sql.Statement]:
    """Yield the statements of a dump, which ends lines with statements and rows with lines."""
    definition = ""
    for line in lines:
        if definition or line.startswith("CREATE TABLE"):
            definition += line
            if line.startswith(")"):
                yield from sql.read(definition, prefix)
                definition = ""
        elif line.startswith("INSERT"):
            yield from sql.read(line, prefix)
        # all else are settings for the server, and empty lines


# -- the files -----------------------------------------------------------------------------------


def _files(
    context: Context,
    order: Order,
    app: Application,
    cleaning: Cleaning,
    machine: str,
    report: Reporter,
) -> str:
    change = texts.to_placeholders(hosts(context)) if not cleaning.addressed else _unchanged
    count = size = 0
    archive = order.new / "archive"
    for name, folder in named(app).items():
        with ssh.connect(agents.connection(context, machine)) as client, archive.open("wb") as into:
            command = ("tar", "--create", "--sort=name", f"--directory={folder}", ".")
            ssh.fetch(client, command, into, seconds=LONGEST)
        report.progress(folder, 1, 2)
        uploads = uploads_below(app)
        with tarfile.open(archive) as packed:
            for member in packed:
                path = str(PurePosixPath(member.name))
                below = f"{name}/{path}"
                if member.isdir():
                    continue
                if (
                    not member.isreg()
                    or cleaning.leaves_out(path, context.answers.baselines.without)
                    or tree.leaves_out(below, uploads)
                    or (cleaning.addressed and PurePosixPath(path).name not in order.named)
                ):
                    order.left_out.append(below)
                    continue
                opened = packed.extractfile(member)
                assert opened is not None
                data = opened.read()
                size += _put(order.new / FILES / below, data, change)
                count += 1
        archive.unlink()
    return f"{count} files, {size >> 10} KiB; {len(order.left_out)} left out"


def _unchanged(data: bytes) -> bytes:
    return data


def _put(path: Path, data: bytes, change: Callable[[bytes], bytes]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = change(data)
    if new != data and tree.is_text(data):
        data = new
    path.write_bytes(data)
    return len(data)


def named(app: Application) -> dict[str, str]:
    """Return the application's writable folders by the name that they have in a baseline."""
    found = {PurePosixPath(folder).name: folder for folder in app.writable}
    assert len(found) == len(app.writable)
    return found


def uploads_below(app: Application) -> str:
    """Return where uploads are below `files`; empty: there are none. Where what it runs is not
    among what it writes, all of that is."""
    for name, folder in named(app).items():
        path = PurePosixPath(app.uploads or (folder if not app.code else "/"))
        if path == PurePosixPath(folder) or PurePosixPath(folder) in path.parents:
            return str(PurePosixPath(name) / path.relative_to(folder))
    return ""


# -- the manifest --------------------------------------------------------------------------------


def _write(
    context: Context,
    order: Order,
    app: Application,
    cleaning: Cleaning,
    machine: str,
    report: Reporter,
) -> str:
    with ssh.connect(agents.connection(context, machine)) as client:
        version = io.BytesIO()
        ssh.fetch(client, ("sh", "-c", cleaning.version), version, seconds=60)
    manifest = Manifest(
        application=context.plan.application.kind,
        application_version=version.getvalue().decode(errors="replace").strip()[:40],
        engine=engine(context),
        licence=order.licence,
        price=order.price,
        author=order.author,
        created=datetime.now(UTC).date().isoformat(),
        build_usb=__version__,
    )
    folder = order.folder
    for name in KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, order.new / name)
    seal(order.new, manifest)
    if (folder / ".git").is_dir():
        shutil.copytree(folder / ".git", order.new / ".git", symlinks=True)
    old = folder.with_name(f".{folder.name}.old")
    if folder.is_dir():
        folder.rename(old)
    order.new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return f"{manifest.application} {manifest.application_version}, in {folder}"


def engine(context: Context) -> str:
    """Return which database the deployment has, as manifests say it."""
    return context.plan.database_engine if context.plan.of_role(Role.DATABASE) else NONE


def paths(folder: Path) -> list[Path]:
    """Return what is in a baseline's folder but for its repository, sorted."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(p for p in found if p.relative_to(folder).parts[0] != ".git")


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest with the checksums of what is in the folder, and return it."""
    sums = {
        str(path.relative_to(folder)): _sum(path)
        for path in paths(folder)
        if path.is_file() and not path.is_symlink() and path.relative_to(folder) != Path(MANIFEST)
    }
    sealed = replace(manifest, files=sums)
    write_atomic(folder / MANIFEST, sealed.written(), mode=0o644)
    return sealed


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
