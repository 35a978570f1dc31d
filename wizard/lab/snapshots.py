"""Snapshots: kept copies of machines' disks. Runs inside the lab.

One appears by one rename and disappears by one, like a machine.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from pathlib import Path

from wizard.errors import ProviderError
from wizard.lab import files, machines

_RECORD = "snapshot.json"


class Snapshots:
    """The snapshots in `folder`; each is a layer (`upper`) and its record: id, name, deployment,
    base."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[dict[str, str]]:
        """Return the records of all snapshots."""
        paths = sorted(self._folder.glob(f"*/{_RECORD}"))
        return [value for value in map(files.read_json, paths) if value]

    def layer(self, image: str) -> tuple[Path, Path]:
        """Return the base tree and the layer of a snapshot; ProviderError if there is none."""
        for value in self.all():
            if value["id"] == image:
                return Path(value["base"]), self._folder / image / "upper"
        raise ProviderError(
            f"there is no image {image}",
            cure="use debian-13 or the id of a snapshot",
            code="no-such-image",
        )

    async def make(self, machine: machines.Machine, name: str) -> dict[str, str]:
        """Copy a machine's disk; the copy of that name that exists already is returned as is."""
        record = machine.record
        for value in self.all():
            if (value["deployment"], value["name"]) == (record.deployment, name):
                return value
        value = {
            "id": f"snapshot-{secrets.token_hex(4)}",
            "name": name,
            "deployment": record.deployment,
            "base": record.base,
        }
        partial = self._folder / f"{value['id']}.partial"
        partial.mkdir()
        await asyncio.to_thread(os.sync)
        await asyncio.to_thread(machines.copy_layer, machine.folder / "upper", partial / "upper")
        files.write_json(partial / _RECORD, value)
        partial.rename(self._folder / value["id"])
        return value

    async def delete(self, image: str) -> None:
        """Delete a snapshot; none is no error."""
        folder = self._folder / Path(image).name
        if folder.is_dir():
            gone = folder.with_suffix(".deleted")
            folder.rename(gone)
            await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
