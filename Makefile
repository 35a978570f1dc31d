# What a person and CI need: `make demo`, `make demo-stop`, `make test`, `make bench`.
# Everything that is missing is named before it is installed, and the one setting that tests raise
# before it is; nothing else of the computer changes.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
REHEARSAL := $(CURDIR)/.rehearsal

# machines of this computer: their root file system, containers, network, firewall
APT_REHEARSAL := mmdebstrap systemd-container slirp4netns nftables iproute2 openssh-client
# what tests run besides: a DNS server, an SSH server, a load generator, a shell linter, a terminal,
# a reader of QR codes
APT_TEST := knot knot-dnsutils openssh-server sudo wrk shellcheck tmux zbar-tools \
  qemu-system-x86 busybox-static kmod cpio cryptsetup-bin fdisk dosfstools e2fsprogs xkb-data \
  console-setup-linux
# where systemd runs, this would take over the network of a computer that has another way
APT_TEST += $(if $(wildcard /run/systemd/system),,network-manager dbus-daemon)
# what tests of the bootable image look into it, start it, and make disks with
APT_IMAGE := qemu-system-x86 ovmf xorriso mtools squashfs-tools sbsigntool openssl swtpm zstd cpio kmod \
  lvm2 ntfs-3g dosfstools e2fsprogs fdisk

# tests/conftest.py says how many processes, and what must not run beside its like
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder

export BUILD_USB_HOME := $(REHEARSAL)/home
# Debian's root file system for machines is built once (about 2 minutes) and shared by all labs
export BUILD_USB_BASE_TREE := $(REHEARSAL)/base-trees
BUILD_USB := $(VENV)/bin/build-usb
PASSPHRASE := --passphrase-file $(REHEARSAL)/passphrase

.PHONY: help
help:
	@echo 'make demo        a WordPress site on machines of this computer (nothing is rented)'
	@echo 'make demo-stop   take it away again'
	@echo 'make demo-clean  take away what demos keep for the next time, too'
	@echo 'make test        lint, types, import contracts, every test'
	@echo 'make test-image  the tests of the bootable image, and the long ones of all (two hours)'
	@echo 'make check       the part of it that takes seconds and needs no root'
	@echo 'make bench       measure a deployment stage by stage, the wizard, backups, production mode'

define install_apt
	@missing=""; for package in $(1); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
	    || missing+=" $$package"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing from Debian's packages:$$missing"; \
	  [ -z "$(SUDO)" ] || command -v sudo >/dev/null \
	    || { echo "error: this needs root; run as root, or install sudo" >&2; exit 1; }; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

.PHONY: apt-python apt-rehearsal apt-test apt-image
apt-python:
	$(call install_apt,python3-venv)
apt-rehearsal:
	$(call install_apt,$(APT_REHEARSAL))
apt-test:
	$(call install_apt,$(APT_TEST))
apt-image:
	$(call install_apt,$(APT_IMAGE))

$(VENV)/installed: requirements.txt pyproject.toml | apt-python
	@echo "Installing from PyPI into $(VENV): what requirements.txt locks"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@echo "Installing from PyPI into $(VENV): what requirements-dev.txt locks"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(REHEARSAL)/passphrase:
	@mkdir -p -m 0700 $(REHEARSAL)
	@(umask 077; $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(24))' > $@.new)
	@mv $@.new $@

.PHONY: demo demo-stop demo-clean
demo: apt-rehearsal $(VENV)/installed $(REHEARSAL)/passphrase
	@$(BUILD_USB) deploy $(PASSPHRASE) config-templates/answers/rehearsal.yaml

demo-stop: $(VENV)/installed $(REHEARSAL)/passphrase
	@$(BUILD_USB) destroy $(PASSPHRASE) --yes demo

demo-clean: $(VENV)/installed
	@if [ -d $(BUILD_USB_HOME)/deployments/demo ]; then $(MAKE) --no-print-directory demo-stop; fi
	@$(SUDO) rm -rf $(REHEARSAL)

# each machine watches files seven times over, and tests have twenty machines at a time
WATCHES := /proc/sys/fs/inotify/max_user_instances
.PHONY: watches
watches:
	@if [ "$$(cat $(WATCHES))" -lt 512 ]; then \
	  echo "Setting fs.inotify.max_user_instances=1024 until this computer is started again"; \
	  echo 1024 | $(SUDO) tee $(WATCHES) >/dev/null || echo "That failed; tests may want it" >&2; \
	fi

.PHONY: lint types contracts unit test test-image check bench lock format
lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/installed-dev
	$(VENV)/bin/mypy

contracts: $(VENV)/installed-dev
	$(VENV)/bin/lint-imports

unit: $(VENV)/installed-dev
	$(VENV)/bin/pytest $(SIDE_BY_SIDE) tests/unit

check: lint types contracts unit

test: apt-rehearsal apt-test apt-image watches lint types contracts
	env -u BUILD_USB_HOME BUILD_USB_PICTURES=$(CURDIR)/dist/pictures \
	  $(VENV)/bin/pytest $(SIDE_BY_SIDE) -m 'not image_long'

test-image: apt-rehearsal apt-test apt-image watches $(VENV)/installed-dev
	$(VENV)/bin/pytest -s tests/image tests/stick tests/lab/test_cloud_efs.py

bench: apt-rehearsal apt-test $(VENV)/installed-dev
	env -u BUILD_USB_HOME $(VENV)/bin/python -m tests.bench
	env -u BUILD_USB_HOME $(VENV)/bin/python -m tests.bench_backups
	env -u BUILD_USB_HOME $(VENV)/bin/python -m tests.bench_production

format: $(VENV)/installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: snapshots screenshots
# what the wizard's screens look like: for the tests (review what git shows), for the README
snapshots: $(VENV)/installed-dev
	BUILD_USB_SNAPSHOTS=write $(VENV)/bin/pytest -q tests/tui/test_tui_pictures.py

screenshots: $(VENV)/installed-dev
	$(VENV)/bin/python -m tests.tui.screenshots

.PHONY: docs
docs: $(VENV)/installed
	$(VENV)/bin/python -c 'from wizard.answers.reference import reference; print(reference(), end="")' > docs/answers.md

# names no package index: whoever installs uses the one set up there
UV = $(VENV)/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --all-extras --group build
lock: $(VENV)/installed-dev
	$(UV) pyproject.toml -o requirements.txt
	$(UV) --group dev pyproject.toml -o requirements-dev.txt
