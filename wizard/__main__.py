"""`python -m wizard` is `build-usb`."""

from wizard.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
