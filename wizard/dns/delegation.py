"""Which name servers the world is told to ask for a zone."""

from __future__ import annotations

import dns.exception
import dns.resolver

from wizard.dns.exchange import Address
from wizard.errors import TransientError

_PATIENCE = 5.0  # seconds, all resolvers of this computer together


def delegated_to(zone: str, resolver: Address | None = None) -> tuple[str, ...]:
    """Return the names of the servers that serve a zone for the world, sorted; none if none do.

    Asks this computer's resolvers, or over TCP the one given. TransientError if none answers.
    """
    try:
        asked = dns.resolver.Resolver(configure=resolver is None)
        if resolver is not None:
            asked.nameservers, asked.port = [resolver[0]], resolver[1]
        answer = asked.resolve(
            f"{zone}.",
            "NS",
            tcp=resolver is not None,
            raise_on_no_answer=False,
            lifetime=_PATIENCE,
        )
    except dns.resolver.NXDOMAIN:
        return ()
    except dns.resolver.NoNameservers as error:
        raise TransientError(
            f"the name servers of {zone} cannot be found out",
            where="dns.zone",
            why="the resolver answers with a failure: its servers may not answer, or not know it",
            cure="look which name servers the registrar names, and whether they serve the zone",
        ) from error
    except (dns.exception.DNSException, OSError) as error:
        raise TransientError(
            f"the name servers of {zone} cannot be found out",
            where="dns.zone",
            why=f"no resolver answers within {_PATIENCE:.0f} s",
            cure="check this computer's network, then try again",
        ) from error
    return tuple(sorted(normal(rdata.target.to_text()) for rdata in answer.rrset or ()))


def normal(name: str) -> str:
    """Return a server's name as it is compared: small letters, no dot at its end."""
    return name.lower().rstrip(".")
