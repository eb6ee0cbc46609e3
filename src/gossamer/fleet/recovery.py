"""Checkpoints of a fleet's machines, and how those of a lost node come back from them.

In the folder: NAME.save, the machine, and NAME.json, how it is started and when it was saved; each
is replaced whole.  The folder must be one that every node sees.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from gossamer.base.data import Data
from gossamer.base.errors import HostError
from gossamer.fleet.errors import FleetError
from gossamer.fleet.handle import Handle, NodeLink


class Back(Data):
    """A machine that came back: `lost_ms` of its time at most are gone."""

    machine: str
    node: str
    lost_ms: int


def checkpoint(handle: Handle, folder: Path) -> dict[str, Any]:
    """Save a machine in the folder: what NAME.json says then; the old one stays when it fails."""
    with handle.lock:
        begun = time.time_ns()
        saved = handle.call("save", str(folder / f"{handle.name}.save"))
        record = {
            "options": handle.options, "python": handle.python, "saved_at_ns": begun,
            "running": saved["status"] == "running", "clock_ns": saved["clock-ns"],
        }  # fmt: skip
        part = folder / f"{handle.name}.json.part"
        try:
            part.write_text(json.dumps(record))
            part.replace(folder / f"{handle.name}.json")
        except OSError as fault:
            raise HostError(f"{part}: {fault.strerror}") from None
    return record


def bring_back(handle: Handle, node: NodeLink, folder: Path, lost_at_ns: int) -> Back:
    """Start a machine again on `node` from its last checkpoint; FleetError when there is none.

    `lost_at_ns`: wall time at which its node was last seen or found lost, ns since 1970.
    """
    try:
        record = json.loads((folder / f"{handle.name}.json").read_text())
    except OSError:
        raise FleetError(f"machine {handle.name} is lost: no checkpoint in {folder}") from None
    with handle.lock:
        node.call("start", handle.name, record["options"], record["python"], True)
        try:
            node.call("load", handle.name, str(folder / f"{handle.name}.save"))
            if record["running"]:
                node.call("command", handle.name, "cont", {})
        except FleetError:
            node.call("release", handle.name, True)
            raise
        handle.node, handle.python = node, record["python"]
    lost = max(0, lost_at_ns - record["saved_at_ns"]) if record["running"] else 0
    return Back(handle.name, node.name, lost // 1_000_000)
