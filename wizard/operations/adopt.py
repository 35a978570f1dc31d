"""Takes over a deployment whose build machine is lost, from the state kept in its bucket."""

from __future__ import annotations

from pathlib import Path

from wizard.answers.model import Answers
from wizard.engine import open as engine_open
from wizard.engine.deploy import BUNDLE_KEY
from wizard.errors import HomeError, PassphraseError, UsageError
from wizard.events import Progress
from wizard.home import bundle
from wizard.home import passphrase as passphrases
from wizard.home.home import DeploymentHome, Home
from wizard.home.vault import Vault
from wizard.secrets import Secret
from wizard.storage.s3 import S3Bucket, find_buckets


def adopt(
    home: Home, answers: Answers, passphrase_file: Path | None, progress: Progress
) -> DeploymentHome:
    """Find the bucket of the deployment that `answers` name and restore its folder from it.

    The answers only say where to look (name, provider, credentials); what was deployed comes from
    the bucket, encrypted under the passphrase of the lost build home.
    """
    passphrase, credentials = None, None
    named = home_secrets(answers)
    if named:
        _refuse_missing(home, named)
        passphrase = passphrases.obtain(passphrase_file)
        credentials = home.vault(_unlock(home, passphrase, named))
    account = engine_open.account(answers, credentials)
    provider = engine_open.provider(answers.provider.name, home, account)
    provider.prepare(progress)
    storage = engine_open.storage(answers, provider.services(answers.dns.zone), credentials)
    for name in find_buckets(storage, answers.name):
        stored = S3Bucket(name, storage).get(BUNDLE_KEY)
        if stored is not None:
            passphrase = passphrase or passphrases.obtain(passphrase_file)
            return bundle.unpack(stored.data, passphrase, home)
    raise HomeError(
        f"no bucket with the state of {answers.name} was found",
        where=answers.provider.name,
        why="either nothing of that name was deployed with these credentials, "
        "or its bucket is gone",
        cure="check name, provider and credentials in the answers; a rehearsal's bucket lives "
        "only as long as its lab",
    )


def home_secrets(answers: Answers) -> dict[str, str]:
    """Return the secrets of a build home that finding a deployment needs: key -> name."""
    sources = {
        "provider.credentials": answers.provider.credentials,
        "object_storage.credentials": answers.object_storage.credentials,
    }
    return {key: source.home for key, source in sources.items() if source and source.home}


def _refuse_missing(home: Home, named: dict[str, str]) -> None:
    if home.has_identity():
        return
    sets = "\n".join(f"build-usb secret set {name}" for name in dict.fromkeys(named.values()))
    raise UsageError(
        f"this build home does not hold {' and '.join(dict.fromkeys(named.values()))}",
        where=", ".join(named),
        why="tokens that were put into the lost build home are lost with it: its copy in the "
        "bucket does not hold them",
        cure=f"with the lost home's passphrase for this one, run:\n{sets}\nthen adopt again; or "
        "name {environment: VARIABLE} or {file: /path} in the answers",
    )


def _unlock(home: Home, passphrase: Secret, named: dict[str, str]) -> Vault:
    try:
        return home.unlock(passphrase)
    except PassphraseError as error:
        raise PassphraseError(
            "the passphrase of the lost build home does not open this one",
            where=str(home.path),
            why=f"{', '.join(named)} name secrets of this home, which has another passphrase",
            cure="name {environment: VARIABLE} or {file: /path} in the answers instead",
        ) from error
