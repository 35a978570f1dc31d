"""Whatever answers there are, writing and reading them changes nothing."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from wizard.answers import RELEASED
from wizard.answers.consistency import ENGINES, MANAGED_ENGINES
from wizard.answers.document import read, scalar
from wizard.answers.loader import dumps, loads
from wizard.answers.model import Answers
from wizard.answers.schema import json_schema
from wizard.answers.upkeep import ALL_DAYS

LABEL = st.from_regex(r"[a-z]([a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
FQDN = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
EMAIL = st.builds("{}@{}".format, st.from_regex(r"[a-z0-9+_-]{1,10}", fullmatch=True), FQDN)
PORT = st.integers(1024, 65535)
IDENTIFIER = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
USER = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,20}", fullmatch=True)
# texts that YAML 1.1 or 1.2 could take for something else, beside any text at all
TITLE = st.sampled_from(
    [
        "no",
        "on",
        "~",
        "null",
        "true",
        "08:30",
        "1e3",
        "0x1F",
        "2026-01-31",
        "12",
        "- a",
        "a: b",
        "#",
    ]
) | st.text(min_size=1, max_size=120).filter(
    lambda t: t == t.strip() and all(c.isprintable() for c in t)
)
URL = st.builds("https://{}/{}".format, FQDN, st.from_regex(r"[a-z0-9/]{0,10}", fullmatch=True))
RELATIVE = st.from_regex(r"[a-z][a-z0-9-]{0,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True)
URL_PATH = RELATIVE.map("/{}".format)
REVISION = st.from_regex(r"[0-9a-f]{7,40}", fullmatch=True)
SOURCE_OF_SECRET = st.one_of(
    st.fixed_dictionaries({"environment": st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True)}),
    st.fixed_dictionaries({"file": URL_PATH}),
    st.fixed_dictionaries({"home": st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,9}", fullmatch=True)}),
)
PERIODS = ["hourly", "daily", "weekly", "monthly", "bimonthly", "shutdown"]


def some(required: dict[str, Any], **optional: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """A section with any of its optional keys, null among their values."""
    return st.fixed_dictionaries(required, optional=optional)


def or_null(strategy: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.none() | strategy


STORAGE = some(
    {},
    provider=or_null(st.sampled_from(["aws", "hetzner"])),
    endpoint=or_null(URL),
    region=or_null(IDENTIFIER),
    credentials=or_null(SOURCE_OF_SECRET),
)
SECOND = some(
    {"append_only": st.booleans()},
    provider=or_null(st.sampled_from(["aws", "hetzner"])),
    bucket=or_null(st.sampled_from(["copies-of-the-shop"])),
    credentials=or_null(SOURCE_OF_SECRET),
)
BASELINE = some(
    {
        "kind": st.just("baseline"),
        "repository": URL | st.just("/srv/baselines/shop"),
    },
    revision=or_null(REVISION),
    credentials=or_null(SOURCE_OF_SECRET),
)
BACKUP = some(
    {"kind": st.just("backup"), "period": st.sampled_from(PERIODS)},
    at=or_null(st.datetimes().map(lambda d: f"{d.year:04}{d:-%m-%dT%H:%MZ}")),
)
OWN = some(
    {"kind": st.just("repository"), "url": URL},
    revision=or_null(REVISION),
    credentials=or_null(SOURCE_OF_SECRET),
    docroot=or_null(RELATIVE),
    composer=st.booleans(),
    writable=st.lists(RELATIVE, unique=True, max_size=3),
    environment_template=or_null(RELATIVE),
    health_path=URL_PATH,
    cron=or_null(st.sampled_from(["* * * * *", "*/15 0-6 1,15 * 0"])),
    database=st.booleans(),
)
# nothing is run of a static site
STATIC = OWN.map(
    lambda own: {
        key: value
        for key, value in own.items()
        if key not in ("composer", "cron", "environment_template")
    }
)


def with_code(copy: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of own code: it says where the code is."""
    return {**copy, "code": {key: value for key, value in own.items() if key != "kind"}}


def with_release(source: dict[str, Any], release: dict[str, Any]) -> dict[str, Any]:
    """Return a source that says of which release it is."""
    return {**source, "release": release}


@st.composite
def documents(draw: DrawFn) -> dict[str, Any]:
    """Any valid document, as plain data."""
    production = draw(st.booleans())
    provider = draw(st.sampled_from(sorted(MANAGED_ENGINES)))
    kind = draw(st.sampled_from(sorted(ENGINES)))
    engine = draw(st.sampled_from(ENGINES[kind]))
    managed = engine in MANAGED_ENGINES[provider] and draw(st.booleans())
    zone = draw(FQDN)
    dns = draw(st.sampled_from(["rfc2136", "cloudflare", "route53", "none"]))
    release = {"sha256": "0" * 64}
    sources = (st.just({"kind": "fresh"}), BASELINE, BACKUP)
    if kind in RELEASED:
        there = [{"url": "https://moodle.test/moodle.tgz"}, {"file": "/srv/moodle.tgz"}]
        of = st.sampled_from(there).map(lambda at: release | at)
        sources = tuple(st.builds(with_release, source, of) for source in sources)
    own = STATIC if kind == "static" else OWN
    source = draw(
        st.one_of(own, *(st.builds(with_code, copy, own) for copy in (BASELINE, BACKUP)))
        if kind in ("php", "static")
        else st.one_of(*sources)
    )
    low, count, high = sorted(draw(st.tuples(*[st.integers(1, 50)] * 3)))
    ports = draw(st.lists(PORT, min_size=2, max_size=2, unique=True))
    names = st.sampled_from([zone, *(f"{draw(LABEL)}.{zone}" for _ in range(4))])
    name, *aliases = draw(st.lists(names, min_size=1, unique=True))
    periods = draw(st.lists(st.sampled_from(PERIODS), unique=True))
    rfc2136 = some(
        {"server": FQDN | st.just("192.0.2.1"), "key_name": LABEL, "key": SOURCE_OF_SECRET},
        port=PORT,
        algorithm=st.sampled_from(["hmac-sha256", "hmac-sha512"]),
    )
    smtp = some(
        {"host": FQDN, "user": USER, "password": SOURCE_OF_SECRET, "sender": EMAIL}, port=PORT
    )
    mail = draw(st.booleans())
    document: dict[str, Any] = {
        "version": 1,
        "name": draw(st.from_regex(r"[a-z][a-z0-9-]{0,22}[a-z0-9]", fullmatch=True)),
        "mode": "production" if production else "development",
        "provider": {
            "name": provider,
            "region": draw(IDENTIFIER),
            "credentials": None if provider == "local" else draw(or_null(SOURCE_OF_SECRET)),
        },
        "application": draw(
            some(
                {
                    "kind": st.just(kind),
                    "title": TITLE,
                    "admin": st.fixed_dictionaries(
                        {"user": st.just("editor") if kind == "moodle" else USER, "email": EMAIL}
                    ),
                    "source": st.just(source),
                },
                locale=st.sampled_from(["en_US", "de", "pt_PT_ao90", "no"]),
            )
        ),
        "domain": {"name": name, "aliases": aliases},
        "dns": {
            "provider": dns,
            "zone": zone,
            "ttl": draw(st.integers(30, 86400)),
            "proxied": dns == "cloudflare" and draw(st.booleans()),
            "health_checked": dns == "route53" and provider != "local" and draw(st.booleans()),
            "credentials": None if dns in ("rfc2136", "none") else draw(or_null(SOURCE_OF_SECRET)),
            "rfc2136": draw(rfc2136) if dns == "rfc2136" else None,
        },
        "database": {
            "engine": engine,
            "managed": managed,
            "size": draw(or_null(st.just("db-s-1vcpu-1gb"))) if managed else None,
            "port": ports[0],
        },
        "webserver": draw(
            some(
                {"count": st.just(count if production else 1)},
                kind=st.sampled_from(["nginx", "apache", "lighttpd"]),
            )
        ),
        "ssh": draw(
            some(
                {"port": st.just(ports[1])},
                build_machine=or_null(st.sampled_from(["192.0.2.7", "2001:db8::/64"])),
            )
        ),
        "backups": {
            "periods": periods,
            **draw(
                some(
                    {},
                    keep=some({}, hourly=st.integers(1, 1000), shutdown=st.integers(1, 1000)),
                    **({"second_storage": or_null(SECOND)} if periods else {}),
                )
            ),
        },
        "baselines": {
            "repository": draw(URL),
            "credentials": draw(or_null(SOURCE_OF_SECRET)),
            "rows": draw(st.lists(st.sampled_from(["page*", "text"]), unique=True)),
            "without": draw(st.lists(st.sampled_from(["data/attic/*", "a b"]), unique=True)),
        },
        "notifications": {"email": draw(EMAIL), "smtp": draw(smtp)} if mail else {},
        **draw(
            some(
                {},
                machines=some(
                    {},
                    os=st.sampled_from(["debian-12", "debian-13", "ubuntu-24.04"]),
                    sizes=some({}, webserver=or_null(IDENTIFIER), database=IDENTIFIER),
                    timezone=st.sampled_from(["Etc/UTC", "Europe/Vienna", "America/New_York"]),
                ),
                object_storage=STORAGE,
                firewall=some({}, native=st.booleans(), machine=st.booleans()),
                tls=some(
                    {},
                    authority=st.sampled_from([None, "letsencrypt", "zerossl"]) | URL,
                    email=or_null(EMAIL),
                ),
                gateway=some(
                    {
                        "users": st.lists(
                            st.fixed_dictionaries({"name": USER, "email": EMAIL}),
                            min_size=1,
                            unique_by=lambda user: user["name"],
                        )
                    },
                    enabled=st.booleans(),
                    paths=st.lists(URL_PATH, unique=True),
                ),
            )
        ),
    }
    if production:
        times = st.from_regex(r"([01][0-9]|2[0-3]):[0-5][0-9]", fullmatch=True)
        entry = some(
            {"at": times, "webservers": st.integers(low, high)},
            days=st.lists(st.sampled_from(ALL_DAYS), min_size=1, unique=True),
        )
        document["scaling"] = {
            "minimum": low,
            "maximum": high,
            "autoscalers": draw(st.integers(1, 5)),
            "schedule": draw(st.lists(entry, unique_by=lambda e: e["at"], max_size=3)),
            "health": draw(some({}, path=URL_PATH, interval=st.integers(30, 99))),
            "credentials": {
                "provider": None if provider in ("local", "aws") else draw(SOURCE_OF_SECRET),
                "dns": None if dns == "none" else draw(SOURCE_OF_SECRET),
                "dns_key_name": draw(or_null(LABEL)) if dns == "rfc2136" else None,
            },
        }
    return document


@given(documents())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
def test_answers_survive_yaml(document: dict[str, Any]) -> None:
    answers = Answers.model_validate(document)
    text = dumps(answers)
    assert loads(text, "any.yaml") == answers
    assert loads(text.encode(), "any.yaml") == answers
    # writing is stable: the same answers give the same file
    assert dumps(loads(text, "any.yaml")) == text


@given(documents())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=20)
def test_the_schema_accepts_what_the_program_accepts(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(document)
    written = read(dumps(Answers.model_validate(document))).data
    jsonschema.Draft202012Validator(json_schema()).validate(written)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("08:30", "08:30"),
        ("8:30", "8:30"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("017", "017"),
        ("12e03", "12e03"),
        (".nan", ".nan"),
        ("=", "="),
        ("<<", "<<"),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_plain_scalar_means_what_it_looks_like(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)
