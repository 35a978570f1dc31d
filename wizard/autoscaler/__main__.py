"""What cron starts on an autoscaler machine; begins anew when a deploy has changed what it works
by."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from pathlib import Path

from wizard.autoscaler import serve
from wizard.autoscaler.loop import Loop
from wizard.engine import station
from wizard.errors import BuildUsbError
from wizard.machines.places import PROGRAM, STATION

log = logging.getLogger("autoscaler")
_FOLDER = Path("/run/build-usb-autoscaler")


def _version() -> tuple[float, str]:
    return Path(STATION).stat().st_mtime, str(Path(PROGRAM, "current").readlink())


def main() -> int:
    """Work until program or station are others; 1 when it cannot begin."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
    )
    logging.Formatter.converter = time.gmtime
    log.setLevel(logging.INFO)
    try:
        version = _version()
        # what an earlier process left cannot be read by this one
        shutil.rmtree(_FOLDER, ignore_errors=True)
        own = station.read(Path(STATION))
        context = station.open_station(own, _FOLDER)
        log.info("%s of %s begins", own.name, own.deployment)
        serve.begin(context, own.name)
        Loop(context, own.name).run(lambda: _version() != version)
    except BuildUsbError as error:
        log.error("%s", error)  # noqa: TRY400
        return 1
    except OSError:
        log.exception("ends")
        return 1
    log.info("begins anew: a deploy has changed what it works by")
    return 0


if __name__ == "__main__":
    if status := main():
        sys.exit(status)
    # at once, not when cron is due; the lock that it was started under is kept
    os.execv(sys.executable, [sys.executable, "-P", "-m", "wizard.autoscaler"])  # noqa: S606
