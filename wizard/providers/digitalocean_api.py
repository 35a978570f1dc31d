"""DigitalOcean's HTTP API: python-digitalocean's base class, made strict about what can go wrong.

The library's own classes drop the API's error code and request id, wait for ever, send explicit
nulls and undeclared parameters, and take proxies and ~/.netrc from this computer. Its base class
was made to be extended: its session, token and end point are used, requests are made here.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from digitalocean.baseapi import BaseAPI

from wizard.errors import ProviderError, TransientError
from wizard.providers import waiting
from wizard.secrets import Secret

URL = "https://api.digitalocean.com/v2/"
PAGE = 200  # items a request; what the API allows at most

READ_TIMEOUT = 60.0  # seconds
_CONNECT_TIMEOUT = 10.0
_MOST_PAGES = 1000  # a server that never ends its list is broken
_VERBS = {"GET": "read", "POST": "create", "PUT": "update", "DELETE": "delete"}
# https://docs.digitalocean.com/reference/api/scopes/: the first part of a path -> its scope
_SCOPES = {
    "droplets": "droplet",
    "vpcs": "vpc",
    "firewalls": "firewall",
    "tags": "tag",
    "snapshots": "snapshot",
    "images": "image",
    "sizes": "sizes",
    "regions": "regions",
    "domains": "domain",
    "databases": "database",
    "projects": "project",
    "reserved_ips": "reserved_ip",
    "account/keys": "ssh_key",
    "spaces/keys": "spaces_key",
    "account": "account",
    "actions": "actions",
}


class Api(BaseAPI):  # type: ignore[misc]
    """Asks the API. Errors are ProviderError, or TransientError where asking again may help;
    `error.code` is the API's own ("not_found", "unprocessable_entity", …)."""

    def __init__(
        self,
        token: Secret,
        url: str = URL,
        *,
        credentials: str = "provider.credentials",
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        # given, so that the environment's DIGITALOCEAN_END_POINT is not asked
        super().__init__(token=token.reveal(), end_point=url if url.endswith("/") else f"{url}/")
        self._credentials = credentials
        self._timeouts = (min(_CONNECT_TIMEOUT, read_timeout), read_timeout)
        self._session.trust_env = False
        weakref.finalize(self, self._session.close)

    def __repr__(self) -> str:
        return f"Api({self.end_point!r})"

    def get(self, path: str, doing: str, **query: Any) -> dict[str, Any]:
        """Return one answer."""
        return self._ask("GET", path, doing, query=query)

    def list(self, path: str, key: str, doing: str, **query: Any) -> list[dict[str, Any]]:
        """Return the items of all pages."""
        found: list[dict[str, Any]] = []
        query = {**query, "per_page": PAGE}
        for _ in range(_MOST_PAGES):
            answer = self._ask("GET", path, doing, query=query)
            items = answer.get(key)
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise self.senseless(doing, f"it holds no list of {key}")
            found += items
            # only the query is taken over: the token goes nowhere else
            following = _following(answer)
            if not following:
                return found
            query = {**query, **dict(parse_qsl(urlsplit(following).query))}
        raise self.senseless(doing, "its list never ends")

    def post(self, path: str, doing: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create something; return the answer."""
        return self._ask("POST", path, doing, body=body)

    def put(self, path: str, doing: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replace something; return the answer."""
        return self._ask("PUT", path, doing, body=body)

    def delete(self, path: str, doing: str) -> bool:
        """Delete something; False if it was gone already."""
        try:
            self._ask("DELETE", path, doing)
        except ProviderError as error:
            if not is_missing(error):
                raise
            return False
        return True

    def end(self, path: str, name: str, seconds: float, pause: Callable[[float], None]) -> None:
        """Delete something that takes time to go, and return when it is gone: `seconds` at most."""
        doing = f"delete {name}"

        def is_gone() -> bool:
            try:
                self.get(path, doing)
            except ProviderError as error:
                if is_missing(error):
                    return True
                raise
            return False

        if self.delete(path, doing):
            wait_until(is_gone, f"deleting {name}", seconds, pause)
        elif not is_gone():
            raise TransientError(
                f"cannot {doing}: DigitalOcean says that it is gone, and shows it",
                where=path.replace("s/", " "),
                cure="run again in a moment",
            )

    def senseless(self, doing: str, why: str, request_id: str = "") -> ProviderError:
        """Return the error for an answer that is not what the API promises."""
        return ProviderError(
            f"cannot {doing}: the answer of DigitalOcean's API makes no sense",
            where=self.end_point,
            why=why,
            cure="run again; if it stays so, see status.digitalocean.com, or whether something "
            "on the network answers in DigitalOcean's place",
            code="senseless",
            request_id=request_id,
        )

    def _ask(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        try:
            response = self._session.request(
                method,
                self.end_point + path,
                params=query,
                json=body,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=self._timeouts,
                allow_redirects=False,
            )
            text = response.text
        except requests.RequestException as error:
            raise TransientError(
                f"cannot {doing}: DigitalOcean's API does not answer",
                where=self.end_point,
                why=str(error) or type(error).__name__,
                cure="check this computer's network, then run again",
            ) from error
        if response.status_code == requests.codes.no_content:
            return {}
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            answer = None
        if not 200 <= response.status_code < 300:
            raise self._refused(method, path, doing, response, answer)
        if not isinstance(answer, dict):
            why = f"status {response.status_code}, it begins with {text[:80]!r}"
            raise self.senseless(doing, why, _request_id(response, answer))
        return answer

    def _refused(
        self, method: str, path: str, doing: str, response: requests.Response, answer: Any
    ) -> ProviderError:
        status = response.status_code
        told = answer if isinstance(answer, dict) else {}
        code = str(told.get("id") or status)
        request_id = _request_id(response, answer)
        message = str(told.get("message") or "without a reason")
        # 409, 423 and pending events: something else is under way with it
        busy = status in (409, 423) or (status == 422 and "pending event" in message)
        transient = busy or status in (408, 429) or status >= 500
        why = f"{status} {message}"
        error = (TransientError if transient else ProviderError)(
            f"cannot {doing}",
            where=self._credentials if status in (401, 403) else "",
            why=why + (f" (request {request_id})" if request_id else ""),
            cure="run again in a moment" if busy else self._cure(method, path, response),
            code=code,
            request_id=request_id,
        )
        error.__cause__ = requests.HTTPError(response=response)
        return error

    def _cure(self, method: str, path: str, response: requests.Response) -> str:
        status = response.status_code
        if status == 401:
            return f"name a valid API token in {self._credentials}: this one is unknown or expired"
        if status == 403:
            return f"give the API token the scope {scope(method, path)}"
        if status == 429:
            return f"wait {_wait(response)}: DigitalOcean limits the requests of an hour and minute"
        if status >= 500 or status == 408:
            return "run again in a moment"
        return "correct what it says, or ask DigitalOcean's support, naming the request id"


def scope(method: str, path: str) -> str:
    """Return the token scope that a request needs, such as droplet:create."""
    parts = path.split("?")[0].split("/")
    kind = _SCOPES.get("/".join(parts[:2])) or _SCOPES.get(parts[0], parts[0])
    # actions change what they belong to
    verb = "update" if method == "POST" and parts[-1] == "actions" else _VERBS[method]
    if method == "POST" and parts[-1] == "resources":
        verb = "assign_resource"
    if (kind, verb) == ("spaces_key", "create"):
        verb = "create_credentials"
    return f"{kind}:{verb}"


def status_of(error: ProviderError) -> int:
    """Return the HTTP status behind an error, 0 if there was no answer."""
    cause = error.__cause__
    answered = isinstance(cause, requests.HTTPError) and cause.response is not None
    return cause.response.status_code if answered else 0  # type: ignore[union-attr]


def is_missing(error: ProviderError) -> bool:
    """Say whether the API refused because there is no such thing."""
    return status_of(error) == requests.codes.not_found


def is_forbidden(error: ProviderError) -> bool:
    """Say whether the token lacks the scope."""
    return status_of(error) == requests.codes.forbidden


wait_until = partial(waiting.wait_until, see="status.digitalocean.com")


def _following(answer: dict[str, Any]) -> str:
    node: Any = answer
    for key in ("links", "pages", "next"):
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, str) else ""


def _request_id(response: requests.Response, answer: Any) -> str:
    told = answer.get("request_id") if isinstance(answer, dict) else None
    return str(told or response.headers.get("x-request-id", ""))


def _wait(response: requests.Response) -> str:
    after = response.headers.get("retry-after", "")
    if after.isdigit():
        return f"{after} seconds"
    reset = response.headers.get("ratelimit-reset", "")
    if reset.isdigit():
        return f"{max(1, int(reset) - int(time.time()))} seconds"
    return "a minute"
