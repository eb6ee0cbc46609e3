"""The bare machine: RAM at 0, a CPU, a console port at 0xf0000000.  For programs of one's own."""

from __future__ import annotations

from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.core.irq import IrqLine
from gossamer.cpu.exceptions import MSR_FP, MSR_ME, MSR_RI
from gossamer.devices.console_port import ConsolePort
from gossamer.isa.body import Irq
from gossamer.machines import builtin
from gossamer.machines.config import Config
from gossamer.machines.firmware import Image, check_fits, load_program
from gossamer.machines.machine import Machine

CONSOLE_BASE: Final = 0xF000_0000
TB_HZ: Final = 16_600_000


def bare(config: Config) -> Machine:
    """Compose the machine and load its program (``-kernel FILE``), ELF or raw."""
    m = Machine(config, tb_hz=TB_HZ)
    m.ram("ram", config.ram_size, at=0)
    irq = IrqLine(m.cpu, Irq.EXTERNAL)
    console = m.add("console", ConsolePort(m.clock, irq))
    m.map(console.region(), at=CONSOLE_BASE)
    console.power_off = lambda: m.power_off()
    m.serials.append(console)
    start(m, builtin.image(TB_HZ) if config.kernel is None else load_program(config.kernel))
    return m


def start(m: Machine, image: Image) -> None:
    """Put `image` into RAM and let the CPU begin at its entry, in real mode."""
    check_fits(image, m.config.ram_size)
    if not 0 <= image.entry < m.config.ram_size:
        raise ConfigError(f"{image.path}: entry {image.entry:#x} is outside RAM")
    for s in image.segments:
        m.memory.write(s.ra, s.data)
    m.cpu.block.set("nia", image.entry)
    m.cpu.block.set("msr", MSR_ME | MSR_RI | MSR_FP)
    m.cpu.block.set("gpr", m.config.ram_size - 64, 1)
