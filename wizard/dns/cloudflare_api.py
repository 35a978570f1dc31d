"""Cloudflare's official client, made strict about what can go wrong."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cloudflare
import httpx

from wizard.errors import ProviderError, TransientError
from wizard.secrets import Secret

URL = "https://api.cloudflare.com/client/v4"
TIMEOUT = 30.0  # seconds to connect and answer

_MOST_PAGES = 1000  # a server that never ends its list is broken


class Api:
    """Asks the API through `client`'s calls with raw responses. Errors are ProviderError, or
    TransientError where asking again may help; `error.code` is Cloudflare's own."""

    def __init__(self, token: Secret, url: str = URL, timeout: float = TIMEOUT) -> None:
        self.url = url
        self.client = cloudflare.Cloudflare(
            api_token=token.reveal(),
            base_url=url,
            timeout=timeout,
            max_retries=0,  # the engine repeats whole steps, which look before they change
            # neither proxies nor ~/.netrc of this computer
            http_client=httpx.Client(trust_env=False),
        )
        weakref.finalize(self, self.client.close)
        # the client takes these from the environment when they are not given, and prefers them
        self.client.api_key = self.client.api_email = self.client.user_service_key = None

    def ask(self, doing: str, permission: str, call: Callable[..., Any], **given: Any) -> Any:
        """Return the `result` of one call. `permission`: what the token needs, for the error."""
        with self._errors(doing, permission):
            response: httpx.Response = call(**given).http_response
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise senseless(doing, f"it begins with {response.text[:80]!r}", _request_id(response))
        return answer.get("result")

    def list(
        self, doing: str, permission: str, call: Callable[..., Any], size: int, **given: Any
    ) -> Iterator[Any]:
        """Return the items of all pages of `size`."""
        for page in range(1, _MOST_PAGES + 1):
            items = self.ask(doing, permission, call, page=page, per_page=size, **given)
            if not isinstance(items, list):
                raise senseless(doing, "it holds no list")
            yield from items
            if len(items) < size:
                return
        raise senseless(doing, "its list never ends")

    @contextmanager
    def _errors(self, doing: str, permission: str) -> Iterator[None]:
        try:
            yield
        except cloudflare.APIStatusError as error:
            raise _refused(doing, permission, error.response) from error
        except cloudflare.APIConnectionError as error:
            raise TransientError(
                f"cannot {doing}: Cloudflare's API does not answer",
                where=self.url,
                why=str(error.__cause__ or error) or type(error).__name__,
                cure="check this computer's network, then run again",
            ) from error


def is_missing(error: ProviderError) -> bool:
    """Say whether the API refused because there is no such thing."""
    return getattr(error.__cause__, "status_code", None) == 404


@contextmanager
def unless_missing() -> Iterator[None]:
    """Let what is asked within be asked of something that is not there."""
    try:
        yield
    except ProviderError as error:
        if not is_missing(error):
            raise


def senseless(doing: str, why: str, request_id: str = "") -> ProviderError:
    """Return the error for an answer that is not what the API promises."""
    return ProviderError(
        f"cannot {doing}: the answer of Cloudflare's API makes no sense",
        why=why,
        cure="run again; if it stays so, see cloudflarestatus.com, or whether something on the "
        "network answers in Cloudflare's place",
        code="senseless",
        request_id=request_id,
    )


def _refused(doing: str, permission: str, response: httpx.Response) -> ProviderError:
    code, message = _first_error(response)
    status = response.status_code
    request_id = _request_id(response)
    transient = status in (408, 409, 429) or status >= 500
    told = f"{status} {code}: {message}" if code else f"HTTP status {status}"
    return (TransientError if transient else ProviderError)(
        f"cannot {doing}",
        where="dns.credentials" if status in (401, 403) else "",
        why=told + (f" (request {request_id})" if request_id else ""),
        cure=_cure(status, code, permission, response),
        code=code or str(status),
        request_id=request_id,
    )


def _cure(status: int, code: str, permission: str, response: httpx.Response) -> str:
    if status == 429:
        after = response.headers.get("retry-after", "")
        # https://developers.cloudflare.com/fundamentals/api/reference/limits/
        return f"wait {after or '300'} seconds: Cloudflare limits requests a user and 5 minutes"
    if status >= 500 or status in (408, 409):
        return "run again in a moment"
    if code in ("6003", "6111", "1000", "1001") or status == 401:
        return "name a valid API token in dns.credentials: this one is unknown or malformed"
    if status == 403 or code in ("9109", "10000"):
        what = "this zone's account" if permission.startswith("Account") else "this zone"
        return f"give the API token the permission {permission} for {what}"
    return "ask Cloudflare's support, naming the request id"


def _first_error(response: httpx.Response) -> tuple[str, str]:
    try:
        first = response.json()["errors"][0]
        return str(first["code"]), str(first["message"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return "", ""


def _request_id(response: httpx.Response) -> str:
    return str(response.headers.get("cf-ray", ""))
