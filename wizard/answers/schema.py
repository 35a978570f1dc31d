"""The answers as JSON Schema (2020-12): for editors, and for checking without this program."""

from __future__ import annotations

from typing import Any

from wizard.answers.model import VERSION, Answers


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the document.

    It cannot say what must fit together between keys; `build-usb validate` does.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:build-usb:answers:{VERSION}",
        **Answers.model_json_schema(),
    }
