"""`build-usb` as it is, but for the certificate authority: a cloud has none of its own, and the
public ones cannot see the lab. Named by BUILD_USB_TEST_AUTHORITY, a JSON file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from wizard.cli import main
from wizard.dns import cloudflare
from wizard.engine import open as engine_open
from wizard.providers.base import AcmeAuthority

authority = AcmeAuthority(**json.loads(Path(os.environ["BUILD_USB_TEST_AUTHORITY"]).read_text()))
engine_open.authority = lambda _answers, _services: authority
if "BUILD_USB_TEST_CLIENT_CA" in os.environ:
    # Cloudflare's own signs nothing here
    cloudflare.CLIENT_CA = Path(os.environ["BUILD_USB_TEST_CLIENT_CA"])
sys.exit(main())
