"""Translating hot code of a machine, as -accel chose."""

from __future__ import annotations

from gossamer.engine.regions.regions import Regions
from gossamer.machines.config import Accel
from gossamer.machines.machine import Machine


def translate(machine: Machine, accel: Accel) -> None:
    """Let a machine's engine make regions, if it does not already."""
    if machine.regions is None:
        machine.regions = Regions(machine.engine, machine.cpu.model.features, size=accel.tb_size)
