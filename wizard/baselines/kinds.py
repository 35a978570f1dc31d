"""What must not be published: kinds of secrets and private data, each known by its form."""

from __future__ import annotations

import re
from collections.abc import Mapping

_END = rb"(?![A-Za-z0-9])"


def _token(form: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?:" + form + rb")" + _END)


TOKENS: Mapping[str, re.Pattern[bytes]] = {
    "age identity": _token(rb"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{40,}"),
    "AWS access key": _token(rb"(?:AKIA|ASIA)[0-9A-Z]{16}"),
    "DigitalOcean token": _token(rb"do[opr]_v1_[0-9a-f]{64}"),
    "GitHub token": _token(rb"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}"),
    "GitLab token": _token(rb"gl(?:pat|rt|dt|ptt|ft|soat)-[A-Za-z0-9_.-]{20,}"),
    "Bitbucket app password": _token(rb"ATBB[A-Za-z0-9]{28,}"),
    "Atlassian token": _token(rb"ATATT3[A-Za-z0-9_=-]{100,}"),
    "Google API key": _token(rb"AIza[0-9A-Za-z_-]{35}"),
    "Google OAuth secret": _token(rb"GOCSPX-[0-9A-Za-z_-]{28}"),
    "Slack token": _token(rb"xox[abeoprs]-[0-9A-Za-z-]{10,}|xapp-\d-[0-9A-Za-z-]{10,}"),
    "Telegram bot token": _token(rb"\d{8,10}:AA[0-9A-Za-z_-]{33}"),
    "Stripe key": _token(rb"(?:[rs]k_(?:live|test)|whsec)_[0-9A-Za-z]{16,}"),
    "Square token": _token(rb"sq0(?:atp|csp|idp)-[0-9A-Za-z_-]{22,}|EAAA[0-9A-Za-z_-]{60}"),
    "PayPal token": _token(rb"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}"),
    "Shopify token": _token(rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    "SendGrid key": _token(rb"SG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}"),
    "Mailchimp key": _token(rb"[0-9a-f]{32}-us\d{1,2}"),
    "Mailgun key": _token(rb"key-[0-9a-z]{32}"),
    "Brevo key": _token(rb"xkeysib-[0-9a-f]{64}-[0-9A-Za-z]{16}"),
    "Twilio key": _token(rb"SK[0-9a-f]{32}"),
    "npm token": _token(rb"npm_[0-9A-Za-z]{36}"),
    "PyPI token": _token(rb"pypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{20,}"),
    "Docker token": _token(rb"dckr_(?:pat|oat)_[0-9A-Za-z_-]{20,}"),
    "Vault token": _token(rb"hv[bs]\.[0-9A-Za-z_-]{24,}"),
    "Sentry token": _token(rb"sntry[su]_[0-9A-Za-z_=+/-]{40,}"),
    "JSON web token": _token(rb"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}"),
}
"""Kinds by the form of a word: no letter or digit stands before it. (A search for that would cost
more than the rest.)"""

FORMS: Mapping[str, re.Pattern[bytes]] = {
    "private key": re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "PuTTY private key": re.compile(rb"PuTTY-User-Key-File-\d"),
    "Slack webhook": re.compile(rb"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_+-]{20,}"),
    "Discord webhook": re.compile(rb"discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_-]{20,}"),
    "Azure storage key": re.compile(rb"AccountKey=[0-9A-Za-z+/]{40,}={0,2}"),
    "password in a URL": re.compile(rb"://[^\s/:@'\"<>]{1,64}:[^\s/@'\"<>]{3,}@"),
    "password hash": re.compile(
        rb"\$(?:2[aby]|wp\$2[aby])\$\d\d\$[./0-9A-Za-z]{53}|\$[PH]\$[./0-9A-Za-z]{31}"
        rb"|\$(?:1|5|6|y|apr1)\$[./0-9A-Za-z$=]{20,}|\$argon2(?:id?|d)\$v="
    ),
    "WordPress key or salt": re.compile(
        rb"define\(\s*['\"](?:AUTH|SECURE_AUTH|LOGGED_IN|NONCE)_(?:KEY|SALT)['\"]\s*,\s*"
        rb"['\"](?!put your unique phrase here)[^'\"]{8,}"
    ),
    "WordPress session": re.compile(rb"wordpress_(?:logged_in|sec)_[0-9a-f]{32}"),
    "assigned secret": re.compile(
        rb"(?i)(?:passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key|auth[_-]?token|"
        # the last as PHP's serialised values have it
        rb"private[_-]?key|client[_-]?secret)['\"]?\]?\s*(?:=>?|:|,|;s:\d+:)\s*['\"]"
        rb"(?=[^'\"\s]*[0-9])(?=[^'\"\s]*[A-Za-z])[^'\"\s$<>{}%]{8,}['\"]"
    ),
}
"""Kinds by another form. In bytes: text and binary files are searched alike."""

MAIL = re.compile(rb"@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![A-Za-z0-9.@-]*[A-Za-z0-9@])")
MAILBOX = re.compile(rb"(?:^|[^A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}$")
"""An e-mail address from its @ on, and what is before: in text files only. Apart, for speed."""

RESERVED = re.compile(
    rb"(?i)@(?:[a-z0-9-]+\.)*(?:example\.(?:com|org|net)|[a-z0-9-]+\.(?:test|example|invalid))$"
    # pictures for dense screens look like addresses
    rb"|@\dx\.(?:png|jpe?g|gif|webp|avif|svg)$"
)
"""Addresses that are nobody's (RFC 2606)."""

DUMP = re.compile(rb"^-- (?:MySQL|MariaDB|PostgreSQL) (?:database )?dump|^/\*M?!\d* .*sandbox mode")
"""How a database dump begins."""

NAMES: Mapping[str, re.Pattern[str]] = {
    "settings file": re.compile(
        r"^\.env(?:\.(?!example|sample|dist|template)[\w.]+)?$|^wp-config\.php$"
    ),
    "key file": re.compile(
        r"(?i)\.(?:pem|key|p12|pfx|jks|kdbx|ppk|keytab)$|^id_(?:rsa|ecdsa|ed25519)$"
    ),
    "password file": re.compile(r"^\.(?:htpasswd|netrc|pgpass|my\.cnf|git-credentials)$"),
    "log": re.compile(r"(?i)\.log(?:\.\d+)?(?:\.gz)?$"),
    "database dump": re.compile(r"(?i)\.(?:dump|sql|sqlite3?|bak)(?:\.(?:gz|bz2|xz|zst))?$"),
    "history": re.compile(r"^\.(?:bash|zsh|mysql|psql|python)_history$"),
}
"""Kinds by a file's name."""
