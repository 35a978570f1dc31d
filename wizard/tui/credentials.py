"""Credentials in the wizard: typed secrets go into the build home, and what is named is tried out.

Nothing that was typed is in the draft or in answers: they name the secret, as `{home: name}`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wizard.errors import BuildUsbError
from wizard.secrets import Secret
from wizard.tui import flow
from wizard.tui.draft import Draft

if TYPE_CHECKING:
    from wizard.answers.sections import CredentialSource
    from wizard.events import Progress
    from wizard.home.home import Home
    from wizard.home.store import SecretStore
    from wizard.operations.checks import Checked
    from wizard.providers.base import ProviderFacts

CHECKED = ("provider", "domain")
"""Steps whose answers are tried out when they are left."""
TYPED = "the secret itself, typed unseen"

_SOURCE = re.compile(r"(home|file|environment):")
_PLACES = {
    "object_storage.credentials": ("object_storage.provider", "storage-key"),
    "backups.second_storage.credentials": ("backups.second_storage.provider", "backup-key"),
}


def is_source(text: str) -> bool:
    """Say whether a text says where a secret is; any other is taken for the secret itself."""
    return _SOURCE.match(text.strip()) is not None


def name_for(key: str, draft: Draft) -> str:
    """Return the name that a secret typed for `key` gets, such as digitalocean-token."""
    cloud = draft.get("provider.name")
    if key == "provider.credentials":
        return f"{cloud}-token"
    if key == "dns.credentials":
        vendor = draft.get("dns.provider")
        return f"{vendor}-dns-token" if vendor == cloud else f"{vendor}-token"
    if key == "scaling.credentials.provider":
        return f"{cloud}-autoscaler-token"
    if key == "scaling.credentials.dns":
        return f"{draft.get('dns.provider')}-autoscaler-dns-token"
    if key in _PLACES:
        place, what = _PLACES[key]
        return f"{draft.get(place) or cloud}-{what}"
    return key.replace(".", "-").replace("_", "-")


def keep(key: str, text: str, draft: Draft, home: Home, credentials: SecretStore) -> str:
    """Keep a typed secret in the build home; return its name there. Raises HomeError.

    A secret of that name is replaced, unless another deployment's answers name it.
    """
    value = Secret(text.strip())
    wanted = name = name_for(key, draft)
    number = 2
    while credentials.get(name) not in (None, value) and _used(name, home.path, draft.get("name")):
        name, number = f"{wanted}-{number}", number + 1
    credentials.set(name, value)
    return name


def _used(name: str, home: Path, own: str) -> bool:
    """Say whether answers of another deployment of the home name the secret."""
    named = re.compile(rf"\bhome:\s*['\"]?{re.escape(name)}['\"]?\s*(?:[,}}#]|$)", re.MULTILINE)
    files = [p for p in home.glob("answers/*.yaml") if p.stem != own]
    files += [p for p in home.glob("deployments/*/answers.yaml") if p.parent.name != own]
    return any(named.search(path.read_text(errors="replace")) for path in files)


class Trial:
    """What clouds and DNS providers say to the draft, remembered as long as it is the same."""

    def __init__(self) -> None:
        self._facts: dict[str, ProviderFacts] = {}
        self._untold: dict[str, str] = {}
        self._good: set[str] = set()

    def question(self, step: flow.Step, draft: Draft) -> str:
        """Return what would be tried out on leaving a step, empty if nothing: another text means
        another question."""
        from wizard.answers.support import WORKING

        cloud = draft.get("provider.name")
        credentials = draft.get("provider.credentials")
        if step.id == "provider" and cloud != "local" and cloud in WORKING["provider.name"]:
            return repr((step.id, cloud, credentials))
        dns = flow.answers(draft).get("dns", {}) if step.id == "domain" else {}
        rehearsed = cloud == "local" and "rfc2136" not in dns
        if dns.get("provider") in WORKING["dns.provider"] and not (
            rehearsed and dns["provider"] == "rfc2136"
        ):
            return repr((step.id, dns, cloud, credentials))
        return ""

    def is_good(self, question: str) -> bool:
        """Say whether this was tried out already and is good."""
        return question in self._good

    def check(
        self,
        step: flow.Step,
        draft: Draft,
        home: Home,
        credentials: SecretStore | None,
        progress: Progress,
    ) -> Checked:
        """Try out what a step's answers name (slow). Raises what `progress` raises."""
        from wizard.answers.sections import Dns
        from wizard.operations import checks

        question = self.question(step, draft)
        cloud, source = draft.get("provider.name"), _source(draft)
        if step.id == "provider":
            place, region = _place(draft), draft.get("provider.region") or ""
            found = checks.check_cloud(cloud, source, region, home, credentials, progress)
            self._untold.pop(place, None)
            if found.facts:
                self._facts[place] = found.facts
            elif found.findings:
                self._untold[place] = str(found.findings[0])
        else:
            section = Dns.model_validate(flow.answers(draft)["dns"])
            found = checks.check_dns(section, cloud, source, credentials, progress)
        if found.good:
            self._good.add(question)
        return found

    def facts(self, draft: Draft) -> ProviderFacts | None:
        """Return what is known of the draft's provider in its region."""
        return self._facts.get(_place(draft))

    def learn(self, draft: Draft, home: Home, credentials: SecretStore | None) -> str:
        """Ask the provider for regions, and sizes there (slow); return why it does not tell, or "".

        Without a region that there is, the first one is chosen: sizes are a region's.
        """
        cloud = draft.get("provider.name")
        if not cloud:
            return ""
        note = self._ask(draft, home, credentials)
        facts = self.facts(draft)
        if facts and cloud != "local" and draft.get("provider.region") not in facts.regions:
            draft.set("provider.region", facts.regions[0])
            note = self._ask(draft, home, credentials)
        return note

    def _ask(self, draft: Draft, home: Home, credentials: SecretStore | None) -> str:
        from wizard.engine import open as engine_open
        from wizard.operations.checks import TIMEOUT

        place = _place(draft)
        if place in self._facts:
            return ""
        if place in self._untold:
            return self._untold[place]
        cloud, region = draft.get("provider.name"), draft.get("provider.region") or ""
        try:
            account = engine_open.account_of(
                cloud, _source(draft), region, credentials, timeout=TIMEOUT
            )
            self._facts[place] = engine_open.provider(cloud, home, account).facts()
        except BuildUsbError as error:
            text = f"{error.what}; {error.cure}" if error.cure else error.what
            self._untold[place] = text
            return text
        return ""


def _place(draft: Draft) -> str:
    """Return where sizes and prices are the same."""
    cloud = draft.get("provider.name")
    if cloud == "local":
        return "local"
    return repr((cloud, draft.get("provider.region") or "", draft.get("provider.credentials")))


def _source(draft: Draft) -> CredentialSource | None:
    from pydantic import ValidationError

    from wizard.answers.sections import CredentialSource

    value: Any = draft.get("provider.credentials")
    try:
        return CredentialSource.model_validate(value) if value else None
    except ValidationError:
        return None  # an edited draft; the review names what is wrong
