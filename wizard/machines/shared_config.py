"""The shared configuration, mounted by one systemd unit: a bucket through s3fs, or a file system.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from wizard.machines import peers
from wizard.machines.desired import File, Folder, Handler, Part, Step
from wizard.machines.job import BucketSettings, FileSystemSettings, MachineJob
from wizard.machines.places import (
    BUCKET,
    BUCKET_UNIT,
    OURS,
    SHARED_CONFIG,
    SHARED_CONFIG_UNIT,
)
from wizard.machines.templates import render
from wizard.secrets import Secret

FILE_SYSTEM_PACKAGES = ("stunnel4",)
"""What a machine needs besides its kernel to mount a file system; see `_file_system`."""

_PASSWORD_FILE = f"{OURS}/s3fs-password"
_STUNNEL = f"{OURS}/shared-config-stunnel.conf"


def part(job: MachineJob) -> Part:
    """Return what mounts the shared configuration, and the bucket where that is none."""
    mounted = [(SHARED_CONFIG_UNIT, SHARED_CONFIG)]
    steps: tuple[Step, ...] = ()
    if job.file_system is None:
        files = _bucket(job, SHARED_CONFIG_UNIT, SHARED_CONFIG)
    else:
        files, steps = _file_system(job, job.file_system)
        if bucket_at(job.mode, job.file_system) == BUCKET:
            mounted.append((BUCKET_UNIT, BUCKET))
            files += _bucket(job, BUCKET_UNIT, BUCKET)
    units = tuple(unit for unit, _ in mounted)
    return Part(
        "shared configuration",
        items=(Folder(OURS, mode=0o700), *files),
        handlers=tuple(
            Handler(
                f"mount-{unit}",
                f"mkdir -p {place}; systemctl daemon-reload && systemctl restart {unit}",
            )
            for unit, place in mounted
        ),
        services=units,
        steps=steps,
    )


def bucket_at(mode: str, file_system: object | None) -> str:
    """Return where machines have what the build machine and autoscalers leave in the bucket, their
    program and code, and where their own word goes. `file_system`: what is shared instead of it.
    In development mode nobody looks into the bucket: it is mounted nowhere then."""
    apart = mode == "production" and file_system is not None
    return BUCKET if apart else SHARED_CONFIG


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


def _bucket(job: MachineJob, unit: str, place: str) -> tuple[File, ...]:
    bucket, handlers = job.bucket, (f"mount-{unit}",)
    text = render(
        "common/shared-config.service.j2",
        bucket=bucket,
        what="Shared configuration of the deployment",
        mount_point=place,
        options=mount_options(bucket),
    )
    passwords: tuple[File, ...] = ()
    if bucket.access_key:
        password = f"{bucket.access_key}:{job.secrets['storage_secret_key'].reveal()}\n"
        passwords = (File(_PASSWORD_FILE, Secret(password), mode=0o600, handlers=handlers),)
    return (*passwords, File(f"/etc/systemd/system/{unit}", text, handlers=handlers))


def _file_system(
    job: MachineJob, server: FileSystemSettings
) -> tuple[tuple[File, ...], tuple[Step, ...]]:
    """Return what mounts NFS 4.1 through stunnel. The kernel's client is given all that it needs
    to know, so that neither rpcbind nor any other service of nfs-common has to run."""
    handlers = (f"mount-{SHARED_CONFIG_UNIT}",)
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
        File(_STUNNEL, stunnel, handlers=handlers),
        File(f"/etc/systemd/system/{SHARED_CONFIG_UNIT}", unit, handlers=handlers),
    )
    return files, (announce,) if server.announces else ()


def announcing(name: str) -> str:
    """Return the shell command that puts its standard input, the list of the machines, whole into
    the folder that the machine `name` mounts; it fails where nothing is mounted."""
    target = f"{SHARED_CONFIG}/{peers.NAME}"
    return (
        f"mountpoint -q {SHARED_CONFIG} && cat > {target}.{name} && mv -f {target}.{name} {target}"
    )
