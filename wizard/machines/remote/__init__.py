"""Small programs that run on the machine (`python3 -c`), standard library only, Python 3.11+.

They read one JSON document and never import the rest of the project.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def source(name: str) -> str:
    """Return the text of the program `name`."""
    return (Path(__file__).parent / f"{name}.py").read_text()
