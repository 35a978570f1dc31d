"""Older versions of the document, brought up to the present one, one version at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Migration = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: Mapping[int, Migration] = {}
"""From version n to n+1, by n. A migration returns a new mapping and may rename and add keys;
empty while version 1 is the only one."""


def oldest(present: int, registry: Mapping[int, Migration]) -> int:
    """Return the oldest version that an unbroken chain of migrations leads from to `present`."""
    version = present
    while version - 1 in registry:
        version -= 1
    return version


def migrate(
    data: dict[str, Any], present: int, registry: Mapping[int, Migration]
) -> dict[str, Any]:
    """Return `data` as a document of version `present`; KeyError below `oldest(present)`."""
    while data["version"] < present:
        version = data["version"]
        data = {**registry[version](data), "version": version + 1}
    return data
