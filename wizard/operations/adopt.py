"""Takes over a deployment whose build machine is lost, from the state kept in its bucket."""

from __future__ import annotations

from pathlib import Path

from wizard.answers.model import Answers
from wizard.engine import open as engine_open
from wizard.engine.deploy import BUNDLE_KEY
from wizard.errors import HomeError
from wizard.events import Progress
from wizard.home import bundle
from wizard.home import passphrase as passphrases
from wizard.home.home import DeploymentHome, Home
from wizard.storage.s3 import S3Bucket, find_buckets


def adopt(
    home: Home, answers: Answers, passphrase_file: Path | None, progress: Progress
) -> DeploymentHome:
    """Find the bucket of the deployment that `answers` name and restore its folder from it.

    The answers only say where to look (name, provider, credentials); what was deployed comes from
    the bucket, encrypted under the passphrase of the lost build home.
    """
    provider = engine_open.provider(answers.provider.name, home, engine_open.account(answers, None))
    provider.prepare(progress)
    storage = engine_open.storage(answers, provider.services(answers.dns.zone), None)
    for name in find_buckets(storage, answers.name):
        stored = S3Bucket(name, storage).get(BUNDLE_KEY)
        if stored is not None:
            return bundle.unpack(stored.data, passphrases.obtain(passphrase_file), home)
    raise HomeError(
        f"no bucket with the state of {answers.name} was found",
        where=answers.provider.name,
        why="either nothing of that name was deployed with these credentials, "
        "or its bucket is gone",
        cure="check name, provider and credentials in the answers; a rehearsal's bucket lives "
        "only as long as its lab",
    )
