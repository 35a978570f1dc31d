"""Debian packages a machine needs. The rehearsal's base tree holds the same ones."""

from __future__ import annotations

COMMON = (
    "age",
    "ca-certificates",
    "cron",
    "curl",
    "fail2ban",
    "fuse3",
    "logrotate",
    "openssl",
    "python3",
    "python3-systemd",
    "s3fs",
    "ufw",
    "unattended-upgrades",
)
MARIADB = ("mariadb-server", "mariadb-client")
MARIADB_CLIENT = ("mariadb-client",)
WEBSERVER = (
    "certbot",
    "nginx",
    "php-cli",
    "php-curl",
    "php-fpm",
    "php-gd",
    "php-imagick",
    "php-intl",
    "php-mbstring",
    "php-mysql",
    "php-xml",
    "php-zip",
)
