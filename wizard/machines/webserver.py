"""The webserver machine: nginx, php-fpm, the certificate. Must not import: pyinfra."""

from __future__ import annotations

import ipaddress
import shlex
from zlib import crc32

from wizard.applications import application
from wizard.machines.desired import Absent, Facts, File, Folder, Handler, Part, Step
from wizard.machines.job import MachineJob
from wizard.machines.places import ACME_ROOT, MAINTENANCE, OURS, PAGE_CACHE, SHARED_CONFIG, TLS
from wizard.machines.templates import render

SOCKET = "/run/php/build-usb.sock"
_CERTIFICATE = "/usr/local/sbin/build-usb-certificate"
_MIB_A_CHILD = 64
_MIB_FOR_THE_REST = 320


def parts(job: MachineJob, facts: Facts) -> tuple[Part, ...]:
    """Return the parts of a webserver but for the certificate and the application."""
    return (_tls(job), _php(job, facts), _nginx(job))


def certificate_parts(job: MachineJob) -> tuple[Part, ...]:
    """Return what gets the real certificate: from the authority or with the job on the leader,
    else shared."""
    taken = job.leader and job.tls.given
    word = "take" if taken else "renew" if job.leader else "fetch"
    step = Step(
        "certificate",
        f"{_CERTIFICATE} {word}",
        f"{_CERTIFICATE} state; cat {TLS}/current/fullchain.pem",
        *((job.secrets["certificate"],) if taken else ()),
    )
    return (Part("certificate", steps=(step,)),)


def children(memory: int) -> int:
    """Return how many PHP processes fit into `memory` MiB."""
    return max(3, min(64, (memory - _MIB_FOR_THE_REST) // _MIB_A_CHILD))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _tls(job: MachineJob) -> Part:
    domain = job.hosts[0]
    names = [host for host in job.hosts if not _is_address(host)]
    addresses = [host for host in job.hosts if _is_address(host)]
    ca_bundle = f"{OURS}/acme-ca.pem" if job.tls.ca_bundle else ""
    script = render(
        "tls/certificate.sh.j2",
        tls=TLS,
        shared=SHARED_CONFIG,
        domain=domain,
        names=names,
        alternative_names=[f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses],
        acme_root=ACME_ROOT,
        ca_bundle=ca_bundle,
        given=job.tls.given,
        directory=shlex.quote(job.tls.directory),
        account=f"--email {shlex.quote(job.tls.email)}"
        if job.tls.email
        else "--register-unsafely-without-email",
    )
    minute = crc32(job.deployment.encode())
    cron = render(
        "cron/certificate.j2",
        leader=job.leader,
        given=job.tls.given,
        minute=minute % 60,
        hour=minute // 60 % 12,
    )
    bundle = File(ca_bundle, job.tls.ca_bundle) if ca_bundle else Absent(f"{OURS}/acme-ca.pem")
    return Part(
        "tls",
        items=(
            Folder(TLS, mode=0o700),
            bundle,
            File(_CERTIFICATE, script, mode=0o755),
            File("/etc/cron.d/build-usb-certificate", cron),
        ),
        # Debian's timer would renew beside our cron entry
        masked=("certbot.timer",),
        steps=(
            Step(
                "placeholder",
                f"{_CERTIFICATE} placeholder",
                f"test -s {TLS}/current/key.pem && echo yes",
            ),
        ),
    )


def _php(job: MachineJob, facts: Facts) -> Part:
    php = facts.php
    service = f"php{php}-fpm"
    reload = ("reload-php",)
    pool = render(
        "php/pool.conf.j2",
        php=php,
        socket=SOCKET,
        memory=job.memory,
        children=children(job.memory),
    )
    settings = render(
        "php/settings.ini.j2",
        php=php,
        timezone=job.timezone,
        opcache=128 if job.memory >= 1024 else 64,
    )
    return Part(
        "php",
        items=(
            # dpkg leaves a deleted configuration file deleted
            Absent(f"/etc/php/{php}/fpm/pool.d/www.conf", handlers=reload),
            File(f"/etc/php/{php}/fpm/pool.d/build-usb.conf", pool, handlers=reload),
            File(f"/etc/php/{php}/fpm/conf.d/90-build-usb.ini", settings, handlers=reload),
        ),
        # restart, for a reload keeps the old opcache size; it takes no longer
        handlers=(Handler(reload[0], f"php-fpm{php} -t && systemctl restart {service}"),),
        services=(f"{service}.service",),
    )


def _nginx(job: MachineJob) -> Part:
    reload = ("reload-nginx",)
    app = application(job.application.kind)
    snippets = "/etc/nginx/snippets/build-usb"
    client_ca = f"{OURS}/edge-ca.pem"
    edge = File(client_ca, job.edge.client_ca, handlers=reload) if job.edge else Absent(client_ca)
    site = render(
        "nginx/site.conf.j2",
        edge_ca=client_ca if job.edge else "",
        hosts=job.hosts,
        by_address=any(_is_address(host) for host in job.hosts),
        tls=f"{TLS}/current",
        acme_root=ACME_ROOT,
        maintenance=MAINTENANCE,
    )
    # a browser that once saw this header refuses a rehearsal's own authority for a year
    headers = render("nginx/headers.conf.j2", hsts=not job.tls.ca_bundle)
    return Part(
        "nginx",
        items=(
            Folder(PAGE_CACHE, mode=0o700, owner="www-data", group="www-data"),
            Absent("/etc/nginx/sites-enabled/default", handlers=reload),
            edge,
            File(
                "/etc/nginx/conf.d/build-usb.conf",
                render("nginx/http.conf.j2", cache=PAGE_CACHE),
                handlers=reload,
            ),
            File(f"{snippets}-headers.conf", headers, handlers=reload),
            File(f"{snippets}-static.conf", render("nginx/static.conf.j2"), handlers=reload),
            File(
                f"{snippets}-php.conf", render("nginx/php.conf.j2", socket=SOCKET), handlers=reload
            ),
            File(f"{snippets}-application.conf", app.nginx(job), handlers=reload),
            File("/etc/nginx/sites-enabled/build-usb", site, handlers=reload),
        ),
        handlers=(Handler(reload[0], "nginx -q -t && systemctl reload-or-restart nginx"),),
        services=("nginx.service",),
    )
