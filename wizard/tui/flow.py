"""The ordered list of the wizard's steps: what each asks, and whether it applies. Pure.

A new question is one line here; what it means, allows and defaults to comes from the answers
model. A step without a screen of its own is drawn as a form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wizard.paths import on_stick
from wizard.tui.draft import Draft

Predicate = Callable[[Draft], bool]
FORM = "wizard.tui.screens.form:FormScreen"
CHECKED = "wizard.tui.screens.checked:CheckedScreen"


def always(_draft: Draft) -> bool:
    """Apply to every draft."""
    return True


@dataclass(frozen=True)
class Ask:
    """One question. `when` it does not apply, the key is left out of the answers.

    `suggest` is what a new draft begins with (a value, or a function of the draft); `facts` names
    a list that the provider knows (`regions` or `sizes`).
    """

    key: str
    label: str
    when: Predicate = always
    suggest: Any = None
    facts: str = ""

    def suggestion(self, draft: Draft) -> Any:
        """Return what to begin with, None for nothing."""
        return self.suggest(draft) if callable(self.suggest) else self.suggest


@dataclass(frozen=True)
class Step:
    """One screen: a title, a sentence on what it is about, and what it asks."""

    id: str
    title: str
    intro: str
    asks: tuple[Ask, ...] = ()
    applies: Predicate = always
    screen: str = FORM

    def asked(self, draft: Draft) -> tuple[Ask, ...]:
        """Return the questions that apply to this draft."""
        return tuple(ask for ask in self.asks if ask.when(draft))


# -- what a question may depend on; defaults are those of the model ------------------------------


def _is(key: str, *values: object, default: object = None) -> Predicate:
    return lambda draft: draft.get(key, default) in values


def _not(predicate: Predicate) -> Predicate:
    return lambda draft: not predicate(draft)


def _any(key: str) -> Predicate:
    return lambda draft: bool(draft.get(key))


_production = _is("mode", "production")
_local = _is("provider.name", "local")
_cloud = _not(_local)
_baseline = _is("application.source.kind", "baseline")
_backup = _is("application.source.kind", "backup")
_repository = _is("application.source.kind", "repository")
_from_elsewhere = _any("application.source.storage.provider")
_rented_database = _is("database.managed", True)
_private = _not(_rented_database)
_second = _any("backups.second_storage.provider")
_smtp = _any("notifications.email")


def _or(first: Predicate, second: Predicate) -> Predicate:
    return lambda draft: first(draft) or second(draft)


# what a file says although it means nothing now is asked too, so that it is not lost
_periods = _or(_any("backups.periods"), _any("backups.keep"))
_gateway = _or(_is("gateway.enabled", True), _or(_any("gateway.users"), _any("gateway.domains")))


# a disk of its own where the cloud lets us choose
_disks = _or(
    _is("provider.name", "aws"),
    _or(_any("machines.disks.webserver"), _any("machines.disks.database")),
)


def _reserving(draft: Draft) -> bool:
    return draft.get("provider.name") == "digitalocean" and not _production(draft)


def _own_dns(draft: Draft) -> bool:
    # a rehearsal brings its own DNS server; a file may still name another
    return draft.get("dns.provider") == "rfc2136" and (_cloud(draft) or draft.has("dns.rfc2136"))


def _storage_named(draft: Draft) -> bool:
    return draft.has("object_storage") or _cloud(draft)


def _if_local(value: str) -> Callable[[Draft], str | None]:
    return lambda draft: value if _local(draft) else None


def _baselines_named(draft: Draft) -> bool:
    return _baseline(draft) or draft.has("baselines")


def _site_name(draft: Draft) -> str | None:
    zone = draft.get("dns.zone") or _if_local("rehearsal.test")(draft)
    return f"www.{zone}" if zone else None


STEPS: tuple[Step, ...] = (
    Step("welcome", "Welcome", "", screen="wizard.tui.screens.welcome:WelcomeScreen"),
    Step("home", "Build home", "", screen="wizard.tui.screens.home:HomeScreen"),
    Step(
        "mode",
        "Name and mode",
        "What this deployment is called, and which machines it consists of.",
        (
            Ask("name", "Name of the deployment", suggest="demo"),
            Ask("mode", "Mode", suggest="development"),
        ),
        screen="wizard.tui.screens.mode:ModeScreen",
    ),
    Step(
        "provider",
        "Provider",
        "Who rents the machines. 'local' is a rehearsal: real machines of this computer, nothing "
        "rented and nothing to pay.",
        (
            Ask(
                "provider.name",
                "Provider",
                suggest=lambda draft: None if on_stick() else "local",
            ),
            Ask("provider.credentials", "Its API token", when=_cloud),
        ),
        screen=CHECKED,
    ),
    Step(
        "sizes",
        "Region and sizes",
        "Where the machines are and how big they are.",
        (
            Ask("provider.region", "Region", facts="regions"),
            Ask("provider.reserved_address", "Keep the webserver's address", when=_reserving),
            Ask("machines.sizes.webserver", "Size of webservers", facts="sizes"),
            Ask("machines.sizes.database", "Size of the database machine", facts="sizes"),
            Ask(
                "machines.sizes.autoscaler",
                "Size of autoscalers",
                when=_production,
                facts="sizes",
            ),
            Ask("machines.disks.webserver", "Disk of webservers, GiB", when=_disks),
            Ask("machines.disks.database", "Disk of the database, GiB", when=_disks),
            Ask("machines.os", "Operating system"),
            Ask("machines.timezone", "Time zone"),
        ),
        screen="wizard.tui.screens.checked:SizesScreen",
    ),
    Step(
        "domain",
        "Domain and DNS",
        "The names the site answers to, and who serves their zone.",
        (
            Ask("dns.provider", "DNS provider", suggest=_if_local("rfc2136")),
            Ask("dns.zone", "Zone", suggest=_if_local("rehearsal.test")),
            Ask("domain.name", "Name of the site", suggest=_site_name),
            Ask("domain.aliases", "Further names"),
            Ask("dns.proxied", "Behind Cloudflare", when=_is("dns.provider", "cloudflare")),
            Ask(
                "dns.credentials",
                "Its API token",
                when=_not(_is("dns.provider", "rfc2136", "none", None)),
            ),
            Ask("dns.rfc2136.server", "DNS server", when=_own_dns),
            Ask("dns.rfc2136.port", "Its port", when=_own_dns),
            Ask("dns.rfc2136.key_name", "Name of the TSIG key", when=_own_dns),
            Ask("dns.rfc2136.algorithm", "Algorithm of the TSIG key", when=_own_dns),
            Ask("dns.rfc2136.key", "The TSIG key", when=_own_dns),
            Ask("dns.ttl", "Seconds that DNS answers are kept"),
        ),
        screen=CHECKED,
    ),
    Step(
        "application",
        "Application",
        "What is deployed, and its first administrator. The password is made for you.",
        (
            Ask("application.kind", "Application", suggest="wordpress"),
            Ask("application.title", "Title of the site"),
            Ask("application.admin.user", "Administrator", suggest="editor"),
            Ask("application.admin.email", "Administrator's e-mail"),
            Ask("application.locale", "Language"),
            Ask("application.source.kind", "Where its content comes from", suggest="fresh"),
            Ask("application.source.repository", "Repository of the files", when=_baseline),
            Ask(
                "application.source.database_repository",
                "Repository of the database",
                when=_baseline,
            ),
            Ask("application.source.period", "Series of backups", when=_backup),
            Ask("application.source.at", "Which of them", when=_backup),
            Ask("application.source.deployment", "The deployment it is of", when=_backup),
            Ask("application.source.password", "What opens it", when=_backup),
            Ask("application.source.bucket", "The bucket it is in", when=_backup),
            Ask("application.source.storage.provider", "Whose object storage", when=_backup),
            Ask("application.source.storage.endpoint", "Its S3 endpoint", when=_from_elsewhere),
            Ask("application.source.storage.region", "Its region", when=_from_elsewhere),
            Ask(
                "application.source.storage.credentials", "Its key, ID:SECRET", when=_from_elsewhere
            ),
            Ask("application.source.url", "Repository", when=_repository),
            Ask(
                "application.source.revision",
                "Branch, tag or commit",
                when=_or(_baseline, _repository),
            ),
            Ask("application.source.credentials", "Its token", when=_repository),
            Ask("application.source.docroot", "Folder that is served", when=_repository),
            Ask("application.source.composer", "Run composer", when=_repository),
            Ask("application.source.writable", "Writable folders", when=_repository),
            Ask(
                "application.source.environment_template",
                "Template of the settings file",
                when=_repository,
            ),
            Ask("application.source.health_path", "Path that says it is well", when=_repository),
            Ask("application.source.cron", "When to run cron.php", when=_repository),
            Ask("application.source.database", "Needs a database", when=_repository),
            Ask("baselines.repository_provider", "Host of baselines", when=_baselines_named),
            Ask("baselines.owner", "Owner of the baselines", when=_baselines_named),
            Ask("baselines.credentials", "Token for the baselines", when=_baselines_named),
        ),
    ),
    Step(
        "database",
        "Database",
        "The application's database, on a machine of its own or rented.",
        (
            Ask("database.engine", "Engine"),
            Ask("database.managed", "Rent it from the provider"),
            Ask("database.size", "Size", when=_rented_database),
            Ask("database.port", "Port", when=_private),
        ),
    ),
    Step(
        "webserver",
        "Web tier",
        "The program that serves the site, and how many machines run it.",
        (
            Ask("webserver.kind", "Webserver"),
            Ask(
                "webserver.count",
                "Webservers to begin with",
                when=_production,
                suggest=lambda draft: 2 if _production(draft) else None,
            ),
        ),
    ),
    Step(
        "scaling",
        "Scaling",
        "Autoscalers add, remove and replace webservers.",
        (
            Ask("scaling.autoscalers", "Autoscalers"),
            Ask("scaling.minimum", "Fewest webservers"),
            Ask("scaling.maximum", "Most webservers"),
            Ask("scaling.schedule", "Numbers by time of day"),
            Ask("scaling.health.path", "Path that is checked"),
            Ask("scaling.health.interval", "Seconds between checks"),
            Ask("scaling.health.timeout", "Seconds to wait"),
            Ask("scaling.health.failures", "Failures that mean dead"),
        ),
        applies=_production,
    ),
    Step(
        "access",
        "Access",
        "How machines are administered, and who may reach the administration of the site.",
        (
            Ask("ssh.port", "SSH port"),
            Ask("ssh.build_machine", "Address SSH is let in from"),
            Ask("firewall.native", "The provider's firewall"),
            Ask("firewall.machine", "A firewall on every machine"),
            Ask("gateway.enabled", "Second password before the administration"),
            Ask("gateway.users", "Who may pass", when=_gateway),
            Ask("gateway.domains", "E-mail domains that may", when=_gateway),
            Ask("gateway.paths", "Paths behind it", when=_gateway),
        ),
    ),
    Step(
        "tls",
        "Certificate",
        "Who signs the certificate of the site.",
        (
            Ask("tls.authority", "Authority"),
            Ask("tls.email", "E-mail for the authority"),
        ),
    ),
    Step(
        "storage",
        "Storage",
        "The folder that machines share, object storage, and uploaded files.",
        (
            Ask("shared_config.kind", "Shared folder"),
            Ask("object_storage.provider", "Object storage", when=_storage_named),
            Ask("object_storage.endpoint", "S3 endpoint", when=_storage_named),
            Ask("object_storage.region", "Region", when=_storage_named),
            Ask("object_storage.credentials", "Its key, ID:SECRET", when=_storage_named),
            Ask("assets.directories", "Folders of uploads"),
            Ask("assets.to_object_storage", "Keep uploads in object storage"),
        ),
    ),
    Step(
        "backups",
        "Backups",
        "Private, dated copies of the running application, made by cron.",
        (
            Ask("backups.periods", "When"),
            Ask("backups.keep.hourly", "Hourly ones kept", when=_periods),
            Ask("backups.keep.daily", "Daily ones kept", when=_periods),
            Ask("backups.keep.weekly", "Weekly ones kept", when=_periods),
            Ask("backups.keep.monthly", "Monthly ones kept", when=_periods),
            Ask("backups.keep.bimonthly", "Bimonthly ones kept", when=_periods),
            Ask("backups.keep.shutdown", "Ones made before a shutdown kept", when=_periods),
            Ask("backups.second_storage.provider", "Second place for copies", when=_periods),
            Ask("backups.second_storage.endpoint", "Its S3 endpoint", when=_second),
            Ask("backups.second_storage.region", "Its region", when=_second),
            Ask("backups.second_storage.credentials", "Its key, ID:SECRET", when=_second),
        ),
    ),
    Step(
        "notifications",
        "Notifications",
        "E-mail about what happens to the machines.",
        (
            Ask("notifications.email", "Who is told"),
            Ask("notifications.smtp.host", "Mail server", when=_smtp),
            Ask("notifications.smtp.port", "Its port", when=_smtp),
            Ask("notifications.smtp.user", "Login", when=_smtp),
            Ask("notifications.smtp.password", "Password", when=_smtp),
            Ask("notifications.smtp.sender", "Sender", when=_smtp),
            Ask("notifications.level", "Least important that is sent"),
        ),
    ),
    Step("review", "Review", "", screen="wizard.tui.screens.review:ReviewScreen"),
    Step("deploy", "Deploy", "", screen="wizard.tui.screens.deploy:DeployScreen"),
    Step("done", "Done", "", screen="wizard.tui.screens.done:DoneScreen"),
)
# opened from the welcome and done screens; not a step on the way
DASHBOARD = Step(
    "dashboard", "Dashboard", "", screen="wizard.tui.screens.dashboard:DashboardScreen"
)
# comes after the welcome, or after a cloud was chosen, where there is something to be done about it
NETWORK = Step("network", "Network", "", screen="wizard.tui.screens.network:NetworkScreen")

# come before the welcome on a stick
STICK = Step(
    "stick",
    "Keyboard, time zone, language",
    "How this stick talks with you. It is remembered for the next start.",
    screen="wizard.tui.screens.stick:StickScreen",
)
VOLUME = Step("volume", "Encrypted volume", "", screen="wizard.tui.screens.stick:VolumeScreen")


def step(step_id: str) -> Step:
    """Return the step of that id. Raises KeyError."""
    for known in (*STEPS, DASHBOARD, NETWORK, STICK, VOLUME):
        if known.id == step_id:
            return known
    raise KeyError(step_id)


def applying(draft: Draft) -> list[Step]:
    """Return the steps that apply to this draft, in order."""
    return [known for known in STEPS if known.applies(draft)]


def after(step_id: str, draft: Draft) -> Step:
    """Return the next step that applies; the last one leads to itself."""
    later = STEPS[_position(step_id) + 1 :]
    return next((known for known in later if known.applies(draft)), STEPS[-1])


def before(step_id: str, draft: Draft) -> Step:
    """Return the step before that applies; the first one leads to itself."""
    earlier = STEPS[: _position(step_id)]
    return next((known for known in reversed(earlier) if known.applies(draft)), STEPS[0])


def questions() -> Iterator[tuple[Step, Ask]]:
    """Yield every question there is, with its step."""
    for known in STEPS:
        for ask in known.asks:
            yield known, ask


def answers(draft: Draft) -> dict[str, Any]:
    """Return the draft as the answers document: what does not apply is left out."""
    left_out = [
        ask.key for known, ask in questions() if not (known.applies(draft) and ask.when(draft))
    ]
    return {"version": 1, **draft.without(left_out)}


def home_of(path: tuple[str | int, ...], draft: Draft) -> Step | None:
    """Return the step that asks for a key path, for a section of it, or for what is in it."""
    for known in applying(draft):
        for ask in known.asked(draft):
            parts = tuple(ask.key.split("."))
            if path[: len(parts)] == parts or parts[: len(path)] == path:
                return known
    return None


def _position(step_id: str) -> int:
    return next(index for index, known in enumerate(STEPS) if known.id == step_id)
