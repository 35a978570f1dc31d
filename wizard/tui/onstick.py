"""What both front ends do with the stick they run from: settings, volume, recovery key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wizard.errors import BuildUsbError, PassphraseError
from wizard.home.passphrase import refuse_weak
from wizard.secrets import Secret
from wizard.stick import luks, media, settings
from wizard.stick.client import OtherStick, Status, Stick
from wizard.stick.medium import Origin
from wizard.stick.settings import Settings
from wizard.stick.volume import Phase

if TYPE_CHECKING:
    from wizard.tui.desk import Desk

LOST = (
    "Without the encrypted volume everything is in memory only. When the computer is switched off, "
    "all of it is lost: the keys to the machines you rented, their passwords, answers, logs. The "
    "machines go on running, and on costing. With object storage, a deployment can be taken over "
    "again (build-usb adopt)."
)
KEEP = (
    "This is the recovery key. Write it down now: it is shown this once. It opens the volume when "
    "the passphrase is forgotten, and whoever has it has all that is in it.\n\n    {key}"
)
_PROTECTED = (
    "This stick ({model}) is write-protected: by a switch on it, or by itself because it is worn "
    "out. No encrypted volume can be {done} on it. To have one, switch the computer off, move the "
    "switch or take another stick, and start again."
)
_BEFORE_USE = (Phase.ABSENT, Phase.UNFINISHED, Phase.LOCKED)
_NO_VOLUME = {
    Origin.MEMORY: "The system runs from memory, and the stick is not plugged in.",
    Origin.DISC: "The system was started from a disc, or from a file on a multi-boot stick: it "
    "has no partitions to keep anything on.",
}


class OnStick:
    """One person's stick. Methods are slow and raise BuildUsbError where not said otherwise."""

    def __init__(self, desk: Desk, stick: Stick | None = None) -> None:
        self.stick = stick or Stick()
        self._desk = desk
        self.remembered = settings.remembered(media.ANSWERS)
        self.status = Status(Origin.ORDINARY)

    def look(self) -> Status:
        """Ask for the state of stick and volume, and keep it."""
        self.status = self.stick.status()
        return self.status

    def describe(self) -> str:
        """Return what can be done about the volume, for people."""
        status = self.status
        if status.protected and status.phase in _BEFORE_USE:
            done = "opened" if status.phase is Phase.LOCKED else "made"
            return _PROTECTED.format(model=status.model, done=done) + f"\n\n{LOST}"
        match status.phase:
            case Phase.ABSENT | Phase.UNFINISHED:
                return (
                    f"The rest of this stick ({status.room / 1e9:.1f} GB of {status.model}) can "
                    "become an encrypted volume, which keeps keys, passwords and answers. Choose "
                    "its passphrase: four or five unrelated words are strong and easy to type."
                )
            case Phase.LOCKED:
                return "This stick has an encrypted volume. Its passphrase opens it."
            case Phase.OPEN:
                return f"The encrypted volume is open; {status.free / 1e9:.1f} GB are free."
            case Phase.DAMAGED:
                return (
                    "The encrypted volume of this stick is damaged: no passphrase can open it. "
                    f"Restore a backup on another stick (docs/stick.md).\n\n{LOST}"
                )
        return f"{_NO_VOLUME.get(status.origin, 'This is no stick.')}\n\n{LOST}"

    def use(self, chosen: Settings) -> str:
        """Apply settings, keep them for the next start; return why they are not kept, or ""."""
        self.stick.use(chosen)
        self.remembered = chosen
        try:
            self.stick.remember(chosen)
        except BuildUsbError as error:
            return f"They are used now, but cannot be kept for the next start: {error.what}."
        return ""

    def create(self, passphrase: Secret) -> Secret:
        """Make the volume with a build home in it, both opened; return the recovery key."""
        refuse_weak(passphrase)
        recovery = self.stick.create(passphrase)
        self._unlock_home(passphrase, recovery)
        return recovery

    def open(self, passphrase: Secret) -> None:
        """Open the volume and the build home in it."""
        self.stick.open(passphrase)
        self._unlock_home(passphrase)

    def recover(self, recovery: Secret, passphrase: Secret) -> None:
        """Open the volume and its home by the recovery key; both get the new passphrase."""
        refuse_weak(passphrase)
        self.stick.recover(recovery, passphrase)
        self._desk.home = None
        if not self._desk.is_new():
            self._desk.open_home().recover(luks.typed_recovery_key(recovery), passphrase)
        self._unlock_home(passphrase)

    def clone(self, other: OtherStick, passphrase: Secret | None) -> Secret | None:
        """Make another stick a copy of this one; return the recovery key of the copy.

        `passphrase` is the volume's; a stick without a volume has neither."""
        key = luks.generate_recovery_key()
        if passphrase is None:
            self.stick.clone(other, key, key)
            return None
        self.open(passphrase)
        session = self._desk.session
        if session is not None:
            session.home.keep_recovery(session.vault, key, beside=True)
        self.stick.clone(other, passphrase, key)
        return key

    @property
    def has_volume(self) -> bool:
        """Say whether there was a volume when it was last looked at."""
        return self.status.phase in (Phase.LOCKED, Phase.OPEN)

    def _unlock_home(self, passphrase: Secret, recovery: Secret | None = None) -> None:
        desk = self._desk
        desk.home = None  # what was looked at before lies below the volume now
        try:
            desk.unlock(passphrase)
        except PassphraseError:
            return  # the home came with a passphrase of its own: it is asked for where it is needed
        if recovery is not None and desk.session is not None:
            desk.session.home.keep_recovery(desk.session.vault, recovery)
