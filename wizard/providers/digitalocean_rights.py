"""What a token may do at DigitalOcean: asked without changing anything."""

from __future__ import annotations

from typing import Any

from wizard.errors import ProviderError, TransientError
from wizard.events import Progress
from wizard.providers import digitalocean_values as values
from wizard.providers.base import Standing
from wizard.providers.digitalocean_api import Api, is_forbidden, scope, status_of

_READ = ("regions", "sizes", "images")
_LISTED = ("droplets", "vpcs", "firewalls", "tags", "snapshots", "account/keys")
# changes that change nothing, as they ask for nothing or for what there is not: those who may not
# change things are refused all the same
_CHANGES = (
    ("POST", "droplets"),
    ("DELETE", "droplets/0"),
    ("POST", "droplets/0/actions"),
    ("POST", "vpcs"),
    ("DELETE", f"vpcs/{values.NO_ID}"),
    ("POST", "firewalls"),
    ("PUT", f"firewalls/{values.NO_ID}"),
    ("DELETE", f"firewalls/{values.NO_ID}"),
    ("POST", "tags"),
    ("DELETE", "tags/build-usb:-"),
    ("POST", "account/keys"),
    ("DELETE", "account/keys/0"),
    ("DELETE", "snapshots/0"),
)
# of an autoscaler: https://docs.digitalocean.com/reference/api/scopes/ says which scopes the
# control panel adds to droplet:create by itself
_INSIDE_LISTED = ("droplets", "snapshots", "account/keys")
_INSIDE_CHANGES = (
    ("POST", "droplets"),
    ("DELETE", "droplets/0"),
    ("POST", "droplets/0/actions"),
    ("GET", "actions/0"),
    ("DELETE", "snapshots/0"),
)


class Rights:
    """The scopes that a deployment needs; `listed` and `changes` are what it asks for besides."""

    def __init__(
        self, api: Api, listed: tuple[str, ...], changes: tuple[tuple[str, str], ...]
    ) -> None:
        self._api = api
        self._read: tuple[str, ...] = _READ
        self._listed = _LISTED + listed
        self._changes = _CHANGES + changes

    @classmethod
    def of_autoscalers(cls, api: Api) -> Rights:
        """Return the scopes that an autoscaler's token needs."""
        rights = cls(api, (), ())
        rights._read, rights._listed, rights._changes = (), _INSIDE_LISTED, _INSIDE_CHANGES
        return rights

    def standing(self, progress: Progress) -> Standing:
        """Return whose token it is and the scopes it lacks."""
        reads = (("GET", path) for path in (*self._read, *self._listed))
        api, asked = self._api, [*reads, *self._changes]
        progress("asking whose token it is", 0, len(asked) + 1)
        owner = values.owner(api, self._unless_refused("GET", "account"))
        lacking = []
        for number, (method, path) in enumerate(asked, start=1):
            progress("asking what the token may do", number, len(asked) + 1)
            if self._unless_refused(method, path) is None:
                lacking.append(scope(method, path))
        return Standing(owner, tuple(sorted(set(lacking))))

    def _unless_refused(self, method: str, path: str) -> dict[str, Any] | None:
        """Return the answer, None if the token may not do this; changes ask for nothing."""
        doing = "ask what the token may do"
        try:
            if method == "GET":
                return self._api.get(path, doing, **_few(path))
            if method == "DELETE":
                self._api.delete(path, doing)
            else:
                {"POST": self._api.post, "PUT": self._api.put}[method](path, doing, {})
        except ProviderError as error:
            if is_forbidden(error):
                return None
            if isinstance(error, TransientError) or status_of(error) not in (400, 404, 422):
                raise
        return {}

    def check(self, progress: Progress) -> None:
        """Check the token, naming every scope that it lacks for what is read before a change."""
        missing = []
        for number, path in enumerate(self._listed):
            progress("checking the token", number, len(self._listed))
            try:
                self._api.get(path, "check the token", **_few(path))
            except ProviderError as error:
                if not is_forbidden(error):
                    raise
                missing.append(scope("GET", path))
        if missing:
            changes = sorted({scope(method, path) for method, path in self._changes})
            raise ProviderError(
                "the API token may not read what is there",
                where="provider.credentials",
                why=f"it lacks the scopes {', '.join(missing)}",
                cure=f"add them to the token; changes need {', '.join(changes)}",
                code="forbidden",
            )
        progress("the token is good", 1, 1)


def _few(path: str) -> dict[str, int]:
    """Return the query that keeps a list short, where it can be."""
    whole = path in ("account", "databases") or path.endswith("/0")
    return {} if whole else {"per_page": 1}
