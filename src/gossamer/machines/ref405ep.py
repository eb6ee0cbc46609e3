"""The 405EP reference board as QEMU's `ref405ep` builds it.

Sources: docs/chips/ref405ep.md and the pages of its parts; addresses, board information and start
values as QEMU 7.2 has them.
"""

from __future__ import annotations

import struct
from typing import Final

from gossamer.base.bits import align_up
from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S, KiB, MiB
from gossamer.core import host
from gossamer.core.irq import IrqLine
from gossamer.cpu.cpu_405 import Cpu405
from gossamer.cpu.model import PVRS_405
from gossamer.devices.dcrs_405ep import Dcrs405ep
from gossamer.devices.m48t59 import M48t59
from gossamer.devices.opb_405ep import I2cBus, Opb405ep
from gossamer.devices.uart16550 import Uart16550
from gossamer.devices.uic import Uic
from gossamer.isa.interrupts import Irq405
from gossamer.machines import firmware
from gossamer.machines.config import Hardware, mebibytes
from gossamer.machines.guests import timers
from gossamer.machines.kind import MachineKind, Version
from gossamer.machines.machine import Machine

SYSTEM_HZ: Final = 33_333_333
#: The PLL makes ten times the system clock; what the time base and PIT count at.
CPU_HZ: Final = 10 * SYSTEM_HZ
#: What the board information says of the CPU's clock, which is not so.
SAID_HZ: Final = 133_333_333
BAUD: Final = 115_200

SRAM_BASE, SRAM_SIZE = 0xFFF0_0000, 512 * KiB
OCM_SIZE: Final = 4 * KiB
UARTS: Final = (0xEF60_0300, 0xEF60_0400)
NVRAM_BASE: Final = 0xF000_0000
UIC_BASE: Final = 0xC0
BIOS_MOST: Final = 2 * MiB

KERNEL_BASE, INITRD_BASE = 0x0100_0000, 0x0180_0000
#: The board information's place, from the end of what is below the stack at start.
INFO_BASE: Final = 0x00FF_FF80
STACK: Final = SRAM_BASE + SRAM_SIZE - 8
BANK_SIZES: Final = tuple(4 * MiB << n for n in range(7))


def ref405ep(hardware: Hardware) -> Machine:
    """Compose the board and load what it starts with."""
    sizes = banks(hardware.ram_size)
    m = Machine(hardware, KIND, other_memory=4 * MiB)
    m.memory.open_bus = 0
    cpu = m.cpu
    assert isinstance(cpu, Cpu405)
    ram = m.ram(KIND.ram_block, hardware.ram_size)
    m.ram("ref405ep.sram", SRAM_SIZE, at=SRAM_BASE)
    ocm = m.ram("ppc405.ocm", OCM_SIZE)
    cpu.asks_reset = lambda: m.system_reset()
    cpu.forget = m.engine.flush

    m.add("i2c", I2cBus(m.clock))
    uic = m.add(
        "uic",
        Uic(
            m.clock,
            cpu.dcr,
            UIC_BASE,
            IrqLine(cpu, Irq405.CRITICAL),
            IrqLine(cpu, Irq405.EXTERNAL),
        ),
    )
    for n, base in enumerate(UARTS):
        uart = m.add(f"uart{n}", Uart16550(m.clock, IrqLine(uic, n)), instance=n)
        m.map(uart.region(), at=base)
        m.serials.append(uart)
    nvram = m.add("nvram", M48t59(m.clock, seconds(hardware)))
    m.map(nvram.region(), at=NVRAM_BASE)
    opb = m.add("opb", Opb405ep(m.clock, SYSTEM_HZ))
    for base, region in opb.regions().items():
        m.map(region, at=base)
    started = hardware.kernel is not None and hardware.bios is None
    dcrs = m.add("dcr", Dcrs405ep(m.clock, cpu.dcr, m.memory, ram, ocm, sizes, enabled=started))
    _add_firmware(m, dcrs)
    if hardware.kernel is not None:
        _start(m)
        m.at_reset.append(lambda: _start(m))
    return m


def banks(size: int) -> tuple[int, ...]:
    """Sizes of the SDRAM's one or two banks; ConfigError when they cannot give `size` bytes."""
    for first in reversed(BANK_SIZES):
        if size == first:
            return (first,)
        if first < size and size - first in BANK_SIZES and size - first <= first:
            return (first, size - first)
    raise ConfigError(
        f"-m: ref405ep takes one or two banks of 4, 8, 16 … 256 MiB of RAM, got {mebibytes(size)}"
    )


def seconds(hardware: Hardware) -> int:
    """The real-time clock at power on, since 1970."""
    base = hardware.rtc_base
    if isinstance(base, int):
        return base
    now = host.utc_ns() // NS_PER_S
    return now + host.utc_offset() if base == "localtime" else now


def _add_firmware(m: Machine, dcrs: Dcrs405ep) -> None:
    """-bios: a ROM that ends with the address space."""
    bios = m.hardware.bios
    if bios is None:
        return
    if bios == firmware.SAVED:
        content = b""
    elif bios.startswith(firmware.BUILT_IN):
        if bios != timers.NAME:
            raise ConfigError(f"-bios: ref405ep has {timers.NAME}, got {bios}")
        content = timers.rom()
    else:
        path = firmware.find_firmware(bios, m.hardware.firmware_folders)
        content = firmware.read_file(path, BIOS_MOST, "firmware")
    size = align_up(len(content), 4 * KiB)
    whole = content.ljust(size, b"\0").rjust(BIOS_MOST, b"\0")
    dcrs.set_rom(m.rom("ef405ep.bios", BIOS_MOST, whole), size)


def _start(m: Machine) -> None:
    """-kernel, -initrd and -append; with -bios beside, the kernel is bytes for the firmware."""
    hardware = m.hardware
    assert hardware.kernel is not None
    if hardware.bios is not None:
        data = firmware.read_file(hardware.kernel, what="kernel")
        _check_end(hardware, "-kernel", KERNEL_BASE + len(data))
        m.memory.write(KERNEL_BASE, data)
        return
    image = firmware.load_elf(hardware.kernel)
    firmware.check_fits(image, hardware.ram_size)
    for s in image.segments:
        m.memory.write(s.ra, s.data)
    start = end = 0
    if hardware.initrd is not None:
        data = firmware.read_file(hardware.initrd, what="initial RAM disk")
        start, end = INITRD_BASE, INITRD_BASE + len(data)
        _check_end(hardware, "-initrd", end)
        if any(s.ra < end and start < s.ra + len(s.data) for s in image.segments):
            raise ConfigError(f"{image.path}: reaches to where -initrd goes, {start:#x}")
        m.memory.write(start, data)
    line = hardware.append.encode()
    line_at = INFO_BASE - align_up(len(line) + 1, 256)
    room = hardware.ram_size - INFO_BASE
    if room <= 0:
        size = mebibytes(hardware.ram_size)
        raise ConfigError(f"-kernel: ref405ep needs 16 MiB of RAM to be started so, got {size}")
    m.memory.write(line_at, line + b"\0")
    m.memory.write(INFO_BASE, board_information(hardware.ram_size)[:room])
    block = m.cpu.block
    for register, value in (
        (1, STACK),
        (3, INFO_BASE),
        (4, start),
        (5, end),
        (6, line_at),
        (7, line_at + len(line)),
    ):
        block.set("gpr", value, register)
    block.set("nia", image.entry)


def _check_end(hardware: Hardware, what: str, end: int) -> None:
    if end > hardware.ram_size:
        raise ConfigError(
            f"{what} ends at {end:#x}, beyond the board's {hardware.ram_size:#x} bytes"
        )


#: RAM, flash and SRAM; flags, IP, MAC, speed; clocks; version and name; clocks; MACs; OPB; two.
_INFO: Final = struct.Struct(">7I2I6xHIII4s32sIII6x2x6xI2I")


def board_information(ram_size: int) -> bytes:
    """What r3 points to: facts of the board, its clock among them as QEMU has it."""
    return _INFO.pack(
        *(0, ram_size, 0, 0, 0, SRAM_BASE, SRAM_SIZE),
        *(0, 0, 0, SAID_HZ, SYSTEM_HZ, BAUD),
        *(b"QMU\0", b"QEMU".ljust(32, b"\0")),
        *(SAID_HZ, SYSTEM_HZ, SYSTEM_HZ, SYSTEM_HZ, 0, 0),
    )


KIND: Final = MachineKind(
    name="ref405ep",
    title="PowerPC 405EP reference board, with embedded timers",
    compose=ref405ep,
    versions=(Version("1.0", released=False),),
    cpus=tuple(PVRS_405),
    tb_hz=CPU_HZ,
    ram_block="ppc405.ram",
    ram_default=128 * MiB,
    ram_least=4 * MiB,
    ram_most=512 * MiB,
    serials=2,
    irq_names={0: "UART 0", 1: "UART 1", 2: "I2C"},
    pics=("uic",),
)
