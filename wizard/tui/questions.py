"""What the wizard asks, step by step. Pure.

A new question is one line here; what it means, allows and defaults to comes from the answers
model. A step without a screen of its own is drawn as a form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wizard.paths import on_stick
from wizard.tui.conditions import (
    Predicate,
    always,
    backup,
    baseline,
    baselines_named,
    cloud,
    disks,
    either,
    equals,
    from_elsewhere,
    gateway,
    health_checks,
    if_local,
    ipv6,
    negated,
    own_copy,
    own_dns,
    own_dns_token,
    own_key,
    own_token,
    periods,
    private,
    production,
    released,
    rented_database,
    repository,
    reserving,
    second,
    second_place,
    site_name,
    smtp,
    spot,
    storage_named,
)
from wizard.tui.draft import Draft

FORM = "wizard.tui.screens.form:FormScreen"
CHECKED = "wizard.tui.screens.checked:CheckedScreen"


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


def _code(key: str, when: Predicate, fetched: Predicate) -> tuple[Ask, ...]:
    """Return what is asked of a repository of own code at a key; `fetched`: what is asked of all
    repositories."""
    return (
        Ask(f"{key}.url", "Repository", when=when),
        Ask(f"{key}.revision", "Branch, tag or commit", when=fetched),
        Ask(f"{key}.credentials", "Its token", when=fetched),
        Ask(f"{key}.docroot", "Folder that is served", when=when),
        Ask(f"{key}.composer", "Run composer", when=when),
        Ask(f"{key}.writable", "Writable folders", when=when),
        Ask(f"{key}.environment_template", "Template of the settings file", when=when),
        Ask(f"{key}.health_path", "Path that says it is well", when=when),
        Ask(f"{key}.prepare", "Run prepare.php before going live", when=when),
        Ask(f"{key}.cron", "When to run cron.php", when=when),
        Ask(f"{key}.database", "Needs a database", when=when),
    )


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
            Ask("provider.credentials", "Its API token", when=cloud),
        ),
        screen=CHECKED,
    ),
    Step(
        "sizes",
        "Region and sizes",
        "Where the machines are and how big they are.",
        (
            Ask("provider.region", "Region", facts="regions"),
            Ask("provider.reserved_address", "Keep the webserver's address", when=reserving),
            Ask("provider.ipv6", "IPv6 addresses too", when=ipv6),
            Ask("machines.sizes.webserver", "Size of webservers", facts="sizes"),
            Ask("machines.sizes.database", "Size of the database machine", facts="sizes"),
            Ask(
                "machines.sizes.autoscaler",
                "Size of autoscalers",
                when=production,
                facts="sizes",
            ),
            Ask("machines.disks.webserver", "Disk of webservers, GiB", when=disks),
            Ask("machines.disks.database", "Disk of the database, GiB", when=disks),
            Ask("machines.spot", "Webservers of spare capacity (spot)", when=spot),
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
            Ask("dns.provider", "DNS provider", suggest=if_local("rfc2136")),
            Ask("dns.zone", "Zone", suggest=if_local("rehearsal.test")),
            Ask("domain.name", "Name of the site", suggest=site_name),
            Ask("domain.aliases", "Further names"),
            Ask("dns.proxied", "Behind Cloudflare", when=equals("dns.provider", "cloudflare")),
            Ask("dns.health_checked", "Health checks", when=health_checks),
            Ask(
                "dns.credentials",
                "Its API token",
                when=negated(equals("dns.provider", "rfc2136", "none", None)),
            ),
            Ask("dns.rfc2136.server", "DNS server", when=own_dns),
            Ask("dns.rfc2136.port", "Its port", when=own_dns),
            Ask("dns.rfc2136.key_name", "Name of the TSIG key", when=own_dns),
            Ask("dns.rfc2136.algorithm", "Algorithm of the TSIG key", when=own_dns),
            Ask("dns.rfc2136.key", "The TSIG key", when=own_dns),
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
            Ask("application.source.release.url", "Its release (an archive)", when=released),
            Ask("application.source.release.file", "Or its archive here", when=released),
            Ask("application.source.release.sha256", "Checksum of the release", when=released),
            Ask("application.source.repository", "Repository of the baseline", when=baseline),
            Ask("application.source.signers", "Keys that may have signed it", when=baseline),
            Ask("application.source.period", "Series of backups", when=backup),
            Ask("application.source.at", "Which of them", when=backup),
            Ask("application.source.deployment", "The deployment it is of", when=backup),
            Ask("application.source.password", "What opens it", when=backup),
            Ask("application.source.bucket", "The bucket it is in", when=backup),
            Ask("application.source.storage.provider", "Whose object storage", when=backup),
            Ask("application.source.storage.endpoint", "Its S3 endpoint", when=from_elsewhere),
            Ask("application.source.storage.region", "Its region", when=from_elsewhere),
            Ask(
                "application.source.storage.credentials", "Its key, ID:SECRET", when=from_elsewhere
            ),
            *_code("application.source", repository, either(baseline, repository)),
            *_code("application.source.code", own_copy, own_copy),
            Ask("baselines.repository", "Where to publish baselines", when=baselines_named),
            Ask("baselines.credentials", "Token for that", when=baselines_named),
            Ask("baselines.rows", "Tables to share in them", when=baselines_named),
            Ask("baselines.without", "Files not to share", when=baselines_named),
        ),
    ),
    Step(
        "database",
        "Database",
        "The application's database, on a machine of its own or rented.",
        (
            Ask("database.engine", "Engine"),
            Ask("database.managed", "Rent it from the provider"),
            Ask("database.size", "Size", when=rented_database),
            Ask("database.port", "Port", when=private),
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
                when=production,
                suggest=lambda draft: 2 if production(draft) else None,
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
            Ask("scaling.credentials.provider", "Autoscalers' API token", when=own_token),
            Ask("scaling.credentials.dns", "Autoscalers' DNS token", when=own_dns_token),
            Ask(
                "scaling.credentials.dns_key_name",
                "Name of their TSIG key",
                when=own_key,
            ),
        ),
        applies=production,
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
            Ask("gateway.users", "Who may pass", when=gateway),
            Ask("gateway.domains", "E-mail domains that may", when=gateway),
            Ask("gateway.paths", "Paths behind it", when=gateway),
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
        "The folder that machines share, and object storage.",
        (
            Ask("shared_config.kind", "Shared folder"),
            Ask("object_storage.provider", "Object storage", when=storage_named),
            Ask("object_storage.endpoint", "S3 endpoint", when=storage_named),
            Ask("object_storage.region", "Region", when=storage_named),
            Ask("object_storage.credentials", "Its key, ID:SECRET", when=storage_named),
        ),
    ),
    Step(
        "backups",
        "Backups",
        "Private, dated copies of the running application, made by cron.",
        (
            Ask("backups.periods", "When"),
            Ask("backups.keep.hourly", "Hourly ones kept", when=periods),
            Ask("backups.keep.daily", "Daily ones kept", when=periods),
            Ask("backups.keep.weekly", "Weekly ones kept", when=periods),
            Ask("backups.keep.monthly", "Monthly ones kept", when=periods),
            Ask("backups.keep.bimonthly", "Bimonthly ones kept", when=periods),
            Ask("backups.keep.shutdown", "Ones made before a shutdown kept", when=periods),
            Ask("backups.second_storage.provider", "Second place for copies", when=second_place),
            Ask("backups.second_storage.endpoint", "Its S3 endpoint", when=second),
            Ask("backups.second_storage.region", "Its region", when=second),
            Ask("backups.second_storage.bucket", "Its bucket", when=second),
            Ask("backups.second_storage.append_only", "Its key cannot delete", when=second),
            Ask("backups.second_storage.credentials", "Its key, ID:SECRET", when=second),
        ),
    ),
    Step(
        "notifications",
        "Notifications",
        "E-mail about what happens to the machines.",
        (
            Ask("notifications.email", "Who is told"),
            Ask("notifications.smtp.host", "Mail server", when=smtp),
            Ask("notifications.smtp.port", "Its port", when=smtp),
            Ask("notifications.smtp.security", "Encrypted by", when=smtp),
            Ask("notifications.smtp.user", "Login", when=smtp),
            Ask("notifications.smtp.password", "Password", when=smtp),
            Ask("notifications.smtp.sender", "Sender", when=smtp),
            Ask("notifications.level", "Least important that is sent"),
        ),
    ),
    Step("review", "Review", "", screen="wizard.tui.screens.review:ReviewScreen"),
    Step("deploy", "Deploy", "", screen="wizard.tui.screens.deploy:DeployScreen"),
    Step("done", "Done", "", screen="wizard.tui.screens.done:DoneScreen"),
)
