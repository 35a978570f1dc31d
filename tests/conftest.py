"""How tests run side by side (`pytest -n auto --dist loadfile --no-loadscope-reorder`), in homes
that open quickly."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import quick_age

ALONE = (
    (  # up to nine machines at a time
        "tests/lab/test_baselines.py",
        "tests/lab/test_chaos.py",
        "tests/lab/test_journey.py",
        "tests/lab/test_production",
        "tests/lab/test_promotion.py",
        "tests/lab/test_shared_folder.py",
        "tests/lab/test_trouble.py",
    ),
    ("tests/lab/", "tests/contract/test_providers.py"),
    ("tests/image/",),
)
"""Tests of each of these run one after the other: two labs at a time (with three, machines wait for
two cores so long that they are taken for dead), in halves that take about as long, and one image.
They take longest, so they begin first."""


class Scheduling(LoadScopeScheduling):
    """Gives each process a whole file, or all that must not run beside its like."""

    def _split_scope(self, nodeid: str) -> str:
        whole = (paths[0] for paths in ALONE if nodeid.startswith(paths))
        return next(whole, nodeid.split("::", 1)[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Return what shares tests out to the processes."""
    return Scheduling(config, log)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes there are: one more than cores, for labs wait more than they
    compute."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what takes longest begin first."""

    def place(item: pytest.Item) -> int:
        groups = (n for n, paths in enumerate(ALONE) if item.nodeid.startswith(paths))
        return next(groups, len(ALONE))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _quick_homes() -> Iterator[None]:
    """Let the homes that tests make open quickly."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("wizard.home.home", "wizard.home.vault"):
            patch.setattr(f"{module}.lock_identity", quick_age.lock_identity)
        yield
