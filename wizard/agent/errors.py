"""What can go wrong on a machine, as one readable line."""

from __future__ import annotations


class AgentError(Exception):
    """A problem that a person must be able to understand from its text alone."""


class TimeLimitError(AgentError):
    """Something took longer than it may."""
