"""What autoscalers authenticate with: never the build machine's credentials, unless answers name
their source again. On AWS they have a role of their own, and nothing is carried to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import yaml

from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.answers.sections import CredentialSource
from wizard.engine import open
from wizard.engine.context import Context
from wizard.errors import BuildUsbError, ProviderError, UsageError
from wizard.events import Progress
from wizard.home.store import SecretStore
from wizard.providers.base import OWN_ROLE, Account, Services
from wizard.secrets import Secret

PROVIDER, DNS = "scaling.credentials.provider", "scaling.credentials.dns"


def of_autoscalers(answers: Answers) -> Answers:
    """Return the answers with the autoscalers' sources in place of the build machine's."""
    own, dns = answers.scaling.credentials, answers.dns
    given = own.dns
    if given is None and answers.provider.name == "local":
        given = dns.rfc2136.key if dns.rfc2136 else dns.credentials
    if dns.rfc2136 is not None:
        assert given is not None, "answers without are refused"
        key_name = own.dns_key_name or dns.rfc2136.key_name
        server = dns.rfc2136.model_copy(update={"key": given, "key_name": key_name})
        dns = dns.model_copy(update={"rfc2136": server})
    else:
        dns = dns.model_copy(update={"credentials": given})
    provider = answers.provider.model_copy(update={"credentials": own.provider})
    return answers.model_copy(update={"provider": provider, "dns": dns})


def account(theirs: Answers, credentials: SecretStore | None) -> Account | None:
    """Return what the cloud has to know of an autoscaler."""
    found = open.account(theirs, credentials)
    return replace(found, inside=True) if found else None


def carried(answers: Answers, credentials: SecretStore) -> tuple[Answers, dict[str, Secret]]:
    """Return the answers as an autoscaler has them, every credential named as one of its home, and
    these credentials."""
    theirs = of_autoscalers(answers)
    values = yaml.safe_load(loader.dumps(theirs))
    taken: dict[str, Secret] = {}

    def put(name: str, secret: Secret, *places: str) -> None:
        taken[name] = secret
        for place in places:
            *sections, last = place.split(".")
            section = values
            for key in sections:
                section = section.setdefault(key, {})
            section[last] = {"home": name}

    def take(name: str, source: CredentialSource | None, *places: str) -> None:
        if source is not None:
            put(name, open.credential(source, credentials, places[-1]), *places)

    if answers.provider.name == "aws":
        put("provider", Secret(OWN_ROLE), "provider.credentials")
    take("provider", theirs.provider.credentials, "provider.credentials", PROVIDER)
    if theirs.dns.rfc2136 is not None:
        take("dns", theirs.dns.rfc2136.key, "dns.rfc2136.key", DNS)
    take("dns", theirs.dns.credentials, "dns.credentials", DNS)
    # all machines have this one, and autoscalers make machines
    storage = theirs.object_storage.credentials
    take("object-storage", storage, "object_storage.credentials")
    # the webserver that leads makes backups there
    if theirs.backups.second_storage is not None:
        second = theirs.backups.second_storage.credentials
        take("second-storage", second, f"{open.SECOND}.credentials")
    if theirs.notifications.smtp is not None:
        take("mail-password", theirs.notifications.smtp.password, open.MAIL_PASSWORD)
    return loader.loads(yaml.safe_dump(values), "the answers"), taken


def check(context: Context, progress: Progress) -> None:
    """Refuse, before anything is made, credentials that autoscalers could not work with.

    UsageError where another source holds the build machine's own, ProviderError where rights lack.
    """
    answers, credentials = context.answers, context.credentials
    if answers.mode != "production" or answers.provider.name == "local":
        return
    refuse_same(answers, credentials)
    theirs = of_autoscalers(answers)
    if theirs.provider.credentials is not None:
        with about(PROVIDER):
            own, home = account(theirs, credentials), context.home.home
            standing = open.provider(answers.provider.name, home, own).standing(progress)
        if standing.lacking:
            raise ProviderError(
                "the autoscalers' token may not do what they need",
                where=PROVIDER,
                why=f"it lacks {', '.join(standing.lacking)}",
                cure="add these to the token, then run again",
                code="forbidden",
            )
    if theirs.dns.credentials is not None or theirs.dns.rfc2136 is not None:
        with about(DNS):
            open.dns(theirs, Services(), credentials).zone()


def refuse_same(answers: Answers, credentials: SecretStore | None) -> None:
    """Raise UsageError where what shall be another credential has the build machine's value."""
    own, dns = answers.scaling.credentials, answers.dns
    pairs = (
        (PROVIDER, own.provider, answers.provider.credentials),
        (DNS, own.dns, dns.rfc2136.key if dns.rfc2136 else dns.credentials),
    )
    for key, theirs, ours in pairs:
        if theirs is None or ours is None or theirs == ours:
            continue
        if open.credential(theirs, credentials, key) == open.credential(ours, credentials, key):
            raise UsageError(
                "the autoscalers' credential is the build machine's, from another source",
                where=key,
                why="whoever takes an autoscaler over could do all that you can",
                cure="make one for the autoscalers; or, if it shall be the same, name the build "
                "machine's source here as well",
            )


@contextmanager
def about(key: str) -> Iterator[None]:
    """Let an error about credentials name the answer that is about the autoscalers'."""
    try:
        yield
    except BuildUsbError as error:
        if error.where.startswith(("provider.", "dns.")):
            error.where = key
        raise
