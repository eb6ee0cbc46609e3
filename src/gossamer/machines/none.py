"""The machine `none`: nothing that runs.  Programs that ask what an emulator can do start it."""

from __future__ import annotations

from typing import Final

from gossamer.base.units import MiB
from gossamer.core.irq import IrqLine
from gossamer.devices.console_port import ConsolePort
from gossamer.isa.interrupts import Irq
from gossamer.machines.config import Hardware
from gossamer.machines.kind import CPUS, MachineKind, Version
from gossamer.machines.machine import Machine


def none(hardware: Hardware) -> Machine:
    """RAM, a serial port, and a CPU that executes nothing, since every machine here has them."""
    m = Machine(hardware, KIND)
    m.ram(KIND.ram_block, hardware.ram_size, at=0)
    m.serials.append(m.add("console", ConsolePort(m.clock, IrqLine(m.cpu, Irq.EXTERNAL))))
    return m


KIND: Final = MachineKind(
    name="none",
    title="nothing that runs, for programs that ask what there is",
    compose=none,
    versions=(Version("1.0"),),
    cpus=CPUS,
    tb_hz=16_600_000,
    ram_block="ram",
    ram_default=MiB,
    ram_least=MiB,
    ram_most=2047 * MiB,
    serials=1,
    runs=False,
)
