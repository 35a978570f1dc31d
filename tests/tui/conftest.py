"""Homes for the wizard's tests: a key is made once, as making one takes seconds on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tui.driving import PASSPHRASE
from wizard.home.home import Home
from wizard.home.vault import Vault
from wizard.operations.session import Session
from wizard.secrets import Secret
from wizard.tui.online import Online


@pytest.fixture(autouse=True)
def calm_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the network of the testing computer is: the wizard does not stop for it."""
    monkeypatch.setattr(Online, "trouble", lambda _self, _draft: False)


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Vault]:
    path = tmp_path_factory.mktemp("made") / "home"
    vault = Home.open(path).create_identity(Secret(PASSPHRASE))
    return path, vault


@pytest.fixture
def session(tmp_path: Path, _made: tuple[Path, Vault]) -> Session:
    """An unlocked home of the test's own."""
    path, vault = _made
    shutil.copytree(path, tmp_path / "home")
    return Session(Home.open(tmp_path / "home"), vault)
