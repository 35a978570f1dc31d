"""What object storage can do for a deployment: one bucket, conditional writes.

Must not import: any provider, plan, engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """An object's bytes and its ETag, the version that a conditional write names."""

    data: bytes
    etag: str


class Bucket(Protocol):
    """One bucket. Errors are ProviderError, or TransientError where retrying may help."""

    name: str

    def ensure(self, deployment: str, *, versioned: bool = True) -> bool:
        """Create the bucket, private and tagged as the deployment's, if missing; True if made.
        One of that name that carries another tag, or holds objects and no tag, is refused with
        ProviderError; an empty one without a tag is one that a killed run made, and is taken.
        `versioned`: what is overwritten or deleted is kept, where the service can do that."""

    def exists(self) -> bool:
        """Say whether the bucket exists (and is reachable with our credentials)."""

    def get(self, key: str) -> StoredObject | None:
        """Return an object, or None if there is none of that key."""

    def put(
        self, key: str, data: bytes, *, if_etag: str | None = None, if_absent: bool = False
    ) -> str | None:
        """Write an object whole and return its new ETag; None when the condition (`if_etag`: it
        still has that version, `if_absent`: there is none) does not hold."""

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that start with `prefix`, sorted."""

    def delete(self, key: str) -> None:
        """Delete one object; what is gone already is no error."""

    def delete_bucket(self, deployment: str) -> None:
        """Delete the bucket with all in it, if it is tagged as the deployment's."""
