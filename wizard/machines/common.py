"""What every machine has: SSH, clock, updates, logs, shared configuration, agent and firewall.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import json
from zlib import crc32

from wizard.machines import backups, mail, shared_config
from wizard.machines.agent_zipapp import build, machine_config
from wizard.machines.desired import Facts, File, Folder, Handler, Link, Part
from wizard.machines.job import MachineJob
from wizard.machines.places import AGENT_PATH, CONFIG_PATH, LIBRARY, OURS, PAGE_PORT
from wizard.machines.templates import render
from wizard.rules import Role
from wizard.secrets import Secret


def parts(job: MachineJob, facts: Facts) -> tuple[Part, ...]:
    """Return the parts that every role has."""
    return (
        _ssh(job),
        _system(job, facts),
        shared_config.part(job),
        *backups.parts(job),
        mail.part(job),
        _agent(job),
    )


def reboot_time(name: str) -> str:
    """Return the minute (`HH:MM`, between 02:00 and 05:59) in which this machine may reboot."""
    minute = crc32(name.encode()) % 240
    return f"{2 + minute // 60:02}:{minute % 60:02}"


def _ssh(job: MachineJob) -> Part:
    reload = "reload-sshd"
    sshd = render(
        "common/sshd.conf.j2",
        ssh_port=job.ssh_port,
        page_port=PAGE_PORT if job.role is Role.AUTOSCALER else 0,
    )
    jail = render(
        "common/fail2ban.conf.j2",
        ssh_port=job.ssh_port,
        ignored=[
            job.network_cidr,
            *([job.build_machine] if job.build_machine else []),
            *(job.edge.networks if job.edge else ()),
        ],
    )
    return Part(
        "ssh",
        items=(
            File("/etc/ssh/sshd_config.d/10-build-usb.conf", sshd, handlers=(reload,)),
            File("/etc/fail2ban/jail.d/build-usb.local", jail, handlers=("restart-fail2ban",)),
        ),
        handlers=(
            Handler(reload, "/usr/sbin/sshd -t && systemctl reload ssh"),
            Handler("restart-fail2ban", "systemctl restart fail2ban"),
        ),
        services=("ssh.service", "fail2ban.service"),
    )


def _system(job: MachineJob, facts: Facts) -> Part:
    upgrades = render("common/unattended-upgrades.conf.j2", reboot_time=reboot_time(job.name))
    # a container has its host's clock
    clock = () if facts.container else ("systemd-timesyncd.service",)
    return Part(
        "system",
        items=(
            Link("/etc/localtime", f"/usr/share/zoneinfo/{job.timezone}"),
            File("/etc/timezone", f"{job.timezone}\n"),
            File(
                "/etc/sysctl.d/60-build-usb.conf",
                render("common/sysctl.conf.j2"),
                handlers=("load-sysctl",),
            ),
            File(
                "/etc/systemd/journald.conf.d/60-build-usb.conf",
                render("common/journald.conf.j2"),
                handlers=("restart-journald",),
            ),
            File("/etc/apt/apt.conf.d/60-build-usb", upgrades),
            Folder("/var/log/build-usb", mode=0o750, group="adm"),
            File("/etc/logrotate.d/build-usb", render("common/logrotate.conf.j2")),
        ),
        handlers=(
            Handler("load-sysctl", "systemctl restart systemd-sysctl"),
            Handler("restart-journald", "systemctl restart systemd-journald"),
        ),
        services=("cron.service", "unattended-upgrades.service", *clock),
    )


def _agent(job: MachineJob) -> Part:
    identity = job.secrets["age_identity"].reveal().strip() + "\n"
    recipients = "".join(f"{recipient}\n" for recipient in job.age_recipients)
    apply = ("apply-firewall",)
    text = json.dumps(machine_config(job), indent=2, sort_keys=True) + "\n"
    return Part(
        "agent",
        items=(
            File(f"{OURS}/age-identity", Secret(identity), mode=0o600),
            File(f"{OURS}/age-recipients", recipients),
            Folder(LIBRARY),
            File(AGENT_PATH, build(), mode=0o755, handlers=apply),
            File(CONFIG_PATH, text, mode=0o600, handlers=apply),
            File(
                "/etc/cron.d/build-usb-agent",
                render("cron/agent.j2", command="run"),
            ),
        ),
        handlers=(Handler(apply[0], f"{AGENT_PATH} edge && {AGENT_PATH} firewall"),),
    )
