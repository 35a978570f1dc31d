"""The autoscaler machine: this program, what it has to know, and cron to start it.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from wizard.machines.desired import Facts, File, Folder, Part, Step
from wizard.machines.job import MachineJob
from wizard.machines.places import PROGRAM, STATION
from wizard.machines.shared_config import bucket_at
from wizard.machines.templates import render


def parts(job: MachineJob, _facts: Facts) -> tuple[Part, ...]:
    """Return the parts of an autoscaler."""
    shared = bucket_at(job.mode, job.file_system)
    install = render("autoscaler/install.sh.j2", program=PROGRAM, digest=job.product, shared=shared)
    return (
        Part(
            "autoscaler",
            items=(
                Folder(PROGRAM),
                # the loop ends when it changes, and cron starts it anew
                File(STATION, job.secrets["station"], mode=0o600),
                File(
                    "/etc/cron.d/build-usb-autoscaler",
                    render("cron/autoscaler.j2", program=PROGRAM),
                ),
            ),
            steps=(Step("program", install, f"readlink {PROGRAM}/current"),),
        ),
    )
