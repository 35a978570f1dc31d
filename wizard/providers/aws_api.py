"""Calls of Amazon's APIs, with errors that say what to do. Also for Route 53.

A call that may have taken effect is never repeated here; one that was throttled had none, and is.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoRegionError,
)
from botocore.parsers import ResponseParserError

from wizard.errors import ProviderError, TransientError
from wizard.providers import aws_session, waiting
from wizard.secrets import Secret

HOME = "us-east-1"
"""The region that global services are asked in."""

_SETTLE = 60.0  # seconds until what was made is seen by all of EC2
_THROTTLED_TRIES = 8
_SKEW = 300  # seconds that a clock may be off; https://docs.aws.amazon.com/IAM, "signing"
_THROTTLED = frozenset(
    {
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_TRANSIENT = frozenset(
    {
        "ConcurrentModification",
        "DependencyTimeout",
        "DependencyViolation",
        "FileSystemInUse",
        "IncorrectFileSystemLifeCycleState",
        "IncorrectState",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "ServerInternal",
        "ServiceUnavailable",
        "Unavailable",
    }
)
_UNKNOWN_KEY = frozenset(
    {"AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"}
)
_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed"}
)
_SIGNATURE = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
_FORBIDDEN = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "UnauthorizedException",
    }
)
_QUOTA = re.compile(
    r"LimitExceeded|QuotaExceeded|^TooManyBuckets$|^TooManyHealthChecks$|^PendingVerification$"
)
_CURES = {
    "InsufficientDBInstanceCapacity": "choose another database.size or region, or run again later",
    "InsufficientInstanceCapacity": "choose another size or region, or run again later",
    "MaxSpotInstanceCountExceeded": "ask for more spot instances in Amazon's console (Service "
    "Quotas), or set machines.spot to false",
    "SpotMaxPriceTooLow": "set machines.spot to false, or run again later",
    "OptInRequired": "switch the region or the service on for this account in Amazon's console",
    "Blocked": "ask Amazon's support to unblock the account",
}


class Api:
    """Asks in one region. Errors are ProviderError, or TransientError where asking again may help;
    `error.code` is Amazon's own ("VpcLimitExceeded", …)."""

    def __init__(
        self,
        token: Secret,
        region: str,
        url: str = "",
        *,
        credentials: str = "provider.credentials",
        timeout: float | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.region = region
        self.pause = pause
        self._url = url
        self._credentials = credentials
        self._settings = {} if timeout is None else {"read_timeout": timeout}
        self._session = aws_session.session(aws_session.parse(token, credentials), url)
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Api({self.region!r}, {self._url or 'Amazon'!r})"

    def knows(self, region: str) -> bool:
        """Say whether the library knows that region's addresses."""
        return region in self._session.get_available_regions("ec2")

    def client(self, service: str, region: str = "") -> Any:
        """Return botocore's client of a service, made once."""
        key = service, region or self.region
        with self._lock:
            if key not in self._clients:
                made = aws_session.client(
                    self._session, service, key[1], self._url, **self._settings
                )
                self._clients[key] = made
            return self._clients[key]

    def elsewhere(self, url: str) -> str:
        """Return where something of Amazon's that is no API is read: there, or through the address
        that stands for all of Amazon."""
        return f"{self._url.rstrip('/')}/{url.removeprefix('https://')}" if self._url else url

    @property
    def session(self) -> Any:
        """Return botocore's session, whose keys are renewed where they end."""
        return self._session

    def frozen_keys(self) -> aws_session.Credentials:
        """Return the keys as they are now, those of the role where one is assumed."""

        def freeze() -> dict[str, Any]:
            found: Any = self._session.get_credentials()
            return dict(found.get_frozen_credentials()._asdict())

        keys = self._guarded("sts.assume_role", "assume the role", freeze)
        token = keys["token"]
        return aws_session.Credentials(
            keys["access_key"], Secret(keys["secret_key"]), Secret(token) if token else None
        )

    def call(
        self, operation: str, doing: str, *, region: str = "", fresh: bool = False, **wanted: Any
    ) -> dict[str, Any]:
        """Return one answer; `operation` is such as "ec2.create_vpc". `fresh`: it names something
        just made, which EC2 may not see everywhere yet."""
        service, _, method = operation.partition(".")
        act = getattr(self.client(service, region), method)
        end, wait, tries = time.monotonic() + _SETTLE, 0.2, 0
        while True:
            try:
                answer: dict[str, Any] = self._guarded(operation, doing, lambda: act(**wanted))
            except ProviderError as error:
                tries += 1
                throttled = error.code in _THROTTLED and tries < _THROTTLED_TRIES
                new = fresh and (is_missing(error) or is_new_profile(error))
                unseen = new and time.monotonic() < end and tries < 100
                if not (throttled or unseen):
                    raise
            else:
                return answer
            self.pause(wait)
            wait = min(wait * 1.5, 5.0)

    def remove(
        self,
        operation: str,
        doing: str,
        *,
        region: str = "",
        fine: tuple[str, ...] = (),
        **what: Any,
    ) -> None:
        """Ask for something to be gone; what is gone already is no error, nor are the codes
        `fine`."""
        try:
            self.call(operation, doing, region=region, **what)
        except ProviderError as error:
            if not is_missing(error) and error.code not in fine:
                raise

    def pages(
        self, operation: str, key: str, doing: str, *, region: str = "", **wanted: Any
    ) -> list[dict[str, Any]]:
        """Return the items called `key` of all pages."""
        service, _, method = operation.partition(".")
        asked = self.client(service, region)
        found: list[dict[str, Any]] = []
        following: dict[str, Any] = {}
        names = asked.get_paginator(method)
        token_in = names._input_token[0]
        token_out = names._output_token[0].search
        seen: set[str] = set()
        while True:
            answer = self.call(operation, doing, region=region, **wanted, **following)
            if key not in answer:
                raise self.senseless(doing, f"it has no {key}")
            found += answer[key] or []
            following = {token_in: token_out(answer)}
            if not following[token_in]:
                return found
            if following[token_in] in seen:
                raise self.senseless(doing, "its list never ends")
            seen.add(following[token_in])

    def senseless(self, doing: str, why: str) -> ProviderError:
        """Return the error for an answer that is not what the API promises."""
        return ProviderError(
            f"cannot {doing}: the answer of Amazon's API makes no sense",
            where=self._url or self.region,
            why=why,
            cure="run again; if it stays so, see health.aws.amazon.com, or whether something on "
            "the network answers in Amazon's place",
            code="senseless",
        )

    def _guarded(self, operation: str, doing: str, act: Callable[[], Any]) -> dict[str, Any]:
        try:
            answer = act()
        except ClientError as error:
            raise self._refused(operation, doing, error) from error
        except (ConnectionError, HTTPClientError, IncompleteReadError) as error:
            raise TransientError(
                f"cannot {doing}: Amazon's API does not answer",
                where=self._url or self.region,
                why=str(error),
                cure="check this computer's network and provider.region, then run again",
            ) from error
        except (BotoCoreError, NoRegionError, ResponseParserError, ValueError) as error:
            raise self.senseless(doing, str(error) or type(error).__name__) from error
        # a web page is parsed to an empty answer
        kind = str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("content-type"))
        if "html" in kind:
            raise self.senseless(doing, f"it is {kind}")
        return dict(answer)

    def _refused(self, operation: str, doing: str, error: ClientError) -> ProviderError:
        told = error.response.get("Error", {})
        metadata: dict[str, Any] = dict(error.response.get("ResponseMetadata", {}))
        code = str(told.get("Code", ""))
        status = int(metadata.get("HTTPStatusCode", 0))
        request_id = str(metadata.get("RequestId", ""))
        transient = code in _TRANSIENT | _THROTTLED or status >= 500
        own = code in _UNKNOWN_KEY | _EXPIRED | _SIGNATURE | _FORBIDDEN
        why = f"{code}: {str(told.get('Message', ''))[:500]}"
        return (TransientError if transient else ProviderError)(
            f"cannot {doing}",
            where=self._credentials if own else "",
            why=why + (f" (request {request_id})" if request_id else ""),
            cure="run again in a moment" if transient else self._cure(operation, code, metadata),
            code=code,
            request_id=request_id,
        )

    def _cure(self, operation: str, code: str, metadata: dict[str, Any]) -> str:
        off = _clock_off(metadata) if code in _UNKNOWN_KEY | _EXPIRED | _SIGNATURE else 0
        if abs(off) > _SKEW:
            minutes = f"{round(abs(off) / 60)} minutes {'ahead' if off > 0 else 'behind'}"
            return f"set this computer's clock: it is {minutes}"
        if code in _UNKNOWN_KEY:
            return (
                f"name valid keys in {self._credentials}: this access key is unknown, switched "
                f"off, or the region {self.region} is not switched on for its account"
            )
        if code in _SIGNATURE:
            return f"correct the secret key in {self._credentials}: it is not the access key's"
        if code in _EXPIRED:
            return f"put fresh credentials into {self._credentials} and run again: it goes on"
        if code in _FORBIDDEN:
            return (
                f"give these credentials the right {action(operation)}: `build-usb check` lists all"
            )
        if _QUOTA.search(code):
            return "delete what is not needed, or ask for more in Amazon's console, Service Quotas"
        cure = "correct what it says, or ask Amazon's support, naming the request id"
        return _CURES.get(code, cure)


def action(operation: str) -> str:
    """Return the IAM action of an operation: ec2.create_vpc -> ec2:CreateVpc."""
    service, _, method = operation.partition(".")
    names = {"service-quotas": "servicequotas", "efs": "elasticfilesystem"}
    name = "".join(word.capitalize() for word in method.split("_"))
    if service == "rds":
        name = name.replace("Db", "DB")
    return f"{names.get(service, service)}:{name}"


def is_missing(error: ProviderError) -> bool:
    """Say whether the API refused because there is no such thing."""
    return error.code.endswith(("NotFound", "NoSuchEntity")) or error.code in (
        "InvalidAMIID.Unavailable",
    )


def is_new_profile(error: ProviderError) -> bool:
    """Say whether EC2 does not know an instance profile yet that IAM knows; it takes seconds."""
    return error.code == "InvalidParameterValue" and "iaminstanceprofile" in error.why.lower()


def is_forbidden(error: ProviderError) -> bool:
    """Say whether the credentials lack the right."""
    return error.code in _FORBIDDEN


wait_until = partial(waiting.wait_until, see="health.aws.amazon.com")


def _clock_off(metadata: dict[str, Any]) -> int:
    """Return by how many seconds this computer's clock is ahead of the answer's."""
    told = metadata.get("HTTPHeaders", {}).get("date", "")
    try:
        theirs = parsedate_to_datetime(told)
    except (TypeError, ValueError):
        return 0
    return int((datetime.now(UTC) - theirs).total_seconds())
