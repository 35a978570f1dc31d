"""Signed questions to one name server, and what its refusals mean to a person."""

from __future__ import annotations

import base64
import socket
from collections.abc import Container, Iterator
from contextlib import contextmanager

import dns.exception
import dns.inet
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.xfr
import dns.zone

from wizard.errors import ProviderError, TransientError
from wizard.providers.base import DnsServer

Address = tuple[str, int]

_TRANSFER_TIMEOUT = 30.0  # seconds for a whole zone
_ALGORITHMS = {
    "hmac-sha1": dns.tsig.HMAC_SHA1,
    "hmac-sha224": dns.tsig.HMAC_SHA224,
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
}
_CURES = {
    dns.rcode.REFUSED: "allow queries, updates and transfers of this zone to the key {key}",
    dns.rcode.NOTAUTH: "check dns.zone and dns.rfc2136.server: this server must be the zone's "
    "primary, and know the key {key}",
    dns.rcode.NOTZONE: "check dns.zone and the domain's name",
    dns.rcode.NOTIMP: "switch dynamic updates (RFC 2136) on at the server",
    dns.rcode.SERVFAIL: "look into the server's log, then run again",
}


_UNSIGNED = (
    "the answer is not signed by the key: the server refuses the zone, or it is another server",
    "check dns.zone, that this server is the zone's primary, and that it knows the key",
)


class Exchange:
    """Talks TCP with one server, TSIG in both directions. `timeout` in seconds."""

    def __init__(self, server: DnsServer, timeout: float) -> None:
        self.where = f"{server.address}:{server.port}"
        self._server = server
        self._timeout = timeout
        self._key = _tsig_key(server)

    def ask(
        self, message: dns.message.Message, doing: str, expected: Container[dns.rcode.Rcode] = ()
    ) -> dns.message.Message:
        """Return the server's signed answer: NOERROR or an `expected` code. ProviderError else."""
        message.use_tsig(self._key)
        address, port = self.address()
        with self._errors(doing):
            answer = dns.query.tcp(message, address, self._timeout, port)
        code = answer.rcode()
        if code != dns.rcode.NOERROR and code not in expected:
            raise self._refused(doing, code)
        if not answer.had_tsig:
            raise self._unanswered(doing, "UNSIGNED", *_UNSIGNED)
        return answer

    def transfer(self, zone: dns.name.Name) -> dns.zone.Zone:
        """Return all of the zone (AXFR)."""
        content = dns.zone.Zone(zone)
        query, _ = dns.xfr.make_query(content, keyring=self._key)
        address, port = self.address()
        doing = "list the zone's records"
        with self._errors(doing):
            try:
                dns.query.inbound_xfr(
                    address, content, query, port, self._timeout, _TRANSFER_TIMEOUT
                )
            except dns.xfr.TransferError as error:
                raise self._refused(doing, error.rcode) from error
        return content

    def address(self) -> Address:
        """Return the server's address, looked up where answers give a name."""
        named = self._server.address
        if dns.inet.is_address(named):
            return named, self._server.port
        found = addresses_of(named)
        if not found:
            raise TransientError(
                f"the DNS server {named} has no address",
                where="dns.rfc2136.server",
                cure="check the name, and that this computer's network works",
            )
        return found[0], self._server.port

    def _refused(self, doing: str, code: dns.rcode.Rcode) -> ProviderError:
        kind = TransientError if code == dns.rcode.SERVFAIL else ProviderError
        cure = _CURES.get(code, "look into the server's log")
        return kind(
            f"cannot {doing}",
            where=self.where,
            why=f"the DNS server answers {dns.rcode.to_text(code)}",
            cure=cure.format(key=self._server.key_name),
            code=dns.rcode.to_text(code),
        )

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        key = self._server.key_name
        try:
            yield
        except (dns.tsig.PeerBadKey, dns.message.UnknownTSIGKey) as error:
            raise self._unanswered(
                doing,
                "BADKEY",
                f"the server does not know the key {key}, or does not let it do this",
                "correct its name, or allow it queries, updates and transfers of the zone",
            ) from error
        except (dns.tsig.PeerBadSignature, dns.tsig.BadSignature) as error:
            raise self._unanswered(
                doing,
                "BADSIG",
                f"the server has another value or algorithm for the key {key}",
                "correct the key's value and algorithm",
            ) from error
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime) as error:
            raise self._unanswered(
                doing,
                "BADTIME",
                "this computer's clock and the server's differ by more than five minutes",
                "set the clock",
            ) from error
        except dns.exception.FormError as error:
            if "TSIG" not in str(error):
                raise self._senseless(doing, error) from error
            raise self._unanswered(doing, "UNSIGNED", *_UNSIGNED) from error
        except (OSError, EOFError, dns.exception.Timeout) as error:
            raise TransientError(
                f"cannot {doing}: the DNS server does not answer",
                where=self.where,
                why=str(error) or type(error).__name__,
                cure="check that it runs, and that TCP to this port is let through",
            ) from error
        except dns.exception.DNSException as error:
            raise self._senseless(doing, error) from error

    def _senseless(self, doing: str, error: Exception) -> ProviderError:
        return ProviderError(
            f"cannot {doing}: the DNS server's answer makes no sense",
            where=self.where,
            why=str(error) or type(error).__name__,
            cure="check that a name server listens there",
        )

    def _unanswered(self, doing: str, code: str, why: str, cure: str) -> ProviderError:
        return ProviderError(
            f"cannot {doing}", where=self.where, why=why, cure=f"{cure}, then run again", code=code
        )


def addresses_of(name: str) -> list[str]:
    """Return the addresses this computer's resolver gives for a name, none if it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _tsig_key(server: DnsServer) -> dns.tsig.Key:
    try:
        algorithm = _ALGORITHMS[server.algorithm.lower().rstrip(".")]
        value = base64.b64decode(server.key.reveal(), validate=True)
        return dns.tsig.Key(server.key_name, value, algorithm)
    except (KeyError, ValueError, dns.exception.DNSException):
        # without its cause: that could show the key
        raise ProviderError(
            f"the TSIG key {server.key_name} cannot be used",
            where="dns.rfc2136",
            why=f"either its value is not base64 or {server.algorithm} is no algorithm known here",
            cure="give the key as keymgr or tsig-keygen printed it; hmac-sha256 is usual",
        ) from None
