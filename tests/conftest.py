"""How tests run side by side (`pytest -n auto --dist loadgroup`)."""

from __future__ import annotations

import pytest

ALONE = ("lab", "image")
"""Marked so, tests run one after the other: they share one lab or one image, count what is left
on the computer, or need a core for themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of each of those marks in one process."""
    for item in items:
        for mark in ALONE:
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.xdist_group(mark))
