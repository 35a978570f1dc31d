"""The sections about the time after the first deployment. Same conventions as sections.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wizard.answers.fields import (
    Allowed,
    BucketName,
    Distinct,
    Email,
    Fqdn,
    KeyName,
    Many,
    Paths,
    Port,
    Repository,
    Tables,
    TimeOfDay,
    UrlPath,
    UserName,
)
from wizard.answers.sections import Credentials, ObjectStorage, Period, Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ALL_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Kept = Annotated[int, Field(ge=1, le=1000)]


class Keep(Section):
    """How many temporal backups of each period are kept."""

    hourly: Kept = Field(24, description="Hourly backups kept.")
    daily: Kept = Field(7, description="Daily backups kept.")
    weekly: Kept = Field(5, description="Weekly backups kept.")
    monthly: Kept = Field(12, description="Monthly backups kept.")
    bimonthly: Kept = Field(6, description="Bimonthly backups kept.")
    shutdown: Kept = Field(2, description="Backups made before a shutdown kept.")


class SecondStorage(ObjectStorage):
    """A second object storage for backups; best at another provider, as accounts get locked."""

    bucket: BucketName | None = Field(
        None, description="The bucket; null: made, and named after the deployment."
    )
    append_only: bool = Field(
        False,
        description="Its key cannot delete (see docs/backups.md): nothing is forgotten there, and "
        "who breaks into a machine cannot take the copies away.",
    )


class Backups(Section):
    """Temporal backups, made by cron."""

    periods: Distinct[Period] = Field((), description="When backups are made; none by default.")
    keep: Keep = Field(Keep(), description="How many are kept.")
    second_storage: SecondStorage | None = Field(
        None, description="A second place where every backup is made too."
    )


class Baselines(Section):
    """Where baselines of this deployment are published."""

    repository: Repository | None = Field(
        None, description="A git repository over HTTPS or on this computer; null: named then."
    )
    credentials: Credentials | None = Field(None, description="Where its token comes from.")
    rows: Distinct[Tables] = Field(
        (),
        description="Tables whose rows are shared too (named without prefix): those of plugins, "
        "and all of own code.",
    )
    without: Distinct[Paths] = Field(
        (),
        description="Files that are not shared: patterns of paths below the application's writable "
        "folders.",
    )


class Smtp(Section):
    """The mail server that notifications go through."""

    host: Fqdn = Field(description="Name of the mail server.")
    port: Port = Field(587, description="Its submission port; the connection is always encrypted.")
    security: Literal["starttls", "tls"] = Field(
        "starttls",
        description="How: `tls` from the first byte on (mostly port 465), or `starttls`, before "
        "anything else is said.",
    )
    user: Annotated[str, Field(min_length=1, max_length=254), Allowed("a login name")] = Field(
        description="Login name."
    )
    password: Credentials = Field(description="Where the login's password comes from.")
    sender: Email = Field(description="Address that notifications come from.")


class Notifications(Section):
    """E-mail about what happens to the machines."""

    email: Email | None = Field(None, description="Who is told; null: nobody.")
    smtp: Smtp | None = Field(None, description="The mail server.")
    level: Literal["info", "error", "mandatory"] = Field(
        "error",
        description="The least important kind that is sent: what happens by itself, what failed, "
        "or only what waits for a person.",
    )


class GatewayUser(Section):
    """A person who may pass the gateway."""

    name: UserName = Field(description="Name to log in with; Zero Trust Access needs none.")
    email: Email = Field(description="Where the password, or the code to pass, is sent.")


class Gateway(Section):
    """Asks who it is in front of the application's administration: Cloudflare's Zero Trust Access
    where `dns.proxied`, elsewhere by a second password."""

    enabled: bool = Field(False, description="Ask for it.")
    users: Many[GatewayUser] = Field((), description="Who may pass.")
    domains: Distinct[Fqdn] = Field(
        (), description="E-mail domains that may all pass; only with Zero Trust Access."
    )
    paths: Distinct[UrlPath] = Field(
        (), description="Paths behind it; none: the application's administration."
    )


class ScheduledCount(Section):
    """A number of webservers from a time of day on."""

    at: TimeOfDay = Field(description="Time of day in `machines.timezone`.")
    days: Distinct[Day] = Field(ALL_DAYS, min_length=1, description="Days of the week.")
    webservers: int = Field(ge=1, le=50, description="How many webservers from then on.")


class Health(Section):
    """When an autoscaler takes a webserver for dead and replaces it."""

    path: UrlPath = Field("/", description="Path that is asked for.")
    interval: int = Field(30, ge=5, le=3600, description="Seconds between two checks.")
    timeout: int = Field(10, ge=1, le=300, description="Seconds to wait for an answer.")
    failures: int = Field(3, ge=1, le=100, description="Failed checks in a row that mean dead.")


class ScalingCredentials(Section):
    """What autoscalers rent machines and change DNS records with, at clouds. Where the build
    machine's source is named here again, they have the same."""

    provider: Credentials | None = Field(
        None, description="Where their API token comes from; on AWS they have a role instead."
    )
    dns: Credentials | None = Field(
        None,
        description="Where their token, or TSIG key, for the zone comes from; null: the cloud's is "
        "that of the zone too.",
    )
    dns_key_name: KeyName | None = Field(
        None, description="Name of their TSIG key; null: `dns.rfc2136.key_name`."
    )


class Scaling(Section):
    """How many webservers there are over time; production mode only."""

    autoscalers: int = Field(1, ge=1, le=5, description="Machines that watch and scale.")
    minimum: int = Field(2, ge=1, le=50, description="Never fewer webservers.")
    maximum: int = Field(10, ge=1, le=50, description="Never more webservers.")
    schedule: Many[ScheduledCount] = Field((), description="Numbers by time of day.")
    health: Health = Field(Health(), description="When a webserver is replaced.")
    credentials: ScalingCredentials = Field(
        ScalingCredentials(), description="What autoscalers authenticate with at clouds."
    )
