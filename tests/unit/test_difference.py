"""What deploying changes against what runs: found, named, and honest about what stays."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.paths import config_templates
from wizard.plan.build import build
from wizard.plan.difference import KEPT, Change, Difference, difference, to_plain, to_text
from wizard.providers.base import ProviderFacts, Size
from wizard.rules import Role

FACTS = ProviderFacts(
    regions=("here", "there"),
    images=("debian-13", "debian-12"),
    sizes=(
        Size("small", 1, 1024, 10, Decimal("4.00")),
        Size("large", 2, 4096, 40, Decimal("12.50")),
    ),
    currency="EUR",
    default_size={Role.WEBSERVER: "small", Role.DATABASE: "small", Role.AUTOSCALER: "small"},
    bucket_monthly_price=Decimal("5.00"),
)
SOURCE = (config_templates() / "answers" / "rehearsal.yaml").read_text()
BEFORE = loader.loads(SOURCE, "before.yaml")
MADE = ("web1", "db1")


def answers(*pairs: tuple[str, str], more: str = "") -> Answers:
    text = SOURCE
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return loader.loads(text + more, "after.yaml")


def against(after: Answers, before: Answers = BEFORE, made: tuple[str, ...] = MADE) -> Difference:
    now, plan = build(before, FACTS, "bucket"), build(after, FACTS, "bucket")
    return difference(before, now, after, plan, made)


def test_the_same_answers_change_nothing() -> None:
    found = against(BEFORE)
    assert not found
    assert "nothing" in to_text(found)


def test_a_machine_that_was_never_made_is_new() -> None:
    found = against(BEFORE, made=("web1",))
    assert found.machines == (Change("machine db1", after="database, small, debian-13"),)
    assert "+ machine db1: database, small, debian-13" in to_text(found)


def test_another_size_is_seen_and_said_to_stay() -> None:
    found = against(answers(more="machines: {sizes: {database: large}}\n"))
    assert [change.what for change in found.machines] == ["machine db1"]
    assert "small, debian-13 -> database, large" in str(found.machines[0])
    assert [text.partition(":")[0] for text in found.kept] == ["machines.sizes"]


def test_fewer_webservers_leave_machines_and_say_so() -> None:
    production = "mode: production\n"
    many = answers(("mode: development\n", production), more="webserver: {count: 3}\n")
    few = answers(("mode: development\n", production), more="webserver: {count: 2}\n")
    found = against(few, many, ("web1", "web2", "web3", "db1", "scaler1"))
    assert found.machines == (Change("machine web3", before="exists"),)
    assert any(text.startswith("web3: the machine stays") for text in found.kept)
    # its records pointed at three
    assert "web1, web2, web3 -> 60 s, web1, web2" in to_text(found)


def test_records_that_come_go_and_change_are_named() -> None:
    found = against(answers(("www.rehearsal.test", "new.rehearsal.test")))
    assert [str(change)[0] for change in found.records] == ["-", "+"]
    assert any("www.rehearsal.test: the record stays" in text for text in found.kept)
    assert Change("domain.name", "'www.rehearsal.test'", "'new.rehearsal.test'") in found.answers


def test_rules_follow_the_ports() -> None:
    found = against(answers(more="database: {port: 3306}\n"))
    assert [str(change) for change in found.rules] == [
        "- firewall databases 2035/tcp from webservers: the database",
        "+ firewall databases 3306/tcp from webservers: the database",
    ]
    assert found.kept == ()


@pytest.mark.parametrize(
    ("after", "key"),
    [
        (answers(("My first site", "Another title")), "application.title"),
        (answers(("editor", "chief")), "application.admin"),
        (answers(more="ssh: {port: 2222}\n"), "ssh.port"),
        (answers(more="machines: {os: debian-12}\n"), "machines.os"),
        (answers(more="tls: {authority: https://acme.example/dir}\n"), "tls.authority"),
    ],
)
def test_what_a_running_deployment_keeps_is_named_with_its_cure(after: Answers, key: str) -> None:
    found = against(after)
    assert f"{key}: {KEPT[key]}" in found.kept
    assert f"! {key}: {KEPT[key]}" in to_text(found)


def test_a_plan_that_is_unknown_still_leaves_the_answers() -> None:
    after = answers(("My first site", "Another title"))
    found = difference(BEFORE, None, after, build(after, FACTS, "bucket"), MADE)
    assert (found.machines, found.records, found.rules) == ((), (), ())
    assert [change.what for change in found.answers] == ["application.title"]


def test_every_kept_key_is_one_of_the_answers() -> None:
    for key in KEPT:
        place = BEFORE.model_dump(mode="json")
        for part in key.split("."):
            assert part in place, key
            place = place[part] or {}


def test_it_is_plain_values_for_programs() -> None:
    found = against(answers(("My first site", "Another title")))
    assert json.loads(json.dumps(to_plain(found)))["answers"] == [
        {"what": "application.title", "before": "'My first site'", "after": "'Another title'"}
    ]
    assert not replace(found, answers=(), kept=())


def test_another_revision_of_own_code_is_released() -> None:
    kind = (
        "kind: wordpress",
        "kind: php\n  source: {kind: repository, url: https://git.test/a.git}",
    )
    newer = (kind[0], kind[1].replace("}", ", revision: v2}"))
    found = against(answers(newer), answers(kind))
    assert "application.source.revision" in to_text(found)
    assert found.kept == ()
    assert against(answers(newer), BEFORE).kept


def test_what_began_with_a_backup_is_released_too_and_nothing_is_put_over_a_site() -> None:
    own = "{url: https://git.test/a.git}"
    repository = (
        "kind: wordpress",
        "kind: php\n  source: {kind: repository, url: https://git.test/a.git}",
    )
    backup = (
        "kind: wordpress",
        f"kind: php\n  source: {{kind: backup, period: daily, code: {own}}}",
    )
    newer = (backup[0], backup[1].replace(".git}", ".git, revision: v2}"))
    other = (backup[0], backup[1].replace("daily", "weekly"))
    assert against(answers(newer), answers(backup)).kept == ()
    assert against(answers(repository), answers(backup)).kept == ()
    assert against(answers(backup), answers(repository)).kept
    assert against(answers(other), answers(backup)).kept


def test_a_release_that_began_with_a_backup_is_upgraded() -> None:
    def drupal(source: str, sha256: str) -> Answers:
        release = f"release: {{file: /d.tar.gz, sha256: {sha256 * 64}}}"
        return answers(
            ("kind: wordpress", f"kind: drupal\n  source: {{kind: {source}, {release}}}")
        )

    began = drupal("backup, period: daily", "0")
    assert against(drupal("backup, period: daily", "1"), began).kept == ()
    assert against(drupal("fresh", "1"), began).kept == ()
    assert against(drupal("backup, period: weekly", "0"), began).kept
