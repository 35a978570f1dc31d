"""The sections of the answers. Every field's description is what docs, schema and help show."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wizard.answers.fields import (
    AbsolutePath,
    Allowed,
    Authority,
    BucketName,
    CronTime,
    Distinct,
    Email,
    Fqdn,
    Host,
    Identifier,
    KeyName,
    Locale,
    Moment,
    Name,
    NetworkAddress,
    Port,
    RelativePath,
    Repository,
    Revision,
    SecretName,
    Sha256,
    SigningKey,
    Timezone,
    Title,
    Url,
    UrlPath,
    UserName,
    Variable,
    hint,
)

Period = Literal["hourly", "daily", "weekly", "monthly", "bimonthly", "shutdown"]
ProviderName = Literal["local", "aws", "digitalocean", "exoscale", "linode", "vultr", "hetzner"]
DNS_OF = {"aws": "route53"}
"""What a cloud's own DNS provider is called, where it is not called as the cloud is."""


class Section(BaseModel):
    """A mapping of the document: unknown keys are refused, nothing is converted or changed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class CredentialSource(Section):
    """Where a secret comes from; never the secret itself. Exactly one of the keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    environment: Variable | None = Field(None, description="Environment variable that holds it.")
    file: AbsolutePath | None = Field(None, description="File that holds it, and nothing else.")
    home: SecretName | None = Field(
        None, description="Name under which it is kept, encrypted, in the build home."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len([v for v in (self.environment, self.file, self.home) if v is not None]) != 1:
            hint("exactly one of these three")
        return self


Credentials = Annotated[
    CredentialSource, Allowed("{environment: VARIABLE}, {file: /path} or {home: name}")
]


class ProviderSection(Section):
    """The cloud that rents the machines."""

    name: ProviderName = Field(
        description="The cloud; `local` makes machines on this computer (a rehearsal)."
    )
    region: Identifier = Field(
        description="Where at the provider; `here` for `local`. `build-usb plan` checks it."
    )
    credentials: Credentials | None = Field(
        None, description="Where the provider's API token comes from; `local` needs none."
    )
    reserved_address: bool = Field(
        False, description="The webserver keeps its address when its machine is made anew."
    )
    ipv6: bool = Field(
        False, description="Machines have an IPv6 address too, and the site answers over both."
    )


class Sizes(Section):
    """Machine sizes by role, in the provider's names; null: the provider's default for the role."""

    webserver: Identifier | None = Field(None, description="Size of every webserver.")
    database: Identifier | None = Field(None, description="Size of the database machine.")
    autoscaler: Identifier | None = Field(None, description="Size of every autoscaler.")


class Disks(Section):
    """Disks of machines by role, in GiB; null: what the provider gives with the size."""

    # from what Debian and an application need to the largest volume of gp3
    webserver: int | None = Field(
        None, ge=10, le=16384, description="Disk of every webserver, GiB (only on AWS)."
    )
    database: int | None = Field(
        None, ge=10, le=16384, description="Disk of the database machine, GiB (only on AWS)."
    )


class Machines(Section):
    """What all machines have in common."""

    os: Literal["debian-12", "debian-13", "ubuntu-24.04"] = Field(
        "debian-13", description="Operating system of the machines."
    )
    sizes: Sizes = Field(Sizes(), description="Sizes of the machines by role.")
    disks: Disks = Field(Disks(), description="Disks of the machines by role.")
    spot: bool = Field(
        False,
        description="Webservers are spare capacity: cheaper, and ended at any time (only on AWS).",
    )
    timezone: Timezone = Field("Etc/UTC", description="Time zone of the machines and of cron.")


class Admin(Section):
    """The application's first administrator; the password is made during the deployment."""

    user: UserName = Field(description="Name to log in with.")
    email: Email = Field(
        description="E-mail address; also the certificate authority's contact if tls.email is null."
    )


class ObjectStorage(Section):
    """Where the deployment's buckets are."""

    provider: (
        Literal["aws", "digitalocean", "exoscale", "linode", "vultr", "hetzner", "other"] | None
    ) = Field(None, description="Whose object storage; null: the provider's own.")
    endpoint: Url | None = Field(None, description="S3 endpoint; null: derived from the region.")
    region: Identifier | None = Field(None, description="Region; null: the provider's.")
    credentials: Credentials | None = Field(
        None,
        description="Where the access key and its secret come from; null: by the cloud (aws).",
    )


class Release(Section):
    """The archive that the application's project has released. `url` or `file`, not both."""

    url: Url | None = Field(None, description="Where the project serves it, over HTTPS.")
    file: AbsolutePath | None = Field(None, description="The archive, on the build machine.")
    sha256: Sha256 = Field(description="Its checksum as the project publishes it.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.url is None) == (self.file is None):
            hint("exactly one of url and file")
        return self


class Fresh(Section):
    """A new, empty application of its own release."""

    kind: Literal["fresh"] = Field(description="A new application, nothing in it.")
    release: Release | None = Field(
        None, description="The release to install; null: Debian's package (wordpress)."
    )


class Code(Section):
    """Own PHP or a static site: the git repository that its code is in, and how it is run."""

    url: Url = Field(description="The repository, over HTTPS.")
    revision: Revision | None = Field(
        None, description="Branch, tag or commit; null: the default branch."
    )
    credentials: Credentials | None = Field(
        None, description="Where the token for a private repository comes from."
    )
    docroot: RelativePath | None = Field(
        None, description="Folder that is served; null: the repository's top."
    )
    composer: bool = Field(False, description="Install dependencies by composer.")
    writable: Distinct[RelativePath] = Field(
        (), description="Folders that the application may write to."
    )
    environment_template: RelativePath | None = Field(
        None, description="File in the repository that the settings file (.env) is made from."
    )
    health_path: UrlPath = Field("/", description="Path that answers 200 when the site is well.")
    cron: CronTime | None = Field(
        None, description="When to run `cron.php` of the repository's top; null: never."
    )
    prepare: bool = Field(
        False, description="Run `prepare.php` of the repository's top before a release goes live."
    )
    database: bool = Field(True, description="The application needs a database.")


class Baseline(Section):
    """A cleaned, shareable starting point, from a git repository (see `baselines`)."""

    kind: Literal["baseline"] = Field(description="A cleaned, shareable starting point.")
    repository: Repository = Field(
        description="The baseline's git repository, over HTTPS or on this computer."
    )
    revision: Revision | None = Field(
        None, description="Branch, tag or commit; null: the default branch."
    )
    credentials: Credentials | None = Field(
        None, description="Where the token for a private repository comes from."
    )
    signers: Distinct[SigningKey] = Field(
        (), description="Public keys it may be signed with; none: this build home's own."
    )
    code: Code | None = Field(
        None, description="The repository of its code, for php: baselines hold none."
    )
    release: Release | None = Field(
        None,
        description="The release of its code, for joomla, drupal and moodle: baselines hold none.",
    )


class Backup(Section):
    """A temporal backup of a running application, or of one that is gone."""

    kind: Literal["backup"] = Field(description="A private, dated copy made by `backups`.")
    period: Literal[Period, "manual"] = Field(description="Which series of backups.")
    at: Moment | None = Field(
        None, description="The newest that is not younger (UTC); null: the newest of all."
    )
    deployment: Name | None = Field(
        None, description="The deployment it is of; null: an earlier one of this name."
    )
    storage: ObjectStorage | None = Field(
        None, description="The object storage it is in; null: this deployment's own."
    )
    bucket: BucketName | None = Field(
        None, description="The bucket it is in; null: found by the deployment's tag."
    )
    password: Credentials | None = Field(
        None,
        description="Where the backups' password comes from; null: what this build home keeps of "
        "that deployment.",
    )
    code: Code | None = Field(
        None, description="The repository of its code, for php and static: backups hold none."
    )
    release: Release | None = Field(
        None,
        description="The release it was made of, for joomla, drupal and moodle: backups hold none.",
    )


class _FromRepository(BaseModel):
    kind: Literal["repository"] = Field(description="Own code from a git repository.")


class OwnRepository(Code, _FromRepository):  # in this order: its kind is its first field
    """Own PHP or a static site, from a git repository."""


Source = Annotated[Fresh | Baseline | Backup | OwnRepository, Field(discriminator="kind")]


class Application(Section):
    """What is deployed."""

    kind: Literal["wordpress", "joomla", "drupal", "moodle", "php", "static"] = Field(
        description="The application; `php` and `static` come from an own repository."
    )
    title: Title = Field(description="The site's name, shown to its visitors.")
    admin: Admin = Field(description="First administrator.")
    locale: Locale = Field("en_US", description="Language of the application.")
    source: Source = Field(Fresh(kind="fresh"), description="Where its content comes from.")

    @property
    def code(self) -> Code | Release | None:
        """Return where the code comes from; None: it is Debian's package, or a baseline's."""
        match self.source:
            case Code():
                return self.source
            case Backup() | Baseline():
                return self.source.code or self.source.release
            case Fresh():
                return self.source.release

    @property
    def code_key(self) -> str:
        """Return the key of the answers that its repository is described at."""
        inside = ".code" if isinstance(self.source, Backup | Baseline) else ""
        return f"application.source{inside}"


class Domain(Section):
    """The names that the site answers to; all of them inside `dns.zone`."""

    name: Fqdn = Field(description="The site's canonical name.")
    aliases: Distinct[Fqdn] = Field(
        (), max_length=99, description="Further names; they lead to the canonical one."
    )


class Rfc2136(Section):
    """An own DNS server that takes updates signed with a TSIG key."""

    server: Host = Field(description="Address or name of the primary server.")
    port: Port = Field(53, description="Its port.")
    key_name: KeyName = Field(description="Name of the TSIG key.")
    algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = Field(
        "hmac-sha256", description="Algorithm of the TSIG key."
    )
    key: Credentials = Field(description="Where the TSIG key (base64) comes from.")


class Dns(Section):
    """Who serves the zone; chosen independently of the provider."""

    provider: Literal[
        "rfc2136",
        "cloudflare",
        "route53",
        "digitalocean",
        "exoscale",
        "linode",
        "vultr",
        "hetzner",
        "none",
    ] = Field(description="The DNS provider; `none`: records are made by hand.")
    zone: Fqdn = Field(description="The zone, such as example.org.")
    ttl: int = Field(60, ge=30, le=86400, description="Seconds that answers may be kept.")
    proxied: bool = Field(False, description="Cloudflare stands in front of the webservers.")
    health_checked: bool = Field(
        False, description="Route 53 asks every webserver, and answers with those that are well."
    )
    credentials: Credentials | None = Field(
        None, description="Where the DNS provider's API token comes from."
    )
    rfc2136: Rfc2136 | None = Field(
        None, description="The server for `rfc2136`; null with `local`: the rehearsal's own."
    )


class Database(Section):
    """The database of the application."""

    engine: Literal["mariadb", "mysql", "postgresql"] = Field(
        "mariadb", description="Database engine."
    )
    managed: bool = Field(
        False, description="Rent it from the provider instead of running it on a machine."
    )
    size: Identifier | None = Field(
        None, description="Size of a managed one, in the provider's names; null: its default."
    )
    port: Port = Field(2035, description="Port of an own database; a managed one has its own.")


class Webserver(Section):
    """The webservers."""

    kind: Literal["nginx", "apache", "lighttpd"] = Field("nginx", description="Program.")
    count: int = Field(1, ge=1, le=50, description="How many to begin with; 1 in development mode.")


class SharedConfig(Section):
    """The folder that all machines of the deployment mount."""

    kind: Literal["s3fs", "efs"] = Field(
        "s3fs", description="A bucket through s3fs, or EFS (only on AWS)."
    )


class Firewall(Section):
    """The two layers that render the one list of rules."""

    native: bool = Field(True, description="The provider's firewall.")
    machine: bool = Field(True, description="ufw on every machine.")


class Ssh(Section):
    """How machines are administered."""

    port: Port = Field(1035, description="Port of sshd on every machine.")
    build_machine: NetworkAddress | None = Field(
        None, description="Who may connect: the build machine's address or network as the machines "
        "see it; null: found out.",
    )  # fmt: skip


class Tls(Section):
    """The certificate."""

    authority: Authority | None = Field(
        None, description="Who signs; null: a rehearsal's own, elsewhere letsencrypt."
    )
    email: Email | None = Field(
        None, description="Contact for the authority; null: the administrator's."
    )
