"""Where our things are on machines. Leaf module."""

from __future__ import annotations

OURS = "/etc/build-usb"
LIBRARY = "/usr/local/lib/build-usb"
AGENT_PATH = f"{LIBRARY}/agent.pyz"
CONFIG_PATH = f"{OURS}/machine.json"
TLS = f"{OURS}/tls"
SHARED_CONFIG = "/srv/shared-config"
SHARED_CONFIG_UNIT = "build-usb-shared-config.service"
ACME_ROOT = f"{SHARED_CONFIG}/acme"
PAGE_CACHE = "/var/cache/nginx-pages"
SITE = "/srv/site"
MAINTENANCE = "/run/build-usb/maintenance"
UPLOADS_UNIT = "build-usb-uploads.service"
APPLICATION_CRON = "/etc/cron.d/build-usb-application"
MARKER = ".build-usb-files"
PROGRAM = "/opt/build-usb"
STATION = f"{OURS}/station.json"
PAGE_PORT = 8077
"""Where autoscalers show how the fleet is, on their loopback interface only."""
