"""Translating hot code of a machine, as -accel chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.engine.regions.soon import Soon
from gossamer.isa.architecture import Architecture
from gossamer.machines.config import Accel
from gossamer.machines.machine import Machine

if TYPE_CHECKING:
    from gossamer.engine.build import Tier0Code
    from gossamer.engine.regions.regions import Regions


def translate(machine: Machine, accel: Accel) -> None:
    """Let a machine's engines make regions, if they do not already.

    CPUs have their decoded entries, and so their regions, together: one of them runs at a time.
    """
    if machine.translator is None:
        architecture, native = machine.cpu.model.architecture, machine.engine.native
        soon = machine.translator = Soon(
            machine.engines[0],
            lambda: _regions(machine, accel),
            lambda: _load(architecture, native),
            lambda: architecture in _loaded,
            machine.engines[1:],
        )
        if accel.thread != "multi":
            soon.regions()


#: What regions of these need was loaded in this process.
_loaded: set[Architecture] = set()


def _load(architecture: Architecture, native: Tier0Code) -> None:
    """Read the stencils; where they are not kept yet LLVM makes them, in a second of CPU time."""
    from gossamer.engine.stencils.made import made

    made(architecture, native)
    _loaded.add(architecture)


def _regions(machine: Machine, accel: Accel) -> Regions:
    from gossamer.engine.regions.regions import Regions, store_path
    from gossamer.engine.regions.store import shared_store

    architecture = machine.cpu.model.architecture
    return Regions(
        machine.engines[0],
        architecture,
        size=accel.tb_size,
        threaded=accel.thread == "multi",
        store=shared_store(store_path(architecture)) if accel.tier > 1 else None,
        compiles=accel.tier > 1,
        beside=machine.engines[1:],
    )
