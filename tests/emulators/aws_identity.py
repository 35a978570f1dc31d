"""Who asks Amazon, and what IAM lets them do: keys, and policies evaluated with their resources and
conditions. Moto's own evaluation knows neither of the two.

Only what our policies use is known; anything else in one is an error, never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]
_PARTS = {"Sid", "Effect", "Action", "Resource", "Condition"}


@dataclass(frozen=True)
class Ask:
    """A right that a request needs: IAM's action, the ARN that it is about ("*" where IAM knows
    none), and what IAM knows about it then, by the names that conditions use."""

    action: str
    resource: str = "*"
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def told(self) -> str:
        return f"{self.action} on resource: {self.resource}"


@dataclass
class Key:
    """An access key: its secret, the token that belongs to it, whether it has ended, actions that
    it may not do, and the statements of the role that it is of (None: it may do all else) with the
    role's session (an ARN)."""

    secret: str = "a-secret-key"
    token: str = ""
    expired: bool = False
    denied: frozenset[str] = frozenset()
    rights: Callable[[], list[Statement]] | None = None
    arn: str = ""

    def lacks(self, asks: Iterable[Ask]) -> Ask | None:
        """Return the first right that the key has not, None: it has all."""
        if self.rights is None:
            return None
        statements = self.rights()
        return next((ask for ask in asks if not allowed(statements, ask)), None)


def allowed(statements: Iterable[Statement], ask: Ask) -> bool:
    """Say whether something allows it, and nothing denies it."""
    effects = {statement["Effect"] for statement in statements if _concerns(statement, ask)}
    return effects == {"Allow"}


def _concerns(statement: Statement, ask: Ask) -> bool:
    unknown = set(statement) - _PARTS
    if unknown:
        raise NotImplementedError(f"this part of a policy: {sorted(unknown)}")
    return (
        any(_like(pattern.lower(), ask.action.lower()) for pattern in _list(statement["Action"]))
        and any(_like(pattern, ask.resource) for pattern in _list(statement["Resource"]))
        and all(
            _holds(operator, key, _list(wanted), ask.context)
            for operator, pairs in statement.get("Condition", {}).items()
            for key, wanted in pairs.items()
        )
    )


def _holds(
    operator: str, key: str, wanted: list[str], context: Mapping[str, tuple[str, ...]]
) -> bool:
    told = context.get(key, ())
    if operator == "StringEquals":
        # one value that there is; who asks without it is not let through
        return len(told) == 1 and told[0] in wanted
    if operator == "ForAllValues:StringEquals":
        # as at Amazon: nothing at all is all of nothing
        return set(told) <= set(wanted)
    raise NotImplementedError(f"conditions of the kind {operator}")


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _like(pattern: str, text: str) -> bool:
    """Say whether a text matches: * is any text, ? any character."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None
