"""The shared configuration, mounted by one systemd unit: a bucket through s3fs, or a file system.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from wizard.machines import peers
from wizard.machines.desired import File, Folder, Handler, Part, Step
from wizard.machines.job import BucketSettings, FileSystemSettings, MachineJob
from wizard.machines.places import OURS, SHARED_CONFIG, SHARED_CONFIG_UNIT
from wizard.machines.templates import render
from wizard.secrets import Secret

FILE_SYSTEM_PACKAGES = ("stunnel4",)
"""What a machine needs besides its kernel to mount a file system; see `_file_system`."""

_PASSWORD_FILE = f"{OURS}/s3fs-password"
_STUNNEL = f"{OURS}/shared-config-stunnel.conf"
_UNIT = f"/etc/systemd/system/{SHARED_CONFIG_UNIT}"
_MOUNT = "mount-shared-config"


def part(job: MachineJob) -> Part:
    """Return what mounts the shared configuration."""
    files, steps = _file_system(job, job.file_system) if job.file_system else (_bucket(job), ())
    return Part(
        "shared configuration",
        items=(Folder(OURS, mode=0o700), *files),
        handlers=(
            Handler(
                _MOUNT,
                f"mkdir -p {SHARED_CONFIG}; systemctl daemon-reload"
                f" && systemctl restart {SHARED_CONFIG_UNIT}",
            ),
        ),
        services=(SHARED_CONFIG_UNIT,),
        steps=steps,
    )


def mount_options(bucket: BucketSettings) -> list[str]:
    """Return how s3fs mounts the deployment's bucket, or a folder of it, on a machine."""
    options = [
        # by its role: from the cloud's metadata service (IMDSv2), renewed by s3fs itself
        f"passwd_file={_PASSWORD_FILE}" if bucket.access_key else "iam_role=auto",
        "allow_other",
        "umask=0022",
        "sigv4",
        f"endpoint={bucket.region}",
        # another machine's writes are seen within seconds, new files at once
        "stat_cache_expire=5",
        "disable_noobj_cache",
        "retries=3",
        "connect_timeout=10",
        "readwrite_timeout=20",
        "dbglevel=warn",
    ]
    if bucket.endpoint:
        options += ["use_path_request_style", f"url={bucket.endpoint}"]
    return options


def _bucket(job: MachineJob) -> tuple[File, ...]:
    bucket = job.bucket
    unit = render(
        "common/shared-config.service.j2",
        bucket=bucket,
        what="Shared configuration of the deployment",
        mount_point=SHARED_CONFIG,
        options=mount_options(bucket),
    )
    passwords: tuple[File, ...] = ()
    if bucket.access_key:
        password = f"{bucket.access_key}:{job.secrets['storage_secret_key'].reveal()}\n"
        passwords = (File(_PASSWORD_FILE, Secret(password), mode=0o600, handlers=(_MOUNT,)),)
    return (*passwords, File(_UNIT, unit, handlers=(_MOUNT,)))


def _file_system(
    job: MachineJob, server: FileSystemSettings
) -> tuple[tuple[File, ...], tuple[Step, ...]]:
    """Return what mounts NFS 4.1 through stunnel. The kernel's client is given all that it needs
    to know, so that neither rpcbind nor any other service of nfs-common has to run."""
    stunnel = render("common/shared-config-stunnel.conf.j2", server=server)
    unit = render(
        "common/shared-config-nfs.service.j2", mount_point=SHARED_CONFIG, stunnel=_STUNNEL
    )
    # the build machine does not reach a file system: each machine puts there what all know
    announce = Step(
        "announce the machines",
        announcing(job.name),
        observe=f"sha256sum {SHARED_CONFIG}/{peers.NAME} 2>&1",
        secret_input=Secret(peers.of_job(job).decode()),
    )
    files = (
        File(_STUNNEL, stunnel, handlers=(_MOUNT,)),
        File(_UNIT, unit, handlers=(_MOUNT,)),
    )
    return files, (announce,) if server.announces else ()


def announcing(name: str) -> str:
    """Return the shell command that puts its standard input, the list of the machines, whole into
    the folder that the machine `name` mounts; it fails where nothing is mounted."""
    target = f"{SHARED_CONFIG}/{peers.NAME}"
    return (
        f"mountpoint -q {SHARED_CONFIG} && cat > {target}.{name} && mv -f {target}.{name} {target}"
    )
