"""The list of a deployment's machines that each of them reads: `peers.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable

from wizard.machines.job import MachineJob, Peer

NAME = "peers.json"
"""In the shared configuration, and thus in the bucket that is mounted there."""


def document(machines: Iterable[Peer]) -> bytes:
    """Return the list as the agent reads it (docs/agent.md); same machines, same bytes."""
    listed = sorted(machines, key=lambda machine: machine.name)
    entries = [{"name": m.name, "role": str(m.role), "address": m.address} for m in listed]
    return (json.dumps({"version": 1, "peers": entries}, indent=2) + "\n").encode()


def of_job(job: MachineJob) -> bytes:
    """Return the list that the machine of this job is in."""
    own = Peer(job.name, job.role, job.private_address)
    return document([own, *(peer for peer in job.peers if peer.name != job.name)])
