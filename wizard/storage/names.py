"""Names of buckets. Loads no cloud's library: a plan needs names only."""

from __future__ import annotations

import hashlib


def bucket_prefix(deployment: str) -> str:
    """Return what every bucket name of the deployment starts with."""
    return f"build-usb-{deployment}-"


def bucket_name(deployment: str, token: str) -> str:
    """Return the name of a deployment's bucket: always the same, valid in DNS (at most 63
    characters), and different from other customers' by `token`, any text of the build home's."""
    suffix = hashlib.sha256(f"{deployment}\n{token}".encode()).hexdigest()[:16]
    return bucket_prefix(deployment) + suffix
