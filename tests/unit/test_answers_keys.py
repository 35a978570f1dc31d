"""What the model says about itself: help, allowed values, schema, reference, support."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import jsonschema  # type: ignore[import-untyped]
import pytest
from pydantic import BaseModel

from wizard.answers import keys, support
from wizard.answers.document import read
from wizard.answers.loader import load, loads
from wizard.answers.model import Answers
from wizard.answers.problems import parsed, printable, shown, written
from wizard.answers.reference import reference
from wizard.answers.schema import json_schema
from wizard.answers.sections import Section
from wizard.errors import AnswersError, ExitCode, NotSupportedError
from wizard.paths import config_templates

EXAMPLES = sorted((config_templates() / "answers").glob("*.yaml"))
REHEARSAL = (config_templates() / "answers" / "rehearsal.yaml").read_text()
DOCS = Path(__file__).parents[2] / "docs" / "answers.md"


def every_key(section: type[BaseModel] = Answers, prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        for kind in keys.members(field.annotation):
            inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
            for below in keys.models(inner):
                dot = ".0." if get_origin(kind) is tuple else "."
                yield from every_key(below, f"{prefix}{name}{dot}")


EVERY_KEY = sorted(set(every_key()))


@pytest.mark.parametrize("key", EVERY_KEY)
def test_every_key_says_what_it_means_and_allows(key: str) -> None:
    assert keys.meaning(key).endswith(".")
    assert keys.allowed(parsed(key))
    # nothing fits an object of no kind that YAML knows, and the refusal is in our words
    problems = keys.check_field(key, object())
    assert problems
    assert all(problem.startswith(written(parsed(key))) for problem in problems)
    assert all("; allowed: " in problem for problem in problems)


def test_no_section_is_forgotten() -> None:
    assert len(EVERY_KEY) > 120
    used = {m for key in EVERY_KEY for m in _models(key)}
    assert {s for s in _subclasses(Section) if s.__module__.startswith("wizard.")} == {
        Answers,
        *used,
    }


def _models(key: str) -> list[type[BaseModel]]:
    field = keys.field_at(parsed(key))
    assert field is not None
    inner = [get_args(k)[0] for k in keys.members(field.annotation) if get_origin(k) is tuple]
    return keys.models(field.annotation) + [m for i in inner for m in keys.models(i)]


def _subclasses(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in of.__subclasses__():
        yield below
        yield from _subclasses(below)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "demo"),
        ("database.port", 3306),
        ("provider.name", "aws"),
        ("provider.credentials", None),
        ("provider.credentials", {"home": "token"}),
        ("provider.credentials.environment", "TOKEN"),
        ("application.source", {"kind": "fresh"}),
        ("application.source.url", "https://example.org/a.git"),
        ("domain.aliases", ["a.example.org"]),
        ("domain.aliases.0", "a.example.org"),
        ("domain.aliases[3]", "a.example.org"),
        ("scaling.schedule.0.at", "08:30"),
        ("scaling.schedule", [{"at": "08:30", "webservers": 2}]),
        ("ssh.build_machine", "2001:db8::1"),
        ("ssh.build_machine", "192.0.2.0/24"),
        ("tls.authority", "https://127.0.0.1:14000/dir"),
        ("dns.rfc2136.server", "192.0.2.1"),
        ("machines", {}),
        ("application.title", "Wiesn « 'Fön' & \"co\" 👩‍🚒"),
    ],
)
def test_one_field_alone_fits(key: str, value: object) -> None:
    assert keys.check_field(key, value) == []


@pytest.mark.parametrize(
    ("key", "value", "problems"),
    [
        (
            "database.port",
            "abc",
            ["database.port: found 'abc'; allowed: a whole number from 1 to 65535"],
        ),
        (
            "domain.aliases",
            ["a.example.org", "b"],
            [
                "domain.aliases[1]: found 'b'; allowed: a full domain name such as www.example.org"
                " (labels of a-z, 0-9 and - joined by dots, the last one not a number)"
            ],
        ),
        (
            "provider.credentials",
            {"home": "a", "file": "/a"},
            [
                "provider.credentials: found a mapping; allowed: {environment: VARIABLE},"
                " {file: /path} or {home: name}, or null (exactly one of these three)"
            ],
        ),
        (
            "application.source",
            {"kind": "fresh", "url": "x"},
            ["application.source.url: found an unknown key 'url'; allowed: kind, release"],
        ),
        (
            "application.source",
            {"kind": "baseline", "repository": 5},
            [
                "application.source.repository: found 5; allowed: a URL that starts with https://,"
                " or a path that starts with /; put it in quotes to make it text",
            ],
        ),
        (
            "scaling.schedule",
            [{"at": "24:00", "webservers": 0}],
            [
                "scaling.schedule[0].at: found '24:00'; allowed: a time of day from 00:00 to 23:59",
                "scaling.schedule[0].webservers: found 0; allowed: a whole number from 1 to 50",
            ],
        ),
    ],
)
def test_one_field_alone_is_refused_as_in_a_file(
    key: str, value: object, problems: list[str]
) -> None:
    assert keys.check_field(key, value) == problems


@pytest.mark.parametrize("key", ["", "nonsense", "database.nonsense", "name.0", "database.0"])
def test_an_unknown_key_is_a_mistake_of_the_caller(key: str) -> None:
    with pytest.raises(KeyError):
        keys.check_field(key, 1)
    with pytest.raises(KeyError):
        keys.meaning(key)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing (null)"),
        (True, "true"),
        ("a'b\x1b[0m\n\ud800", "'a'b\\x1b[0m\\n\\ud800'"),
        ("x" * 1000, f"'{'x' * 59}…'"),
        (10**17, "1" + "0" * 17),
        ([], "a list"),
        ({}, "a mapping"),
    ],
)
def test_found_values_are_shown_safely(value: object, text: str) -> None:
    assert shown(value) == text
    assert printable(text) == text or len(text) > 60


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_and_fit_the_schema(example: Path) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(read(example.read_bytes()).data)
    assert support.unsupported(load(example)) == []


def test_the_schema_is_one_and_refuses_what_is_wrong() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    json.dumps(schema)
    for section in [schema, *schema["$defs"].values()]:
        assert section["additionalProperties"] is False
        for name, field in section["properties"].items():
            # a section's own description is not repeated where it is referred to
            place = schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
            assert place["description"], name
    validator = jsonschema.Draft202012Validator(schema)
    good = read(REHEARSAL).data
    wrong: list[dict[str, Any]] = [
        {"version": 2},
        {"mode": "test"},
        {"domain": {"name": "WWW.rehearsal.test"}},
        {"database": {"port": 0}},
        {"database": {"prt": 1}},
        {"dns": {"provider": "rfc2136", "zone": "a.test", "credentials": {}}},
        {"gateway": {"paths": ["/a", "/a"]}},
        {"application": {**good["application"], "source": {"kind": "fresh", "url": "x"}}},
    ]
    for change in wrong:
        assert not validator.is_valid({**good, **change}), change
        with pytest.raises(ValueError):
            Answers.model_validate({**good, **change})


def test_the_reference_in_docs_is_the_models() -> None:
    assert DOCS.read_text() == reference(), (
        "write it again: python -c 'from wizard.answers.reference import reference as r;"
        ' print(r(), end="")\' > docs/answers.md'
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "name: local",
            "name: vultr",
            "provider.name: asked for 'vultr'; works in this version: l",
        ),
        ("mode: development", "database: {engine: mysql}", "database.engine: asked for 'mysql'"),
        ("mode: development", "webserver: {kind: apache}", "webserver.kind: asked for 'apache'"),
        ("mode: development", "machines: {os: debian-12}", "machines.os: asked for 'debian-12'"),
        ("mode: development", "tls: {authority: zerossl}", "tls.authority: asked for 'zerossl'"),
        ("mode: development", "ssh: {build_machine: 192.0.2.1}", "ssh.build_machine: asked for"),
        ("mode: development", "object_storage: {region: x}", "object_storage.region: asked for"),
        (
            "mode: development",
            "backups: {periods: [daily], second_storage: {provider: aws, region: r}}",
            "backups.second_storage: asked for settings",
        ),
        ("mode: development", "gateway: {paths: [/a]}", "gateway.paths: asked for a list"),
        (
            "kind: wordpress",
            "kind: static\n  source: {kind: baseline, repository: /srv/baseline, "
            "code: {url: https://git.test/site.git}}",
            "application.source.kind: asked for 'baseline' for own code",
        ),
    ],
)
def test_what_does_not_work_yet_is_refused_by_name(old: str, new: str, expected: str) -> None:
    text = REHEARSAL.replace(old, new)
    if "vultr" in new:
        server = "  rfc2136: {server: 192.0.2.1, key_name: k, key: {home: k}}\n"
        text += server
    answers = loads(text, "a.yaml")
    with pytest.raises(NotSupportedError) as caught:
        support.refuse_unsupported(answers, "a.yaml")
    assert caught.value.exit_code is ExitCode.NOT_SUPPORTED
    assert expected in caught.value.why
    assert len(caught.value.why.splitlines()) == 1


def test_a_baseline_begins_nothing_with_postgresql() -> None:
    source = "{kind: baseline, repository: /srv/baseline, code: {url: https://git.test/site.git}}"
    text = REHEARSAL.replace("kind: wordpress", f"kind: php\n  source: {source}")
    answers = loads(text + "database: {engine: postgresql}\n", "a.yaml")
    (problem,) = support.unsupported(answers)
    assert (problem.key, problem.found) == ("database.engine", "'postgresql' with a baseline")


@pytest.mark.parametrize(
    "new",
    [
        "tls: {authority: letsencrypt}",
        "tls: {authority: letsencrypt-staging, email: jo@example.org}",
        "tls: {authority: 'https://acme.example.org/directory'}",
        "firewall: {native: false, machine: false}",
        "ssh: {port: 2222}",
        "database: {port: 3306, engine: mariadb}",
        "machines: {timezone: Europe/Vienna, sizes: {webserver: large}}",
        "backups: {periods: [], keep: {daily: 7}}",
        "scaling: {minimum: 2}",
        "notifications: {email: a@b.test, smtp: {host: mail.b.test, user: a, sender: c@b.test, "
        "port: 465, security: tls, password: {environment: MAIL}}, level: info}",
        "mode: production\nwebserver: {count: 2}\nscaling: {autoscalers: 2, maximum: 4}",
    ],
)
def test_what_works_is_not_refused(new: str) -> None:
    support.refuse_unsupported(loads(REHEARSAL.replace("mode: development", new), "a.yaml"))


@pytest.mark.parametrize(
    "source", ["{kind: backup, period: daily}", "{kind: baseline, repository: /srv/baseline}"]
)
def test_production_begins_with_what_brings_plugins_along(source: str) -> None:
    text = REHEARSAL.replace("mode: development", "mode: production\nwebserver: {count: 2}")
    text = text.replace("kind: wordpress", f"kind: wordpress\n  source: {source}")
    support.refuse_unsupported(loads(text, "a.yaml"))


def test_own_code_works_in_production_also_if_it_writes_files() -> None:
    own = "source: {kind: repository, url: 'https://git.example.org/site.git'"
    text = REHEARSAL.replace("mode: development", "mode: production\nwebserver: {count: 2}")
    text = text.replace("kind: wordpress", f"kind: php\n  {own}}}")
    support.refuse_unsupported(loads(text, "a.yaml"))
    written = text.replace("site.git'}", "site.git', writable: [uploads]}")
    support.refuse_unsupported(loads(written, "a.yaml"))


CLOUD = """
version: 1
name: demo
mode: development
provider: {name: digitalocean, region: fra1, credentials: {environment: TOKEN}}
application:
  {kind: wordpress, title: A site, admin: {user: jo, email: jo@example.org}, source: {kind: fresh}}
domain: {name: www.example.org}
dns: {provider: cloudflare, zone: example.org, credentials: {environment: TOKEN}}
object_storage: {credentials: {environment: KEYS}}
ssh: {build_machine: 203.0.113.7}
"""


PRODUCTION = """mode: production
webserver: {count: 2}
scaling: {credentials: {provider: {environment: ONE}, dns: {environment: TWO}}}"""


def test_production_works_where_autoscalers_have_been_tried_out() -> None:
    text = CLOUD.replace("mode: development", PRODUCTION)
    support.refuse_unsupported(loads(text, "a.yaml"))
    text = text.replace("name: digitalocean", "name: aws").replace(
        "provider: {environment: ONE},", ""
    )
    support.refuse_unsupported(loads(text, "a.yaml"))


def test_a_cloud_works_and_finds_the_build_machine_if_need_be() -> None:
    support.refuse_unsupported(loads(CLOUD, "a.yaml"))
    support.refuse_unsupported(loads(CLOUD.replace("{environment:", "{home:").lower(), "a.yaml"))
    support.refuse_unsupported(loads(CLOUD.replace("ssh: {build_machine: 203.0.113.7}", ""), "a"))
    other = CLOUD.replace("name: digitalocean", "name: hetzner")
    with pytest.raises(NotSupportedError) as caught:
        support.refuse_unsupported(loads(other, "a.yaml"))
    assert "provider.name: asked for 'hetzner'" in caught.value.why
    assert len(caught.value.why.splitlines()) == 1


@pytest.mark.parametrize(
    ("cloud", "database", "refused"),
    [
        ("digitalocean", "{engine: mysql, managed: true}", ""),
        ("digitalocean", "{engine: mysql, managed: true, size: db-s-2vcpu-4gb}", ""),
        ("aws", "{engine: mysql, managed: true}", ""),
        ("aws", "{engine: mariadb, managed: true, size: db.t4g.medium}", ""),
        ("aws", "{engine: mysql}", "database.engine"),
        ("digitalocean", "{engine: mysql}", "database.engine"),
        ("hetzner", "{engine: mysql}", "database.engine"),
    ],
)
def test_managed_databases_work_where_they_are_rented(
    cloud: str, database: str, refused: str
) -> None:
    text = CLOUD.replace("name: digitalocean", f"name: {cloud}") + f"database: {database}\n"
    problems = [p.key for p in support.unsupported(loads(text, "a.yaml"))]
    assert [key for key in problems if key != "provider.name"] == ([refused] if refused else [])


@pytest.mark.parametrize("cloud", ["aws", "digitalocean"])
@pytest.mark.parametrize(
    ("kind", "refused"), [("drupal", []), ("moodle", []), ("joomla", ["database.managed"])]
)
def test_managed_postgresql_is_for_applications_that_know_it(
    cloud: str, kind: str, refused: list[str]
) -> None:
    release = "{file: /tmp/release.tar.gz, sha256: " + "a" * 64 + "}"
    text = CLOUD.replace("name: digitalocean", f"name: {cloud}")
    text = text.replace("kind: wordpress", f"kind: {kind}")
    text = text.replace("{kind: fresh}", f"{{kind: fresh, release: {release}}}")
    text += "database: {engine: postgresql, managed: true}\n"
    assert [p.key for p in support.unsupported(loads(text, "a.yaml"))] == refused


@pytest.mark.parametrize("kind", ["drupal", "moodle"])
@pytest.mark.parametrize(
    ("engine", "refused"), [("mariadb", []), ("postgresql", ["database.engine"])]
)
def test_a_release_begins_with_a_baseline_where_mariadb_is(
    kind: str, engine: str, refused: list[str]
) -> None:
    release = "release: {file: /tmp/release.tar.gz, sha256: " + "a" * 64 + "}"
    baseline = f"{{kind: baseline, repository: /srv/baseline.git, {release}}}"
    text = CLOUD.replace("kind: wordpress", f"kind: {kind}").replace("{kind: fresh}", baseline)
    text += f"database: {{engine: {engine}}}\n"
    assert [p.key for p in support.unsupported(loads(text, "a.yaml"))] == refused


def test_postgresql_is_for_applications_that_know_it() -> None:
    text = CLOUD + "database: {engine: postgresql}\n"
    own = text.replace("kind: wordpress", "kind: php").replace(
        "{kind: fresh}", "{kind: repository, url: https://git.test/site.git}"
    )
    assert support.unsupported(loads(own, "a.yaml")) == []
    with pytest.raises(AnswersError, match=r"database\.engine"):
        loads(text, "a.yaml")
    many = own.replace("mode: development", PRODUCTION)
    assert support.unsupported(loads(many, "a.yaml")) == []
    rented = many.replace("{engine: postgresql}", "{engine: postgresql, managed: true}")
    assert support.unsupported(loads(rented, "a.yaml")) == []


def test_a_size_is_for_a_managed_database() -> None:
    with pytest.raises(AnswersError, match=r"database.size.*managed: true"):
        loads(CLOUD + "database: {size: db-s-1vcpu-1gb}\n", "a.yaml")
    with pytest.raises(AnswersError, match=r"database.managed"):
        loads(REHEARSAL.replace("mode: development", "database: {managed: true}"), "a.yaml")


def test_every_setting_works_or_is_named() -> None:
    # a key added to the model without a thought for `support` shows up in the reference as
    # working: these are the sections that do today
    with_one = (*support.WITH_ONE_WEBSERVER, *support.WITH_AWS)
    partly = (*support.WITH_CLOUDS, *support.WITH_PROXIES, *with_one)
    every = (*support.WORKING, *support.NOT_YET, *partly)
    named = {key.split(".")[0] for key in every}
    assert set(Answers.model_fields) - named == {
        "version",
        "name",
        "notifications",
        "domain",
        "firewall",
        "tls",
        "baselines",
        "scaling",
    }
    for key in every:
        assert keys.field_at(parsed(key)), key


def test_secrets_in_unknown_places_point_to_the_right_place() -> None:
    for text, place in (
        ("provider_token: x", "no secret here at all"),
        ("notifications: {password: x}", "no secret here at all"),
        ("object_storage: {secret_key: x}", "at object_storage.credentials"),
        ("backups: {second_storage: {access_key: x}}", "at backups.second_storage.credentials"),
    ):
        with pytest.raises(AnswersError) as caught:
            loads(REHEARSAL + text, "a.yaml")
        assert any("a secret (not shown)" in p and place in p for p in caught.value.problems)


def test_the_package_itself_loads_nothing() -> None:
    code = "import sys, wizard.answers; print(sorted({'pydantic', 'yaml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
