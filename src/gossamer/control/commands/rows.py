"""The whole table: importing this file has read every file of commands."""

from __future__ import annotations

from gossamer.control.commands import (  # noqa: F401 - each adds its rows
    block_jobs,
    chardevs,
    devices,
    drives,
    inputs,
    inspect,
    machines,
    memory,
    misc,
    network,
    nodes,
    pci,
    power,
    qom,
    schema,
    snapshots,
    texts,
    timeline,
    transfers,
    vnc,
    web,
)
from gossamer.control.commands.table import TABLE

__all__ = ["TABLE"]
