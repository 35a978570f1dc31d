"""Mail from the build machine and the autoscalers; machines send theirs (wizard.agent.alarms)."""

from __future__ import annotations

from wizard.agent import mail
from wizard.agent.errors import AgentError
from wizard.agent.mail import Account
from wizard.agent.outbox import Batch
from wizard.answers.model import Answers
from wizard.engine import open
from wizard.errors import ProviderError
from wizard.home.store import SecretStore


def account(answers: Answers) -> Account | None:
    """Return where mail is handed over, None if nobody is told."""
    told, smtp = answers.notifications, answers.notifications.smtp
    if smtp is None or told.email is None:
        return None
    return Account(smtp.host, smtp.port, smtp.security, smtp.user, smtp.sender, told.email)


def deliver(answers: Answers, credentials: SecretStore | None, who: str, batch: Batch) -> None:
    """Send a batch of notes, if anybody is told; without notes only log in. ProviderError if the
    mail server does not take it."""
    to, smtp = account(answers), answers.notifications.smtp
    if to is None or smtp is None:
        return
    password = open.credential(smtp.password, credentials, open.MAIL_PASSWORD).reveal()
    try:
        if batch.notes:
            mail.send(to, password, mail.compose(to, answers.name, who, batch))
        else:
            mail.log_in(to, password)
    except AgentError as error:
        raise ProviderError(
            "the mail server does not take mail from us",
            where="notifications.smtp",
            why=str(error),
            cure="compare host, port, security, login and password with what its provider says; "
            "many clouds block ports 25, 465 and 587: ask for another, such as 2525",
        ) from error
