"""What an application needs on a machine: one module each, behind the protocol in base."""

from __future__ import annotations

from importlib import import_module

from wizard.applications.base import Application
from wizard.errors import NotSupportedError

_KINDS = {
    "wordpress": ("wizard.applications.wordpress", "WordPress"),
    "moodle": ("wizard.applications.moodle", "Moodle"),
    "drupal": ("wizard.applications.drupal", "Drupal"),
    "joomla": ("wizard.applications.joomla", "Joomla"),
    "php": ("wizard.applications.own", "Php"),
    "static": ("wizard.applications.own", "Static"),
}


def application(kind: str) -> Application:
    """Return the application of that kind; NotSupportedError for those of later versions."""
    if kind not in _KINDS:
        raise NotSupportedError(
            f"this version cannot deploy {kind}",
            cure=f"choose one of: {', '.join(sorted(_KINDS))}",
        )
    module, name = _KINDS[kind]
    found: Application = getattr(import_module(module), name)()
    return found
