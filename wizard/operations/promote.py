"""Leads a site from development to production: what the steps of a promotion do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from wizard.answers import loader, support
from wizard.answers.model import Answers
from wizard.answers.sections import Release
from wizard.engine import graph
from wizard.engine.baseline_make import Order
from wizard.engine.examine import Report, Visitor, examine
from wizard.engine.graph import Reporter, Step
from wizard.errors import AnswersError, MachineError, UsageError
from wizard.events import Event, EventKind, EventSink, Progress, tee
from wizard.home.files import append_line
from wizard.home.home import Home
from wizard.home.lock import locked
from wizard.operations import baselines, points, run, scaling
from wizard.operations.promotion import (
    STEPS,
    By,
    Promotion,
    forget,
    keep,
    make_folders,
    production_answers,
    test_answers,
    test_domain_of,
)
from wizard.operations.run import Show
from wizard.operations.session import Session, make_plan, read_answers, read_state
from wizard.rules import Role


def begin(
    session: Session,
    development: str,
    answers: Answers,
    *,
    test_domain: str | None = None,
    by: By = "baseline",
    ends: bool = False,
) -> Promotion:
    """Record a new promotion to what production's answers say. AnswersError, UsageError: it cannot
    be."""
    home = session.home
    before = read_answers(home.deployment(development))
    domain = test_domain or test_domain_of(answers)
    promotion = Promotion(
        development=development,
        production=answers.name,
        test=f"{answers.name[:19]}-test",
        test_domain=domain,
        by=by,
        answers=loader.dumps(answers),
        ends=ends,
    )
    problems = []
    if answers.name == development:
        problems.append(f"name: production needs another name than {development}")
    if answers.name in home.deployments():
        problems.append(f"name: there is a deployment called {answers.name} already")
    if answers.application.kind != before.application.kind:
        problems.append(f"application.kind: {development} is {before.application.kind}")
    shared = {answers.domain.name, *answers.domain.aliases} & {
        before.domain.name,
        *before.domain.aliases,
    }
    if shared and answers.dns.provider != "none":
        problems.append(
            f"domain.name: {', '.join(sorted(shared))} leads to {development}, whose DNS records "
            "nobody else may change: production has names of its own"
        )
    if domain in (answers.domain.name, before.domain.name):
        problems.append(f"the test domain: {domain} is in use; name one with --test-domain")
    if by == "backup" and not before.backups.periods:
        problems.append(
            f"backups.periods: {development} makes no backups; deploy it with some, or take a "
            "baseline"
        )
    problems += _of_the_release(by, before, answers)
    if problems:
        raise AnswersError(
            "this cannot be promoted so", problems, cure="change what is named, then again"
        )
    for made in (test_answers(promotion), production_answers(promotion)):
        support.refuse_unsupported(made, made.name)
    # those of a promotion before
    (home.deployment(development).promotion / "events.jsonl").unlink(missing_ok=True)
    return keep(home, promotion)


def _of_the_release(by: By, before: Answers, answers: Answers) -> Iterator[str]:
    """Yield why an application is not promoted by this way, or with this release."""
    kind, name = answers.application.kind, before.name
    if by == "baseline" and kind not in support.BEGIN_WITH["baseline"]:
        yield f"--by: {kind} has no baselines; take a restore point: --by backup"
    had, has = before.application.code, answers.application.code
    if isinstance(had, Release) and isinstance(has, Release) and had.sha256 != has.sha256:
        yield (
            f"application.source.release: {name} runs the release {had.sha256[:16]}, and its copy "
            f"does not fit {has.sha256[:16]}; name that one, and deploy a newer one afterwards"
        )


def costs(session: Session, promotion: Promotion) -> str:
    """Return in words what will be rented (slow). Raises BuildUsbError."""
    test, lasting = (
        make_plan(session.home, answers, session.credentials)
        for answers in (test_answers(promotion), production_answers(promotion))
    )
    name = promotion.production
    return (
        f"Price per month: {name} {lasting.monthly_price:.2f} {lasting.currency}; {promotion.test} "
        f"{test.monthly_price:.2f} {test.currency}, until {name} is examined."
    )


@contextmanager
def at_work(
    session: Session, development: str, show: Show, doing: str = "promote"
) -> Iterator[Show]:
    """Keep others off the promotion meanwhile, and what is shown in its events.jsonl; yields what
    to show steps with. LockedError: another run works on it."""
    deployment = session.home.deployment(development)
    make_folders(deployment)
    what = f"{doing} {development}"
    with locked(deployment.promotion / "lock", f"promote {development}"):
        last, writing = run.announcement(what, ()), threading.Lock()

        def write(event: Event) -> None:
            nonlocal last
            with writing:
                last = event
                append_line(deployment.promotion / "events.jsonl", event.to_json())

        @contextmanager
        def both(steps: Sequence[Step]) -> Iterator[EventSink]:
            with show(steps) as sink:
                yield tee(write, sink)

        write(last)
        try:
            yield both
        except BaseException as error:
            if last.kind is not EventKind.RUN_FAILED:  # else the run within has told
                told = str(error) or type(error).__name__
                secrets = [secret for _, secret in baselines.known(session)]
                failed = Event(EventKind.RUN_FAILED, told, data=run.parts(error))
                run.redacting(write, lambda: secrets)(failed)
            raise
        write(Event(EventKind.RUN_DONE, what))


# -- going on ------------------------------------------------------------------------------------


def advance(session: Session, promotion: Promotion, show: Show, stop: threading.Event) -> Promotion:
    """Do the next step and return the promotion as recorded then; the last one is forgotten."""
    home, step = session.home, promotion.ahead[0]
    promotion = keep(home, replace(promotion, begun=step))
    what = _DO[step](session, promotion, show, stop)
    promotion = keep(home, replace(promotion, done=(*promotion.done, (step, what)), begun=""))
    if not promotion.ahead:
        forget(home, promotion)
    return promotion


def undo(session: Session, promotion: Promotion, show: Show, stop: threading.Event) -> None:
    """Take the test deployment away and forget the promotion. UsageError: it is too late."""
    if not promotion.can_be_undone:
        raise UsageError(
            f"names may point at {promotion.production} already: this cannot be undone as a whole",
            cure=f"go on (build-usb promote {promotion.development}), or deploy "
            f"{promotion.development} again and destroy {promotion.production}",
        )
    _end(session, promotion.test, show, stop)
    forget(session.home, promotion)


def _copy(session: Session, promotion: Promotion, show: Show, stop: threading.Event) -> str:
    home = session.home
    deployment = home.deployment(promotion.development)
    if promotion.by == "backup":
        return points.backup(session, deployment, show, stop)
    folder = baselines.folder_of(home, promotion.development)
    order = Order(folder=folder, author="", licence="unspecified", price="")
    baselines.create(session, deployment, order, show, stop)
    return f"{folder} {baselines.publish(session, folder, None, None)}"


def _deploy(session: Session, answers: Answers, show: Show, stop: threading.Event) -> str:
    context, _ = run.deploy(session, answers, show, stop)
    return context.state.url


def _test(session: Session, promotion: Promotion, show: Show, stop: threading.Event) -> str:
    return _deploy(session, test_answers(promotion), show, stop)


def _production(session: Session, promotion: Promotion, show: Show, stop: threading.Event) -> str:
    return _deploy(session, production_answers(promotion), show, stop)


def check(session: Session, promotion: Promotion, name: str, progress: Progress) -> Report:
    """Examine every webserver of one of the promotion's deployments."""
    deployment = session.home.deployment(name)
    scaling.refresh(session, deployment)  # autoscalers may have replaced some
    state = read_state(deployment)
    host = read_answers(deployment).domain.name
    before = read_state(session.home.deployment(promotion.development))
    former = [n for n in before.hosts if n not in state.hosts]
    former += [m.public_address for m in before.machines.values()]
    total = Report()
    webservers = [m for m in state.machines.values() if m.role is Role.WEBSERVER]
    for number, machine in enumerate(webservers):
        progress(machine.name, number, len(webservers))
        with Visitor(host, machine.access_address, state.authority_root) as visitor:
            found = examine(
                visitor,
                former=former,
                login=state.login_url.removeprefix(state.url.rstrip("/")),
                user=state.admin_user,
                password=session.secrets(deployment).get("admin_password"),
            )
        total.add(found, machine.name)
    return total


def _examined(
    session: Session, promotion: Promotion, name: str, show: Show, stop: threading.Event
) -> str:
    def examined(reporter: Reporter) -> str:
        return _well(session, promotion, name, check(session, promotion, name, reporter.progress))

    steps = [Step("examine", f"examine {name}", examined)]
    with show(steps) as sink:
        sink(run.announcement(f"examine {name}", steps))
        (result,) = graph.run(steps, sink, stop)
    return result.message


def _well(session: Session, promotion: Promotion, name: str, report: Report) -> str:
    if report.problems:
        raise MachineError(
            f"{name} is not as it should be: {len(report.problems)} problems",
            where=read_state(session.home.deployment(name)).url,
            why="\n".join(report.problems[:20]),
            cure="look at it in a browser; then change the development site and begin anew "
            "(--undo), or go on in spite of it (--past-check)",
        )
    return str(report)


def _end(session: Session, name: str, show: Show, stop: threading.Event) -> str:
    if name not in session.home.deployments():
        return "is gone"
    deployment = session.home.deployment(name)
    answers = read_answers(deployment)
    run.destroy(session, deployment, answers, show, stop, last_backup=bool(answers.backups.periods))
    return "is gone"


def pass_check(home: Home, promotion: Promotion) -> Promotion:
    """Record that the next step, a check, is passed by decision of a person. UsageError."""
    step = promotion.ahead[0]
    if not step.startswith("check-"):
        raise UsageError(f"the next step is no check: {STEPS[step]}")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    done = (*promotion.done, (step, f"passed by decision, {when}"))
    return keep(home, replace(promotion, done=done, begun=""))


_Do = Callable[[Session, Promotion, Show, threading.Event], str]
_DO: dict[str, _Do] = {
    "copy": _copy,
    "test": _test,
    "check-test": lambda session, p, show, stop: _examined(session, p, p.test, show, stop),
    "production": _production,
    "check-production": lambda session, p, show, stop: _examined(
        session, p, p.production, show, stop
    ),
    "end-test": lambda session, p, show, stop: _end(session, p.test, show, stop),
    "end-development": lambda session, p, show, stop: _end(session, p.development, show, stop),
}
