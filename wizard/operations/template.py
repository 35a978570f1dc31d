"""Answers to begin with, for every pair of a cloud and a DNS provider."""

from __future__ import annotations

from wizard.errors import UsageError
from wizard.machines.templates import render

REGIONS = {"local": "here", "aws": "eu-central-1", "digitalocean": "fra1"}
"""The clouds there are templates for, each with a region."""
DNS = ("cloudflare", "route53", "digitalocean", "rfc2136")


def template(provider: str, dns: str, *, production: bool = False) -> str:
    """Return the YAML of answers, commented where something has to be filled in."""
    for what, name, known in (("cloud", provider, REGIONS), ("DNS provider", dns, DNS)):
        if name not in known:
            raise UsageError(
                f"there is no template for the {what} {name}",
                cure=f"choose one of: {', '.join(known)}",
            )
    return render(
        "answers/pair.yaml.j2",
        provider=provider,
        dns=dns,
        region=REGIONS[provider],
        production=production,
    )
