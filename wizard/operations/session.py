"""Opens a build home and one deployment in it: the beginning of every operation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.engine import gather
from wizard.engine import open as engine_open
from wizard.engine import state as states
from wizard.engine.context import Context
from wizard.engine.state import State
from wizard.errors import BuildUsbError, HomeError, UsageError
from wizard.home import passphrase as passphrases
from wizard.home.home import DeploymentHome, Home
from wizard.home.store import SecretStore
from wizard.home.vault import Vault
from wizard.plan.build import build
from wizard.plan.difference import Difference, difference
from wizard.plan.model import Plan
from wizard.providers.base import Services
from wizard.storage.names import bucket_name


@dataclass(frozen=True)
class Session:
    """An unlocked build home."""

    home: Home
    vault: Vault

    @property
    def credentials(self) -> SecretStore:
        """Return the secrets that the user put into the home."""
        return self.home.vault(self.vault)

    def secrets(self, deployment: DeploymentHome) -> SecretStore:
        """Return the deployment's secrets."""
        return deployment.vault(self.vault)


def unlock(home: Home, passphrase_file: Path | None, *, create: bool = False) -> Session:
    """Unlock the home by its passphrase; `create` chooses one when the home is new."""
    if create and not home.has_identity():
        passphrase = passphrases.obtain(passphrase_file, new=True)
        return Session(home, home.create_identity(passphrase))
    return Session(home, home.unlock(passphrases.obtain(passphrase_file)))


def choose(home: Home, name: str | None) -> DeploymentHome:
    """Return the deployment called `name`, or the only one there is."""
    known = home.deployments()
    if name is None:
        if len(known) == 1:
            return home.deployment(known[0])
        raise UsageError(
            "which deployment?" if known else "there is no deployment in this build home",
            where=str(home.path),
            cure=f"name one of: {', '.join(known)}" if known else "build-usb deploy ANSWERS",
        )
    if name not in known:
        raise UsageError(
            f"there is no deployment called {name} in this build home",
            where=str(home.path),
            cure=f"known here: {', '.join(known) or 'none'}; or name another home with --home",
        )
    return home.deployment(name)


def read_answers(deployment: DeploymentHome) -> Answers:
    """Return the answers the deployment was last run with."""
    return loader.load(deployment.answers_file)


def read_state(deployment: DeploymentHome) -> State:
    """Return the state; HomeError when nothing was ever deployed."""
    state = states.load(deployment.state_file)
    if state is None:
        raise HomeError(
            f"nothing is known of what {deployment.name} made",
            where=str(deployment.state_file),
            cure="run build-usb deploy with its answers again: it finds what exists",
        )
    return state


def planned_bucket(home: Home, name: str) -> str:
    """Return the bucket's name: the known one, or one derived from the home's public identity
    (bucket names are shared by all customers of a cloud, so it needs something of its own)."""
    state = states.load(home.deployment(name).state_file)
    if state is not None and state.bucket:
        return state.bucket
    if not home.has_identity():
        # shown by `plan` before the first deploy chooses the home's passphrase
        return bucket_name(name, "new")
    return bucket_name(name, hashlib.sha256(home.recipient().encode()).hexdigest()[:8])


def make_plan(home: Home, answers: Answers, credentials: SecretStore | None = None) -> Plan:
    """Return the plan for these answers in this home; creates nothing. A cloud is asked for its
    sizes and prices, with a token that is in the home only if its `credentials` are given."""
    account = engine_open.account(answers, credentials)
    facts = engine_open.provider(answers.provider.name, home, account).facts()
    edge = None
    if answers.dns.proxied:
        wanted = engine_open.wanted_of_proxies(answers)
        edge = engine_open.dns(answers, Services(), credentials).edge(wanted)
    return build(answers, facts, planned_bucket(home, answers.name), edge)


def compare(
    home: Home, answers: Answers, plan: Plan, secrets: SecretStore | None = None
) -> Difference | None:
    """Return what deploying this plan would change, None when there is no such deployment."""
    deployment = home.deployment(answers.name)
    if answers.name not in home.deployments():
        return None
    before = read_answers(deployment)
    state = states.load(deployment.state_file)
    try:
        now = plan if before == answers else make_plan(home, before, secrets)
    except BuildUsbError:
        # what runs may be of a kind that cannot be rented or asked for any more
        now = None
    return difference(before, now, answers, plan, state.machines if state else ())


def make_context(session: Session, deployment: DeploymentHome, answers: Answers) -> Context:
    """Return the context of a run; call it with the deployment's lock held."""
    secrets = session.secrets(deployment)
    plan = make_plan(session.home, answers, session.credentials)
    state = states.load(deployment.state_file) or State(plan.deployment, plan.bucket.name)
    return Context(
        answers=answers,
        plan=plan,
        home=deployment,
        secrets=secrets,
        credentials=session.credentials,
        journal=deployment.open_journal(),
        provider=engine_open.provider(
            answers.provider.name, session.home, engine_open.account(answers, session.credentials)
        ),
        state=state,
        code=gather.known(plan, deployment, state),
    )
