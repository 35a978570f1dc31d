"""One lab for all tests that need real machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.laboratory import Laboratory
from wizard.events import silent
from wizard.lab import basetree

# built once, and shared by all labs of all tests
os.environ.setdefault("BUILD_USB_BASE_TREE", "/var/tmp/build-usb-base")


@pytest.fixture(scope="session")
def base_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that machines stand on, built if it is missing."""
    tree = basetree.location(tmp_path_factory.getbasetemp())
    basetree.build(tree, silent)
    return tree


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[str], Laboratory]]:
    """Makes labs of a test's own, in folders of that name; they must end with the test."""
    made: list[Laboratory] = []

    def make(name: str) -> Laboratory:
        laboratory = Laboratory(tmp_path / name)
        made.append(laboratory)
        laboratory.provider.prepare(silent)
        return laboratory

    yield make
    for laboratory in made:
        laboratory.clear("demo", "other")
        laboratory.provider.end_if_unused()


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A prepared lab that tests share; each uses deployments of its own and clears them."""
    made = Laboratory(tmp_path_factory.mktemp("shared") / "lab")
    made.provider.prepare(silent)
    # holds the lab while tests come and go
    made.provider.ensure_network("holder")
    yield made
    made.clear("holder")
    assert made.processes() == []
