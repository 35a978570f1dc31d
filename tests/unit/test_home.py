"""The build home: where it is, who may use it, what it keeps secret, who holds its lock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wizard.errors import HomeError, LockedError, PassphraseError
from wizard.home import Home, SecretStore, Vault
from wizard.home import vault as vaults
from wizard.home.vault import age_recipient, encrypt_to, generate_age_identity, lock_identity
from wizard.secrets import Secret, generate

PASSPHRASE = Secret("seven brown owls reading")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture(scope="module")
def vault() -> Vault:
    return Vault(generate_age_identity())


# -- where and whose ---------------------------------------------------------------------------


def test_is_found_by_option_variable_and_xdg() -> None:
    everything = {"BUILD_USB_HOME": "/b", "XDG_DATA_HOME": "/c", "HOME": "/d"}
    assert Home.locate("/a", everything) == Path("/a")
    assert Home.locate(None, everything) == Path("/b")
    del everything["BUILD_USB_HOME"]
    assert Home.locate(None, everything) == Path("/c/build-usb")
    for ignored in ("", "relative"):
        everything["XDG_DATA_HOME"] = ignored
        assert Home.locate(None, everything) == Path("/d/.local/share/build-usb")
    assert Home.locate("relative", {}).is_absolute()
    with pytest.raises(HomeError, match="HOME is not set"):
        Home.locate(None, {})


def test_is_made_private_and_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "home"
    for _ in range(2):
        home = Home.open(path)
    for folder in (path, path / "deployments"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert home.deployments() == []
    assert not home.has_identity()


def refused(path: Path) -> HomeError:
    with pytest.raises(HomeError) as error:
        Home.open(path)
    assert error.value.cure
    return error.value


def test_others_must_not_look_in(home: Home) -> None:
    home.path.chmod(0o750)
    assert "0750" in refused(home.path).why
    assert refused(home.path).cure == f"chmod 700 {home.path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
def test_must_be_ours(home: Home) -> None:
    os.chown(home.path, 12345, 12345)
    assert "another user" in refused(home.path).what


def test_must_not_be_exchangeable(tmp_path: Path) -> None:
    real = tmp_path / "real"
    Home.open(real / "home")
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "homelink").symlink_to(real / "home")
    for path in (tmp_path / "link" / "home", tmp_path / "homelink"):
        assert "symbolic link" in refused(path).what
    real.chmod(0o777)
    assert "exchange" in refused(real / "home").what
    real.chmod(0o1777)
    Home.open(real / "home")


def test_must_be_a_home_or_empty(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir(mode=0o700)
    (folder / "letter").touch()
    assert "not a build home" in refused(folder).what
    assert [path.name for path in folder.iterdir()] == ["letter"]
    (folder / "letter").unlink()
    (folder / "lost+found").mkdir()
    Home.open(folder)
    (folder / "home.json").write_text('{"version": 2}')
    assert "another version" in refused(folder).what
    file = tmp_path / "file"
    file.touch()
    refused(file)
    refused(tmp_path / 'qu"ote')
    refused(tmp_path / "${HOME}")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a read-only file system")
def test_read_only_is_explained(tmp_path: Path) -> None:
    script = (
        f"mount -t tmpfs -o ro none {tmp_path} && "
        f'exec {sys.executable} -c "from wizard.home import Home; from pathlib import Path; '
        f"Home.open(Path('{tmp_path}/home'))\""
    )
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert "HomeError" in ran.stderr
    assert "--home" in ran.stderr
    assert "Read-only" in ran.stderr


# -- identity and passphrase -------------------------------------------------------------------


def test_a_computer_that_is_too_slow_is_no_wrong_passphrase(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.create_identity(PASSPHRASE)
    file = home.path / "identity.age"
    # as made on a computer that is thousands of times faster
    slow = re.sub(rb"(-> scrypt \S+) \d+\n", rb"\1 30\n", file.read_bytes(), count=1)
    pauses: list[float] = []
    monkeypatch.setattr(vaults.time, "sleep", pauses.append)
    with pytest.raises(HomeError, match="too slow, or too busy") as error:
        vaults.unlock_identity(slow, PASSPHRASE, vaults.fingerprint(slow), file)
    assert not isinstance(error.value, PassphraseError)
    assert len(pauses) > 3, "it may be busy for a moment only"


def test_each_try_of_a_passphrase_costs() -> None:
    locked = lock_identity(generate_age_identity(), PASSPHRASE)
    stanza = re.search(rb"-> scrypt \S+ (\d+)\n", locked)
    assert stanza
    # as much as this computer does in a second: 18 on a quiet one, less on a busy one
    assert int(stanza[1]) >= 12


def test_identity_opens_by_its_passphrase_alone(home: Home) -> None:
    made = home.create_identity(PASSPHRASE)
    assert made.recipient == home.recipient()
    with pytest.raises(HomeError, match="already"):
        home.create_identity(PASSPHRASE)
    with pytest.raises(PassphraseError, match="wrong passphrase"):
        home.unlock(Secret("seven brown owls sleeping"))
    opened = Home.open(home.path).unlock(PASSPHRASE)
    assert opened.decrypt(made.encrypt(b"data"), "test") == b"data"
    assert opened.is_authentic(b"data", made.authenticate(b"data"))
    assert not opened.is_authentic(b"date", made.authenticate(b"data"))

    identity = home.path / "identity.age"
    intact = identity.read_bytes()
    damaged = bytearray(intact)
    damaged[-1] ^= 1
    for data in (bytes(damaged), intact[:-20], b"", b"rubbish"):
        identity.write_bytes(data)
        with pytest.raises(HomeError, match="damaged") as error:
            home.unlock(PASSPHRASE)
        assert not isinstance(error.value, PassphraseError)
    identity.write_bytes(intact)
    recipient = home.path / "recipient.txt"
    other = age_recipient(generate_age_identity())
    recipient.write_text(recipient.read_text().replace(made.recipient, other))
    with pytest.raises(HomeError, match="do not belong together"):
        home.unlock(PASSPHRASE)


def test_a_home_without_identity_says_so(home: Home) -> None:
    with pytest.raises(PassphraseError, match="no passphrase yet"):
        home.unlock(PASSPHRASE)
    # killed between the two files: nothing was encrypted yet, so it may be made anew
    (home.path / "identity.age").write_bytes(b"left over")
    assert not home.has_identity()


# -- secrets -------------------------------------------------------------------------------------


@pytest.fixture
def store(home: Home, vault: Vault) -> SecretStore:
    return home.deployment("demo").vault(vault)


def test_secrets_are_stored_before_they_are_used(
    home: Home, store: SecretStore, vault: Vault
) -> None:
    password = store.get_or_create("password", generate)
    again = home.deployment("demo").vault(vault)
    assert again.get("password") == password
    assert again.get_or_create("password", lambda: pytest.fail("made twice")) == password
    assert store.get("other") is None
    store.set("token", Secret("tok"))
    store.update({"a": Secret("1"), "token": Secret("tok2")})
    assert store.names() == ["a", "password", "token"]
    assert [secret.reveal() for secret in store.all()] == ["1", password.reveal(), "tok2"]
    store.delete("a")
    store.delete("a")
    assert again.names() == ["password", "token"]


def test_a_secret_that_cannot_be_stored_is_not_handed_out(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise HomeError("no space left")

    monkeypatch.setattr("wizard.home.store.write_atomic", full)
    with pytest.raises(HomeError, match="no space"):
        store.get_or_create("password", generate)


def test_no_secret_is_in_clear_in_the_home(home: Home, store: SecretStore) -> None:
    vault = home.create_identity(PASSPHRASE)
    store = home.deployment("demo").vault(vault)
    secrets = [store.get_or_create(f"s{n}", generate) for n in range(5)] + [PASSPHRASE]
    home.deployment("demo").open_journal().record("done", "step")
    found = [path for path in home.path.rglob("*") if path.is_file()]
    assert len(found) >= 5
    for path in found:
        data = path.read_bytes()
        assert b"AGE-SECRET-KEY" not in data
        assert not [secret for secret in secrets if secret.reveal().encode() in data]
        assert path.stat().st_mode & 0o077 == 0


def test_threads_and_processes_agree_on_a_secret(home: Home) -> None:
    identity = generate_age_identity()
    vault = Vault(identity)
    program = """
import sys
from pathlib import Path
from wizard.home import Home, Vault
from wizard.secrets import Secret, generate
store = Home.open(Path(sys.argv[1])).deployment("demo").vault(Vault(Secret(sys.stdin.readline())))
for n in range(10):
    print(store.get_or_create(f"s{n}", generate).reveal())
"""
    others = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(home.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for other in others:
        assert other.stdin is not None
        other.stdin.write(identity.reveal() + "\n")
        other.stdin.flush()
    store = home.deployment("demo").vault(vault)
    seen: list[list[str]] = []

    def take() -> None:
        seen.append([store.get_or_create(f"s{n}", generate).reveal() for n in range(10)])

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        output, _ = other.communicate(timeout=30)
        seen.append(output.split())
    assert len(seen) == 5
    assert all(secrets == seen[0] for secrets in seen)


def test_damaged_and_foreign_secrets_are_told_apart(
    home: Home, store: SecretStore, vault: Vault
) -> None:
    store.set("a", Secret("1"))
    path = home.deployment("demo").secrets_file
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(HomeError, match="damaged"):
        store.names()
    foreign = age_recipient(generate_age_identity())
    path.write_bytes(encrypt_to(foreign, b"{}"))
    with pytest.raises(HomeError, match="another build home"):
        store.names()
    path.write_bytes(vault.encrypt(b'{"secrets": []}'))
    with pytest.raises(HomeError, match="damaged"):
        store.names()


# -- deployments and their lock ------------------------------------------------------------------


def test_deployments_are_known_by_their_answers(home: Home) -> None:
    demo = home.deployment("demo")
    assert not demo.folder.exists()
    with demo.lock("deploy demo"):
        assert demo.logs.is_dir()
    assert home.deployments() == []
    demo.answers_file.write_text("name: demo\n")
    assert home.deployments() == ["demo"]
    assert demo.exists()
    with demo.lock("destroy demo"):
        demo.delete()
    assert home.deployments() == []
    assert list((home.path / "deployments").iterdir()) == []


@pytest.mark.parametrize("name", ["", "a", "A1", "../x", "a/b", "-a", "a-", "a" * 25, "é1", "a\n"])
def test_names_cannot_leave_the_home(home: Home, name: str) -> None:
    with pytest.raises(HomeError) as error:
        home.deployment(name)
    assert error.value.cure


HOLDER = """
import sys, time
from pathlib import Path
from wizard.home import Home
with Home.open(Path(sys.argv[1])).deployment("demo").lock("deploy demo"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(home: Home) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_is_told_who_holds_the_lock(home: Home, holder: subprocess.Popen[str]) -> None:
    demo = home.deployment("demo")
    with pytest.raises(LockedError) as error, demo.lock("destroy demo"):
        pass
    assert f"process {holder.pid} (deploy demo), since 20" in error.value.why
    assert f"kill {holder.pid}" in error.value.cure
    with home.deployment("other").lock("deploy other"):
        pass
    holder.kill()
    holder.wait()
    with demo.lock("destroy demo"):
        pass


def test_the_lock_survives_deletion_of_the_deployment(home: Home) -> None:
    demo = home.deployment("demo")
    with demo.lock("destroy demo"):
        demo.delete()
        with demo.lock("deploy demo"), pytest.raises(LockedError), demo.lock("deploy demo"):
            pass


def test_programs_started_meanwhile_do_not_keep_the_lock(home: Home) -> None:
    demo = home.deployment("demo")
    with demo.lock("deploy demo"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with demo.lock("deploy demo"):
            pass
    finally:
        child.kill()
        child.wait()
