"""Every error a person can meet, and the exit code each ends with.

    BuildUsbError                 what happened, where, why, what to do next
    ├── UsageError                the command line cannot be understood
    ├── AnswersError              the answers file is wrong (all problems at once)
    ├── NotSupportedError         right, but this version cannot do it yet
    ├── HomeError                 the build home cannot be used
    │   ├── LockedError           another run works on the same deployment
    │   └── PassphraseError       the passphrase is missing or wrong
    ├── ProviderError             a cloud, DNS or storage API said no
    │   └── TransientError        … but may say yes when asked again
    ├── NetworkError              this computer has no way to the network
    ├── MachineError              a machine could not be reached or configured
    └── InterruptedRunError       stopped by the user; nothing is lost

Leaf module: standard library only.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What `build-usb` ends with; listed in docs/exit-codes.md."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    INVALID_ANSWERS = 3
    NOT_SUPPORTED = 4
    HOME = 5
    LOCKED = 6
    PASSPHRASE = 7
    PROVIDER = 8
    MACHINE = 9
    UNHEALTHY = 10
    NETWORK = 11
    INTERRUPTED = 130


class BuildUsbError(Exception):
    """Base of all errors shown to people.

    `what` happened (one line), `where` (file, machine, resource), `why` (may be several lines,
    such as the last output of a program), `cure`: what to do next.
    """

    exit_code = ExitCode.FAILURE

    def __init__(self, what: str, *, where: str = "", why: str = "", cure: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.cure = cure

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.why:
            lines += [f"  why: {self.why}" if "\n" not in self.why else "  why:"]
            if "\n" in self.why:
                lines += [f"    {line}" for line in self.why.splitlines()]
        if self.cure:
            lines.append(f"  what to do: {self.cure}")
        return "\n".join(lines)


class UsageError(BuildUsbError):
    """The command line cannot be understood."""

    exit_code = ExitCode.USAGE


class AnswersError(BuildUsbError):
    """The answers are wrong; `problems` holds one readable text per problem, all at once."""

    exit_code = ExitCode.INVALID_ANSWERS

    def __init__(self, what: str, problems: list[str], *, where: str = "", cure: str = "") -> None:
        super().__init__(what, where=where, why="\n".join(problems), cure=cure)
        self.problems = problems


class NotSupportedError(BuildUsbError):
    """Asked for something right that this version cannot do yet."""

    exit_code = ExitCode.NOT_SUPPORTED


class HomeError(BuildUsbError):
    """The build home cannot be read or written."""

    exit_code = ExitCode.HOME


class LockedError(HomeError):
    """Another run works on the same deployment."""

    exit_code = ExitCode.LOCKED


class PassphraseError(HomeError):
    """The passphrase of the build home is missing or wrong."""

    exit_code = ExitCode.PASSPHRASE


class ProviderError(BuildUsbError):
    """A provider's API refused; keeps its error code and request id for support."""

    exit_code = ExitCode.PROVIDER

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        why: str = "",
        cure: str = "",
        code: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(what, where=where, why=why, cure=cure)
        self.code = code
        self.request_id = request_id


class TransientError(ProviderError):
    """The same request may succeed later (rate limit, time-out, not ready yet)."""


class MachineError(BuildUsbError):
    """A machine could not be reached, or an operation on it failed."""

    exit_code = ExitCode.MACHINE


class NetworkError(BuildUsbError):
    """This computer has no way to the network, or to the one that is needed."""

    exit_code = ExitCode.NETWORK


class InterruptedRunError(BuildUsbError):
    """The user stopped the run; running it again continues."""

    exit_code = ExitCode.INTERRUPTED
