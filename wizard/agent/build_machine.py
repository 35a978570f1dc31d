"""Where the build machine is now, from `build-machine.json` in the shared configuration.

A laptop moves, and whom the firewall keeps out cannot say so over SSH. Anybody who can write to the
bucket can write that file, so it is believed only with a signature by the key that administers this
machine, and only if it is younger than all that was believed before.
"""

from __future__ import annotations

import ipaddress
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from wizard.agent import mount
from wizard.agent.config import Config
from wizard.agent.errors import AgentError
from wizard.agent.guard import run
from wizard.agent.state import Places, write_whole

NAME = "build-machine.json"
VERSION = 1
NAMESPACE = "build-usb-build-machine"
"""What the signature is for: one that the same key made for anything else is worth nothing."""
_MAXIMUM_BYTES = 4096


@dataclass(frozen=True)
class Told:
    """Where the build machine said that it is: an `address` (or network), `at` a time in seconds
    since 1970, for one `deployment`."""

    deployment: str
    address: str
    at: int


def applied(config: Config, kept: Path) -> Config:
    """Return the configuration with the address that was believed last, if it is younger than the
    deploy's own. Touches no mount."""
    try:
        told = _Signed.read(kept.read_bytes()).told
    except (OSError, AgentError):
        return config
    return replace(config, build_machine=told.address) if _is_news(told, config) else config


def ensure(config: Config, places: Places) -> str:
    """Take over what the shared file says, if it may be believed; return what is wrong with it,
    empty if nothing is (none is there, or an old one)."""
    try:
        data = mount.read_shared(config, NAME)
    except AgentError:
        return ""  # the peers' file says the same of the mount
    if not data or not config.administrator:
        return ""
    try:
        signed = _Signed.read(data)
        if _is_news(signed.told, config) and signed.told.at > _last(places.build_machine):
            signed.verify(config.administrator)
            write_whole(places.build_machine, data)
    except AgentError as error:
        return f"{NAME}: {error}; it is not used"
    return ""


def parse(text: str) -> Told:
    """Return what a signed text says; AgentError if it is not such a text."""
    try:
        values = json.loads(text)
        if values["version"] != VERSION:
            raise ValueError
        told = Told(str(values["deployment"]), str(values["address"]), int(values["at"]))
        ipaddress.ip_network(told.address)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AgentError("it does not say where the build machine is") from error
    return told


@dataclass(frozen=True)
class _Signed:
    """A text, what it says, and who is said to have signed it."""

    text: str
    signature: str
    told: Told

    @classmethod
    def read(cls, data: bytes) -> _Signed:
        if len(data) > _MAXIMUM_BYTES:
            raise AgentError(f"larger than {_MAXIMUM_BYTES} bytes")
        try:
            document = json.loads(data)
            text, signature = document["text"], document["signature"]
            if not isinstance(text, str) or not isinstance(signature, str):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AgentError("not JSON with a text and its signature") from error
        return cls(text, signature, parse(text))

    def verify(self, key: str) -> None:
        """Raise AgentError unless `key` (`ssh-ed25519 AAAA…`) has signed the text."""
        with tempfile.TemporaryDirectory() as folder:
            signers, signature = Path(folder, "signers"), Path(folder, "signature")
            signers.write_text(f'build-machine namespaces="{NAMESPACE}" {key}\n')
            signature.write_text(self.signature)
            words = ("-I", "build-machine", "-n", NAMESPACE, "-s", str(signature))
            try:
                run("ssh-keygen", "-Y", "verify", "-f", str(signers), *words, given=self.text)
            except AgentError as error:
                raise AgentError("not signed by the key that administers this machine") from error


def _is_news(told: Told, config: Config) -> bool:
    return told.deployment == config.deployment and told.at > config.build_machine_at


def _last(kept: Path) -> int:
    """Return when that was said which was believed last; 0: nothing was."""
    try:
        return _Signed.read(kept.read_bytes()).told.at
    except (OSError, AgentError):
        return 0
