"""Translating hot code of a machine, as -accel chose."""

from __future__ import annotations

from gossamer.base.errors import ConfigError
from gossamer.engine.regions.regions import Regions, store_path
from gossamer.engine.regions.store import shared_store
from gossamer.machines.config import Accel
from gossamer.machines.machine import Machine


def translate(machine: Machine, accel: Accel) -> None:
    """Let a machine's engine make regions, if it does not already.

    ConfigError for a machine with several CPUs: a region is entered from one engine only.
    """
    if len(machine.cpus) > 1:
        raise ConfigError("-accel tcg,tier=: regions are for machines with one CPU so far")
    if machine.regions is None:
        architecture = machine.cpu.model.architecture
        machine.regions = Regions(
            machine.engine,
            architecture,
            size=accel.tb_size,
            threaded=accel.thread == "multi",
            store=shared_store(store_path(architecture)),
        )
