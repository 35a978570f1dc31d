"""Secrets as the user sees them: those put into the build home, and those made for deployments.

A deployment's are Build USB's own (`admin_password`, `ssh_key`, …). The home's are the user's:
tokens that answers name as `{home: name}`, in any deployment. No name is in both.
"""

from __future__ import annotations

from collections.abc import Sequence

from wizard.answers import keys
from wizard.errors import HomeError, UsageError
from wizard.home.home import Home
from wizard.operations.session import Session, choose
from wizard.secrets import Secret

VERBS = ("set", "remove")
_LARGEST = 64 * 1024  # characters


def words_of(words: Sequence[str]) -> tuple[str, str]:
    """Return what `build-usb secret WORDS` shall do (`list`, `show`, `set` or `remove`), and with
    which secret. UsageError when that cannot be told."""
    match list(words):
        case []:
            return "list", ""
        case ["set" | "remove" as verb, name]:
            if verb == "set":
                refuse_name(name)
            return verb, name
        case [name] if name not in VERBS:
            return "show", name
    raise UsageError(
        "the words after `secret` make no sense together",
        cure="secret, secret NAME, secret set NAME or secret remove NAME; the value is never among "
        "them: it is asked for, or read from standard input",
    )


def refuse_name(name: str) -> None:
    """Raise UsageError if answers could not name a secret like this."""
    problems = keys.check_field("provider.credentials.home", name)
    if problems or name in VERBS:
        raise UsageError(
            f"{name!r} cannot be a secret's name",
            why="" if problems else "it is a word of the command",
            cure="a-z, 0-9, '.', '_' and '-', such as digitalocean-token",
        )


def put(session: Session, name: str, value: str) -> None:
    """Keep a secret in the home. UsageError for a value or a name that cannot be kept."""
    refuse_name(name)
    value = value.strip()
    if not value or len(value) > _LARGEST:
        raise UsageError(
            f"the value of {name} is {'too long' if value else 'empty'}",
            cure="type or paste it, or pipe it in: build-usb secret set NAME < FILE",
        )
    for deployment in session.home.deployments():
        if name in session.secrets(session.home.deployment(deployment)).names():
            raise UsageError(
                f"{name} is a secret that Build USB made",
                where=deployment,
                cure=f"choose another name, such as my-{name}",
            )
    session.credentials.set(name, Secret(value))


def remove(session: Session, name: str) -> None:
    """Forget a secret of the home. HomeError if there is none of that name."""
    if name not in session.credentials.names():
        raise _missing(name, session, "the build home")
    session.credentials.delete(name)


def listed(session: Session, deployment: str | None) -> list[tuple[str, str]]:
    """Return name and place of all secrets: of the home, and of one deployment or of all."""
    home = session.home
    chosen = [choose(home, deployment).name] if deployment else home.deployments()
    found = [(name, "build home") for name in session.credentials.names()]
    for known in chosen:
        found += [(name, known) for name in session.secrets(home.deployment(known)).names()]
    return found


def show(session: Session, name: str, deployment: str | None) -> Secret:
    """Return a secret by name, of the home or of a deployment. HomeError if there is none."""
    home = session.home
    if deployment is None:
        found = session.credentials.get(name)
        if found is not None:
            return found
    chosen = choose(home, deployment)
    found = session.secrets(chosen).get(name)
    if found is None:
        raise _missing(name, session, chosen.name)
    return found


def refuse_empty(home: Home, deployment: str | None) -> None:
    """Raise UsageError while there is nothing that could hold a secret."""
    if deployment is not None or not home.has_identity():
        choose(home, deployment)


def _missing(name: str, session: Session, where: str) -> HomeError:
    names = [known for known, _ in listed(session, None)]
    return HomeError(
        f"there is no secret called {name}",
        where=where,
        cure=f"choose one of: {', '.join(dict.fromkeys(names)) or 'none is made yet'}",
    )
