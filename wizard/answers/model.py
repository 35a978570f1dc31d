"""The answers document as a value: frozen, complete, valid."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, model_validator

from wizard.answers.consistency import inconsistencies
from wizard.answers.fields import Name, hint
from wizard.answers.sections import (
    Application,
    Database,
    Dns,
    Domain,
    Firewall,
    Machines,
    ObjectStorage,
    ProviderSection,
    Section,
    SharedConfig,
    Ssh,
    Tls,
    Webserver,
)
from wizard.answers.upkeep import Backups, Baselines, Gateway, Notifications, Scaling

VERSION = 1
FIELDS_ONLY = "fields_only"
"""Validation context: check fields, not what must fit together (the loader reports that itself)."""


class Answers(Section):
    """All that the user decides. Holds no secret: it may be mailed, committed and replayed."""

    model_config = ConfigDict(title="Answers of Build USB")

    version: Literal[1] = Field(description="Version of this document.")
    name: Name = Field(description="Name of the deployment; part of every resource's name.")
    mode: Literal["development", "production"] = Field(
        "development",
        description="One webserver and one database, or several webservers watched by autoscalers.",
    )
    provider: ProviderSection = Field(description="The cloud that rents the machines.")
    machines: Machines = Field(Machines(), description="What all machines have in common.")
    application: Application = Field(description="What is deployed.")
    domain: Domain = Field(description="The names the site answers to.")
    dns: Dns = Field(description="Who serves the zone.")
    database: Database = Field(Database(), description="The application's database.")
    webserver: Webserver = Field(Webserver(), description="The webservers.")
    shared_config: SharedConfig = Field(
        SharedConfig(), description="The folder all machines mount."
    )
    object_storage: ObjectStorage = Field(ObjectStorage(), description="Where the buckets are.")
    firewall: Firewall = Field(Firewall(), description="The layers of the firewall.")
    ssh: Ssh = Field(Ssh(), description="How machines are administered.")
    tls: Tls = Field(Tls(), description="The certificate.")
    backups: Backups = Field(Backups(), description="Temporal backups.")
    baselines: Baselines = Field(Baselines(), description="Where baselines are kept.")
    notifications: Notifications = Field(Notifications(), description="E-mail about the machines.")
    gateway: Gateway = Field(
        Gateway(), description="A second password in front of the administration."
    )
    scaling: Scaling = Field(Scaling(), description="Number of webservers over time.")

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        if not (info.context or {}).get(FIELDS_ONLY):
            problems = inconsistencies(self)
            if problems:
                hint("; ".join(map(str, problems)))
        return self
