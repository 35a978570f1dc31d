"""Clients of Amazon's APIs that know only what they are given.

Neither the environment's AWS_* variables nor ~/.aws is asked, not even opened: credentials, region
and address are what the answers say. Used by the provider, Route 53 and the object storage.
"""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import botocore.configprovider
import botocore.credentials
import botocore.exceptions
import botocore.httpsession
import botocore.loaders
import botocore.session
import botocore.utils
from botocore.config import Config

from wizard.errors import HomeError, TransientError, UsageError
from wizard.providers.base import OWN_ROLE
from wizard.secrets import Secret

FORMS = (
    "ACCESS_KEY:SECRET_KEY, ACCESS_KEY:SECRET_KEY:SESSION_TOKEN, either with @ROLE_ARN behind it, "
    f"profile:NAME:/path/of/a/credentials/file, or, on an instance at EC2, {OWN_ROLE}"
)
"""What a credential source may hold."""

_CONNECT_TIMEOUT, _READ_TIMEOUT = 10.0, 60.0  # seconds
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_SESSION_NAME = "build-usb"
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
METADATA = "http://169.254.169.254/"
_METADATA_TIMEOUT, _METADATA_TRIES = 2, 4  # seconds


@dataclass(frozen=True)
class Credentials:
    """An access key with its secret, a token where they are temporary, and the ARN of a role that
    is assumed with them ("": none). `own_role`: none of these, the instance that this runs on is
    asked for those of its role."""

    access_key: str
    secret_key: Secret
    session_token: Secret | None = None
    role: str = ""
    own_role: bool = False


def parse(given: Secret, where: str = "provider.credentials") -> Credentials:
    """Return what a credential source holds, in one of the FORMS. UsageError if it is none."""
    text = given.reveal()
    if text == OWN_ROLE:
        return Credentials("", Secret(""), own_role=True)
    if text.startswith("profile:"):
        return _profile(text.removeprefix("profile:"), where)
    keys, at, role = text.partition("@")
    parts = keys.split(":")
    if len(parts) not in (2, 3) or not all(parts) or (at and not _ROLE.fullmatch(role)):
        raise UsageError(
            "the credentials for Amazon are not of a known form",
            where=where,
            cure=f"give {FORMS}",
        )
    token = Secret(parts[2]) if len(parts) == 3 else None
    return Credentials(parts[0], Secret(parts[1]), token, role)


def _profile(named: str, where: str) -> Credentials:
    """Return a profile of a file as `aws configure` writes it; the file is named, never guessed."""
    name, _, path = named.partition(":")
    if not (name and path.startswith("/")):
        raise UsageError(
            "a profile is given without its name or its file",
            where=where,
            cure="give profile:NAME:/path/of/a/credentials/file",
        )
    profiles = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        profiles.read_string(Path(path).read_text())
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise HomeError(
            f"cannot read the credentials file {path}",
            where=where,
            why=getattr(error, "strerror", None) or type(error).__name__,
            cure="name a file with one [section] for each profile",
        ) from error

    def section(wanted: str) -> dict[str, str]:
        for title in (wanted, f"profile {wanted}"):
            if profiles.has_section(title):
                return dict(profiles[title])
        raise UsageError(
            f"{path} holds no profile {wanted}",
            where=where,
            cure=f"it holds {', '.join(profiles.sections()) or 'none'}",
        )

    chosen = section(name)
    keys = section(chosen["source_profile"]) if "source_profile" in chosen else chosen
    access_key, secret_key = keys.get("aws_access_key_id"), keys.get("aws_secret_access_key")
    if not (access_key and secret_key):
        raise UsageError(
            f"the profile {name} in {path} holds no keys",
            where=where,
            why="it needs aws_access_key_id and aws_secret_access_key, or the source_profile that "
            "has them; programs that hand out keys (credential_process, sso) are not run",
            cure="put the keys there, or give them as ACCESS_KEY:SECRET_KEY:SESSION_TOKEN",
        )
    token = keys.get("aws_session_token")
    return Credentials(
        access_key,
        Secret(secret_key),
        Secret(token) if token else None,
        chosen.get("role_arn", ""),
    )


def session(credentials: Credentials, url: str = "") -> botocore.session.Session:
    """Return a session with these credentials; a role is assumed, or an instance asked for the keys
    of its own, at the first call, and again before they expire. `url` is where a role is assumed,
    "" for Amazon itself."""
    made = botocore.session.Session()
    # Each setting has its default only: neither the environment nor ~/.aws is asked. So too for
    # the descriptions of services, which ~/.aws/models could replace.
    defaults: dict[str, Any] = {
        name: default
        for name, (_, _, default, _) in made.SESSION_VARIABLES.items()
        if default is not None
    }
    defaults |= {"config_file": os.devnull, "credentials_file": os.devnull}
    store = botocore.configprovider.ConfigValueStore(
        {name: botocore.configprovider.ConstantProvider(value) for name, value in defaults.items()}
    )
    made.register_component("config_store", store)
    made.register_component("data_loader", _loader())
    made.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    if credentials.own_role:
        made._credentials = botocore.credentials.DeferredRefreshableCredentials(  # type: ignore[attr-defined]
            refresh_using=_ask_instance, method="iam-role"
        )
        return made
    token = credentials.session_token
    made.set_credentials(
        credentials.access_key,
        credentials.secret_key.reveal(),
        token.reveal() if token else None,
    )
    if credentials.role:
        keys = session(replace(credentials, role=""))
        refresh = botocore.credentials.create_assume_role_refresher(
            client(keys, "sts", "us-east-1", url),
            {"RoleArn": credentials.role, "RoleSessionName": _SESSION_NAME},
        )
        made._credentials = botocore.credentials.DeferredRefreshableCredentials(  # type: ignore[attr-defined]
            refresh_using=refresh, method="assume-role"
        )
    return made


def _ask_instance() -> dict[str, Any]:
    """Return the keys of the role of this instance, and when they end; over IMDSv2 alone."""
    fetcher: Any = botocore.utils.InstanceMetadataFetcher(
        timeout=_METADATA_TIMEOUT,
        num_attempts=_METADATA_TRIES,
        base_url=METADATA,
        env={},
        config={"ec2_metadata_v1_disabled": True},
    )
    # its own takes proxies from the environment
    fetcher._session = botocore.httpsession.URLLib3Session(timeout=_METADATA_TIMEOUT, proxies={})
    try:
        found: dict[str, Any] = fetcher.retrieve_iam_role_credentials()
    except botocore.exceptions.BotoCoreError as error:
        found, why = {}, str(error)
    else:
        why = "it knows no role of this instance"
    if not found:
        raise TransientError(
            "the instance does not tell the keys of its role",
            where=METADATA,
            why=why,
            cure="run it on an instance at EC2 that has an instance profile; after a while it may "
            "answer by itself",
        )
    return found


def client(
    own: botocore.session.Session,
    service: str,
    region: str,
    url: str = "",
    **settings: Any,
) -> Any:
    """Return a client of a service; `url` "" is Amazon's own, `settings` are botocore's Config's.
    It repeats nothing unless `settings` say so."""
    settings = {
        "connect_timeout": _CONNECT_TIMEOUT,
        "read_timeout": _READ_TIMEOUT,
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "proxies": {},
        "ignore_configured_endpoint_urls": True,
        **settings,
    }
    # the stubs know neither which client this is nor the newest settings
    configure: Any = Config
    create: Any = own.create_client
    return create(
        service,
        region_name=region,
        endpoint_url=url or None,
        verify=True,
        config=configure(**settings),
    )


def _moment(told: Any) -> datetime:
    """Return a moment of an answer. botocore's own parser takes a third of the time of a list."""
    try:
        found = datetime.fromisoformat(told)
    except (TypeError, ValueError):
        return botocore.utils.parse_timestamp(told)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@cache
def _loader() -> botocore.loaders.Loader:
    """One for all sessions: it keeps the descriptions of services, which are large."""
    return botocore.loaders.Loader(
        extra_search_paths=[botocore.loaders.Loader.BUILTIN_DATA_PATH],
        include_default_search_paths=False,
    )
