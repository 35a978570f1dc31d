"""How long a passphrase resists guessing: zxcvbn's estimate, in words."""

from __future__ import annotations

from wizard.home.passphrase import MINIMUM_LENGTH
from wizard.secrets import Secret

_EXAMINED = 72  # characters; zxcvbn takes no more
# by log10 of guesses: argon2id with 512 MiB allows some thousands a second for 10 000 EUR
_WORDS = ((9.0, "weak: hours"), (11.0, "fair: a year"), (14.0, "good: centuries"))


def strength(passphrase: Secret) -> str:
    """Return how strong it is: one word, and how long a well-equipped thief needs."""
    from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # its word lists take a tenth second

    text = passphrase.reveal()
    if not text:
        return ""
    if len(text) < MINIMUM_LENGTH:
        return f"{len(text)} of at least {MINIMUM_LENGTH} characters"
    guesses = float(zxcvbn(text[:_EXAMINED])["guesses_log10"])
    return next((words for limit, words in _WORDS if guesses < limit), "strong: beyond reach")
