"""The bare machine: RAM at 0, a CPU, a console port at 0xf0000000.  For programs of one's own."""

from __future__ import annotations

from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.core.irq import IrqLine
from gossamer.cpu.msr import MSR_FP, MSR_ME, MSR_RI
from gossamer.devices.console_port import ConsolePort
from gossamer.isa.interrupts import Irq
from gossamer.machines.config import Hardware
from gossamer.machines.firmware import Image, check_fits, load_program
from gossamer.machines.guests import watcher
from gossamer.machines.kind import CPUS, MachineKind, Version
from gossamer.machines.machine import Machine

CONSOLE_BASE: Final = 0xF000_0000


def bare(hardware: Hardware) -> Machine:
    """Compose the machine and load its program (``-kernel FILE``), ELF or raw."""
    m = Machine(hardware, KIND)
    m.ram(KIND.ram_block, hardware.ram_size, at=0)
    irq = IrqLine(m.cpu, Irq.EXTERNAL)
    console = m.add("console", ConsolePort(m.clock, irq))
    m.map(console.region(), at=CONSOLE_BASE)
    console.power_off = lambda: m.power_off()
    m.serials.append(console)
    start(
        m, watcher.image(KIND.tb_hz) if hardware.kernel is None else load_program(hardware.kernel)
    )
    return m


def start(m: Machine, image: Image) -> None:
    """Put `image` into RAM and let the CPU begin at its entry, in real mode."""
    check_fits(image, m.hardware.ram_size)
    if not 0 <= image.entry < m.hardware.ram_size:
        raise ConfigError(f"{image.path}: entry {image.entry:#x} is outside RAM")
    for s in image.segments:
        m.memory.write(s.ra, s.data)
    m.cpu.block.set("nia", image.entry)
    m.cpu.block.set("msr", MSR_ME | MSR_RI | MSR_FP)
    m.cpu.block.set("gpr", m.hardware.ram_size - 64, 1)


KIND: Final = MachineKind(
    name="bare",
    title="a CPU, RAM and a serial port, for programs without an operating system",
    compose=bare,
    versions=(Version("1.0"),),
    cpus=CPUS,
    tb_hz=16_600_000,
    ram_block="ram",
    ram_default=16 * MiB,
    ram_least=MiB,
    ram_most=2047 * MiB,
    serials=1,
)
