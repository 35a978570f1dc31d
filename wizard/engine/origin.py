"""The certificate of the proxies' own authority, where answers choose it.

Its key is made by the build home and stays there and, encrypted, on the webservers. What the
authority signed for this key is the deployment's, whatever a killed run remembers of it.
"""

from __future__ import annotations

from wizard.answers.fields import ORIGIN
from wizard.engine import open
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.home.store import SecretStore
from wizard.machines.certificates import private_key
from wizard.secrets import Secret

STEP = "origin"
"""The step that orders a certificate."""
_KEY = "origin_key"
_PROVIDER = "cloudflare"


def is_chosen(context: Context) -> bool:
    """Say whether the site's certificate comes from the proxies' authority."""
    return context.plan.tls_authority == ORIGIN


def was_ordered(context: Context) -> bool:
    """Say whether there may be certificates to revoke."""
    known = context.secrets.get(_KEY) is not None
    return (known or is_chosen(context)) and context.plan.dns_provider == _PROVIDER


def steps(context: Context) -> list[Step]:
    """Return the step that orders a certificate, if one is wanted."""
    if not is_chosen(context):
        return []
    title = "certificate of the proxies' authority"
    return [Step(STEP, title, lambda report: order(context, report), ("provider",))]


def revocation(context: Context) -> list[Step]:
    """Return the step that revokes the certificates of before, once no webserver shows them."""
    if not was_ordered(context):
        return []
    title = "revoke certificates of before"
    return [Step("revoke", title, lambda r: revoke_others(context, r), ("publish",))]


def order(context: Context, report: Reporter) -> str:
    """Have a certificate that is not due; it is kept in the context for this run."""
    assert context.dns is not None
    key = _key(context.secrets)
    context.journal.record("intent", report.step)
    context.certificate = context.dns.origin().certificate(key, context.plan.application.hosts)
    context.journal.record("done", report.step)
    return "only the proxies trust it"


def revoke_others(context: Context, _report: Reporter) -> str:
    """Revoke what the webservers do not show any more; forget the key with the last of them."""
    assert context.dns is not None
    keep = context.certificate if is_chosen(context) else ""
    count = context.dns.origin().revoke(_key(context.secrets), keep)
    if not keep:
        context.secrets.delete(_KEY)
    return f"{count} revoked"


def revoke_all(context: Context, report: Reporter) -> str:
    """Revoke all certificates of the deployment."""
    assert context.dns is not None
    context.journal.record("intent", report.step)
    count = context.dns.origin().revoke(_key(context.secrets))
    return f"{count} revoked"


def given(context: Context) -> Secret:
    """Return key and certificate (PEM) for the leader; `order` has run."""
    return Secret(_key(context.secrets).reveal() + context.certificate)


def trusted(context: Context) -> str:
    """Return what signs the site's certificate (PEM, empty: the public authorities). Of one that
    only proxies trust that is the certificate itself."""
    if is_chosen(context):
        return context.certificate or context.state.authority_root
    return open.authority(context.answers, context.services).root


def _key(secrets: SecretStore) -> Secret:
    return secrets.get_or_create(_KEY, private_key)
