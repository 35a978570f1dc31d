"""Runs a deployment or takes one away, under its lock, with its events kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.engine import fleets, graph, letting_in, managed
from wizard.engine import state as states
from wizard.engine.context import Context
from wizard.engine.deploy import steps as deploy_steps
from wizard.engine.destroy import destroy as run_destroy
from wizard.engine.fleets import Record
from wizard.engine.graph import Step, StepResult
from wizard.engine.machine import write_ssh_files
from wizard.engine.state import State
from wizard.errors import BuildUsbError, NotSupportedError, ProviderError
from wizard.events import Event, EventKind, EventSink, silent, tee
from wizard.home.files import append_line, write_atomic
from wizard.home.home import DeploymentHome
from wizard.operations import timings
from wizard.operations.session import Session, make_context, read_answers, read_state
from wizard.secrets import Secret, redact

Show = Callable[[Sequence[Step]], AbstractContextManager[EventSink]]
"""Opens a display for the steps of a run."""


def deploy(
    session: Session, answers: Answers, show: Show, stop: threading.Event
) -> tuple[Context, list[StepResult]]:
    """Make the answers true and return the run's context and how each step ended."""
    deployment = session.home.deployment(answers.name)
    with deployment.lock(f"deploy {answers.name}"):
        state = states.load(deployment.state_file)
        managed.refuse_change(answers, state)
        _refuse_other_mode(deployment, answers, state)
        write_atomic(deployment.answers_file, loader.dumps(answers).encode())
        context = make_context(session, deployment, answers)
        context.provider.check()
        follow(context)
        like = timings.of_run(answers.provider.name, context.state)
        steps = timings.expected(session.home, like, deploy_steps(context))
        results = _run_steps("deploy", context, steps, show, stop)
        timings.record(session.home, like, results)
        return context, results


def _refuse_other_mode(deployment: DeploymentHome, answers: Answers, state: State | None) -> None:
    """Refuse to make a deployment of the other mode of one that has machines."""
    if not deployment.exists() or state is None or not state.machines:
        return
    before = read_answers(deployment).mode
    if before != answers.mode:
        raise NotSupportedError(
            f"{deployment.name} runs in {before} mode, and its mode cannot be changed",
            where="mode",
            why="webservers that come and go have keys and files in common from their birth on",
            cure=f"deploy under another name, or destroy {deployment.name} first",
        )


def destroy(
    session: Session,
    deployment: DeploymentHome,
    answers: Answers,
    show: Show,
    stop: threading.Event,
    *,
    last_backup: bool = True,
    with_backups: bool = False,
) -> list[StepResult]:
    """Take everything of the deployment away, then its folder in the build home; see
    engine.destroy for what becomes of its backups."""
    with deployment.lock(f"destroy {deployment.name}"):
        context = make_context(session, deployment, answers)
        context.provider.check()
        # what cannot be read must not keep anything from being taken away
        with suppress(ProviderError):
            follow(context)
        with show(()) as sink:
            results = _recorded(
                "destroy",
                context,
                (),
                sink,
                lambda record: run_destroy(
                    context, record, stop, last_backup=last_backup, with_backups=with_backups
                ),
            )
        deployment.delete()
        return results


def follow(context: Context) -> Record | None:
    """Take over what autoscalers have made of the webservers, if there are any at work."""
    if context.plan.mode != "production" or not context.state.machines:
        return None
    if context.bucket is None:
        context.connect(silent)
    assert context.bucket is not None
    if not context.bucket.exists():
        return None  # a deploy that was killed early, or a destroy that was killed late
    record = fleets.follow(context)
    if record is not None:
        write_ssh_files(context)
    return record


def on_running(
    what: str,
    session: Session,
    deployment: DeploymentHome,
    show: Show,
    stop: threading.Event,
    steps_of: Callable[[Context], list[Step]],
) -> list[StepResult]:
    """Run steps on a deployment as it was last deployed."""
    with deployment.lock(what):
        context = make_context(session, deployment, read_answers(deployment))
        context.provider.check()
        context.connect(silent)
        follow(context)
        steps = letting_in.before(context, steps_of(context))
        return _run_steps(what.partition(" ")[0], context, steps, show, stop)


def let_in(
    session: Session, deployment: DeploymentHome, show: Show, stop: threading.Event
) -> tuple[str, bool]:
    """Let this computer in at its address of now; return that, and whether it was another one."""
    moved: list[bool] = []

    def steps(context: Context) -> list[Step]:
        moved.append(letting_in.has_moved(context))
        return [] if moved[0] else letting_in.steps(context)

    on_running(f"let-in {deployment.name}", session, deployment, show, stop, steps)
    return read_state(deployment).build_machine, moved[0]


def _run_steps(
    what: str, context: Context, steps: list[Step], show: Show, stop: threading.Event
) -> list[StepResult]:
    with show(steps) as sink:
        return _recorded(what, context, steps, sink, lambda record: graph.run(steps, record, stop))


def _recorded(
    what: str,
    context: Context,
    steps: Sequence[Step],
    sink: EventSink,
    run: Callable[[EventSink], list[StepResult]],
) -> list[StepResult]:
    """Run with every event redacted, sent to `sink` and kept in events.jsonl."""
    lock = threading.Lock()

    def keep(event: Event) -> None:
        with lock:
            append_line(context.home.events_file, event.to_json())

    both = tee(keep, sink)
    redacted = redacting(both, lambda: [*context.secrets.all(), *context.credentials.all()])
    both(announcement(f"{what} {context.plan.deployment}", steps))
    try:
        results = run(redacted)
    except BaseException as error:
        redacted(Event(EventKind.RUN_FAILED, str(error), data=parts(error)))
        raise
    both(
        Event(
            EventKind.RUN_DONE,
            "nothing is left" if what == "destroy" else context.state.url,
            data={"steps": {r.step.id: round(r.seconds, 2) for r in results}},
        )
    )
    return results


def announcement(what: str, steps: Sequence[Step]) -> Event:
    """Return a run's first event: who follows events from outside learns what is to come."""
    kept = ("id", "title", "machine", "expected", "needs")
    ahead = [{key: getattr(step, key) for key in kept} for step in steps]
    return Event(EventKind.RUN_STARTED, what, data={"steps": ahead})


def parts(error: BaseException) -> dict[str, str]:
    """Return what, where, why and cure of an error apart, as far as it has them."""
    if not isinstance(error, BuildUsbError):
        return {}
    return {key: getattr(error, key) for key in ("what", "where", "why", "cure")}


def redacting(sink: EventSink, known: Callable[[], list[Secret]]) -> EventSink:
    """Return a sink that takes known secrets out of what it hands on to `sink`: our own code puts
    none in events, and this holds when it errs."""

    def send(event: Event) -> None:
        if event.kind in (EventKind.STEP_FAILED, EventKind.RUN_FAILED, EventKind.LOG):
            secrets = known()
            clean = redact(event.message, secrets)
            data = event.data
            if event.kind is EventKind.RUN_FAILED:
                data = {key: redact(str(text), secrets) for key, text in data.items()}
            if (clean, data) != (event.message, event.data):
                event = replace(event, message=clean, data=data)
        sink(event)

    return send
