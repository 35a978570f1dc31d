"""Files that several webservers have in common because the application writes them: a folder of
the bucket, through s3fs.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from wizard.applications import application
from wizard.machines.desired import File, Folder, Handler, Part
from wizard.machines.job import MachineJob
from wizard.machines.places import SITE, UPLOADS_UNIT
from wizard.machines.shared_config import bucket_at, mount_options
from wizard.machines.templates import render
from wizard.rules import Role

FOLDER = "uploads"
# Debian's fixed numbers of www-data
_OWNER = ("uid=33", "gid=33")


def place(job: MachineJob) -> str:
    """Return where they are mounted, in production mode; empty: nothing is."""
    if job.mode != "production" or job.role is not Role.WEBSERVER:
        return ""
    if job.code is not None and job.code.writable:
        return f"{SITE}/shared"
    return application(job.application.kind).uploads


def parts(job: MachineJob) -> tuple[Part, ...]:
    """Return what mounts them."""
    path = place(job)
    if not path:
        return ()
    mount, bucket = "mount-uploads", bucket_at(job.mode, job.file_system)
    unit = render(
        "common/shared-config.service.j2",
        bucket=job.bucket,
        folder=f":/{FOLDER}",
        what="Uploaded files of the deployment",
        mount_point=path,
        options=[*mount_options(job.bucket), *_OWNER],
    )
    return (
        Part(
            "uploads",
            items=(
                Folder(path, owner="www-data", group="www-data"),
                File(f"/etc/systemd/system/{UPLOADS_UNIT}", unit, handlers=(mount,)),
            ),
            handlers=(
                Handler(
                    mount,
                    # s3fs mounts no folder that is not there, nor over files (a release of before
                    # there were such folders has left its mark)
                    f"mkdir -p {bucket}/{FOLDER}; mountpoint -q {path}"
                    f" || rm -f {path}/.revision; systemctl daemon-reload"
                    f" && systemctl restart {UPLOADS_UNIT}",
                ),
            ),
            services=(UPLOADS_UNIT,),
        ),
    )
