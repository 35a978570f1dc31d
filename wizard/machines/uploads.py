"""Uploaded files that several webservers have in common: a folder of the bucket, through s3fs.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from wizard.machines.desired import File, Folder, Handler, Part
from wizard.machines.job import MachineJob
from wizard.machines.places import SHARED_CONFIG, UPLOADS_UNIT
from wizard.machines.shared_config import mount_options
from wizard.machines.templates import render

FOLDER = "uploads"
# Debian's fixed numbers of www-data
_OWNER = ("uid=33", "gid=33")


def parts(job: MachineJob, path: str) -> tuple[Part, ...]:
    """Return what mounts them at `path` (empty: there are none), in production mode."""
    if job.mode != "production" or not path:
        return ()
    mount = "mount-uploads"
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
                    # s3fs mounts no folder that is not there
                    f"mkdir -p {SHARED_CONFIG}/{FOLDER}; systemctl daemon-reload"
                    f" && systemctl restart {UPLOADS_UNIT}",
                ),
            ),
            services=(UPLOADS_UNIT,),
        ),
    )
