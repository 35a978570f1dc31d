"""Documents that autoscalers and the build machine write into the bucket for each other. Pure.

All machines can write to it, so each document carries an HMAC of its name and values, by a key that
only these have.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from wizard.secrets import Secret

_VERSION = 1


def sealed(seed: Secret, name: str, values: dict[str, Any]) -> bytes:
    """Return the document of that name with these values (JSON)."""
    text = json.dumps(values, sort_keys=True)
    document = {"version": _VERSION, "values": text, "mac": _mac(seed, name, text)}
    return json.dumps(document).encode()


def unsealed(seed: Secret, name: str, data: bytes) -> dict[str, Any]:
    """Return the values of a document. ValueError if it is damaged, forged, or of another name."""
    try:
        document = json.loads(data)
        text, mac = str(document["values"]), str(document["mac"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it is no document of the autoscalers") from error
    if not hmac.compare_digest(_mac(seed, name, text).encode(), mac.encode(errors="replace")):
        raise ValueError("its signature is not the deployment's")
    values: dict[str, Any] = json.loads(text)
    return values


def _mac(seed: Secret, name: str, text: str) -> str:
    secret = hashlib.sha256(b"documents\n" + seed.reveal().encode()).digest()
    return hmac.new(secret, f"{name}\n{text}".encode(), hashlib.sha256).hexdigest()
