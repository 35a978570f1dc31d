"""Backups of a build home: a folder and a bucket there and back, and every way to be refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from wizard.errors import HomeError, LockedError, PassphraseError
from wizard.home.home import Home
from wizard.home.vault import Vault
from wizard.providers.base import ObjectStorage
from wizard.secrets import Secret
from wizard.stick import backup
from wizard.storage.names import bucket_name
from wizard.storage.s3 import S3Bucket

PASSPHRASE = Secret("correct horse battery staple")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Vault]:
    home = Home.open(tmp_path_factory.mktemp("made") / "home")
    vault = home.create_identity(PASSPHRASE)
    deployment = home.deployment("shop")
    deployment.create()
    deployment.vault(vault).set("admin_password", Secret("swordfish-swordfish"))
    deployment.answers_file.write_text("version: 1\n")
    (deployment.logs / "a.log").write_text("x" * 100_000)
    (home.path / "recovery.age").write_text("only for the stick it was made on")
    return home, vault


@pytest.fixture(scope="module")
def data(made: tuple[Home, Vault]) -> bytes:
    return backup.pack(*made)


@pytest.fixture
def bucket() -> Iterator[S3Bucket]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    storage = ObjectStorage(endpoint, endpoint, "us-east-1", "access", Secret("not-so-secret-key"))
    made = S3Bucket(bucket_name("demo", "token"), storage)
    made.ensure("demo")
    yield made
    server.stop()


def test_there_and_back_by_a_folder(made: tuple[Home, Vault], data: bytes, tmp_path: Path) -> None:
    assert b"swordfish" not in data
    assert b"version: 1" not in data
    path = backup.to_folder(data, tmp_path, backup.name())
    assert path.stat().st_mode & 0o777 == 0o600
    home = backup.restore(backup.from_path(tmp_path), PASSPHRASE, tmp_path / "new" / "home")
    assert home.deployments() == ["shop"]
    vault = home.unlock(PASSPHRASE)
    assert home.deployment("shop").vault(vault).get("admin_password") == Secret(
        "swordfish-swordfish"
    )
    assert (home.deployment("shop").logs / "a.log").stat().st_size == 100_000
    assert not (home.path / "recovery.age").exists()
    with pytest.raises(HomeError, match="there is a build home already"):
        backup.restore(data, PASSPHRASE, home.path)


def test_into_a_home_that_was_only_begun(data: bytes, tmp_path: Path) -> None:
    """As the wizard begins one with a new encrypted volume: a key that opens nothing yet."""
    home = Home.open(tmp_path / "home")
    begun = home.create_identity(Secret("another passphrase"))
    home.keep_recovery(begun, Secret("ABCDE-FGHJK-LMNPQ-RSTUV-WXYZ2-34567"))
    restored = backup.restore(data, PASSPHRASE, home.path)
    restored.unlock(PASSPHRASE)
    assert restored.deployments() == ["shop"]
    assert not (home.path / "recovery.age").exists()
    other = Home.open(tmp_path / "other")
    other.vault(other.create_identity(PASSPHRASE)).set("token", Secret("kept"))
    with pytest.raises(HomeError, match=r"(?s)already.*secrets\.age"):
        backup.restore(data, PASSPHRASE, other.path)


def test_refused(made: tuple[Home, Vault], data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "home"
    with pytest.raises(PassphraseError, match="wrong passphrase"):
        backup.restore(data, Secret("not the passphrase"), path)
    for broken in (
        b"",
        b"x",
        data[: len(data) // 2],
        data.replace(b'"version": 1', b'"version": 2'),
    ):
        with pytest.raises(HomeError, match="cannot be used"):
            backup.restore(broken, PASSPHRASE, path)
    assert not list(path.glob("*"))
    with pytest.raises(HomeError, match="no backup in the folder"):
        backup.from_path(tmp_path)
    (tmp_path / "theirs").mkdir(mode=0o700)
    (tmp_path / "theirs" / "file").write_text("kept")
    with pytest.raises(HomeError, match="not a build home and not empty"):
        backup.restore(data, PASSPHRASE, tmp_path / "theirs")
    home, vault = made
    with home.deployment("shop").lock("deploy shop"), pytest.raises(LockedError):
        backup.pack(home, vault)


def test_forged_by_who_knows_only_the_recipient(
    made: tuple[Home, Vault], data: bytes, tmp_path: Path
) -> None:
    """Machines can write to a bucket: what they put there must not become a home."""
    from wizard.home.vault import encrypt_to

    home, _ = made
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../escaped"))
    forged = encrypt_to(home.recipient(), inner.getvalue())
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as old,
        tarfile.open(fileobj=out, mode="w") as new,
    ):
        for info in old:
            file = old.extractfile(info)
            assert file
            content = forged if info.name == "payload.age" else file.read()
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    with pytest.raises(HomeError, match="not made by a holder of the passphrase"):
        backup.restore(out.getvalue(), PASSPHRASE, tmp_path / "home")


def test_there_and_back_by_a_bucket(bucket: S3Bucket, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="no backup in the bucket"):
        backup.from_bucket(bucket)
    backup.to_bucket(b"old", bucket, f"20200101T000000Z{backup.ENDING}")
    backup.to_bucket(data, bucket, backup.name())
    found = backup.from_bucket(bucket)
    assert backup.restore(found, PASSPHRASE, tmp_path / "home").deployments() == ["shop"]


def test_killed_while_it_restores(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before each of its renames: restoring again ends with the whole home."""
    real = Path.replace
    for stop in range(4):
        path = tmp_path / f"home{stop}"
        left = [stop]

        def replace(self: Path, target: Path, left: list[int] = left) -> Path:
            if ".restoring.tmp" in str(self):
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        try:
            backup.restore(data, PASSPHRASE, path)
        except KeyboardInterrupt:
            monkeypatch.undo()
            home = backup.restore(data, PASSPHRASE, path)
            assert home.deployments() == ["shop"]
            home.unlock(PASSPHRASE)
        monkeypatch.undo()


def test_recovery_key_opens_the_home(made: tuple[Home, Vault], data: bytes, tmp_path: Path) -> None:
    home = backup.restore(data, PASSPHRASE, tmp_path / "home")
    key, new = Secret("ABCDE-FGHJK-LMNPQ-RSTUV-WXYZ2-34567"), Secret("another passphrase")
    with pytest.raises(HomeError, match="knows no recovery key"):
        home.recover(key, new)
    home.keep_recovery(home.unlock(PASSPHRASE), key)
    with pytest.raises(PassphraseError):
        home.recover(Secret("ABCDE-FGHJK-LMNPQ-RSTUV-WXYZ2-34566"), new)
    assert home.recover(key, new).recipient == home.recipient()
    home.unlock(new)
    with pytest.raises(PassphraseError, match="wrong passphrase"):
        home.unlock(PASSPHRASE)
