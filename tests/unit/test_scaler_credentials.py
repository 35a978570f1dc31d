"""What autoscalers are given of the build home's credentials."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from wizard.answers.loader import load, loads
from wizard.engine import mailing, open, scaler_credentials
from wizard.home.store import SecretStore
from wizard.paths import config_templates
from wizard.secrets import Secret

REHEARSAL = config_templates() / "answers" / "rehearsal-production.yaml"
NOTIFICATIONS = """
notifications:
  email: alerts@example.org
  smtp:
    host: mail.example.org
    user: machines
    password: {environment: MAIL}
    sender: machines@example.org
"""


def store(**secrets: str) -> SecretStore:
    kept = {name.replace("_", "-"): Secret(value) for name, value in secrets.items()}
    return cast(SecretStore, SimpleNamespace(get=kept.get))


def test_the_mail_accounts_password_is_carried_under_a_name_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = loads(REHEARSAL.read_text() + NOTIFICATIONS, "a.yaml")
    monkeypatch.setenv("MAIL", "password-of-the-mail")
    theirs, taken = scaler_credentials.carried(answers, store())
    monkeypatch.delenv("MAIL")
    assert taken == {"mail-password": Secret("password-of-the-mail")}
    smtp: Any = theirs.notifications.smtp
    found = open.credential(smtp.password, store(mail_password="p"), open.MAIL_PASSWORD)
    assert found == Secret("p")
    assert mailing.account(theirs) == mailing.account(answers)


def test_who_tells_nobody_carries_no_password() -> None:
    answers = load(REHEARSAL)
    assert scaler_credentials.carried(answers, store())[1] == {}
    assert mailing.account(answers) is None
