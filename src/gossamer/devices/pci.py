"""Conventional PCI: configuration space, base address registers, buses and host bridges.

A `PciDevice` has 256 bytes of configuration space; its BARs bring MMIO regions and RAM blocks
into the machine's address map through the windows of its bus.  A `PciBus` routes the interrupt
pins to four lines; a `PciHost` is the register pair through which the CPU reaches configuration
space.  Source: PCI Local Bus Specification 2.1, chapter 6; what QEMU 7.2 shows: docs/chips/pci.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final, Protocol

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Mapping, RamBlock
from gossamer.core.region import Region
from gossamer.state.codec import I32, AtMost, Buffer, Equal
from gossamer.state.declare import State, array, buffer, derived, u32, wiring
from gossamer.state.layout import Constant, Layout, Nested, View

CONFIG_SIZE: Final = 256
EXTENDED_SIZE: Final = 4096
"""Configuration space of a PCI Express function."""
PINS: Final = 4

# Configuration registers (offset in bytes).
COMMAND: Final = 0x04
STATUS: Final = 0x06
CLASS: Final = 0x08
CACHE_LINE: Final = 0x0C
BAR0: Final = 0x10
SUBSYSTEM: Final = 0x2C
ROM_BAR: Final = 0x30
INTERRUPT_LINE: Final = 0x3C
INTERRUPT_PIN: Final = 0x3D

COMMAND_IO: Final = 1 << 0
COMMAND_MEMORY: Final = 1 << 1
COMMAND_MASTER: Final = 1 << 2
COMMAND_SERR: Final = 1 << 8
COMMAND_NO_INTX: Final = 1 << 10
COMMAND_WRITABLE: Final = (
    COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_SERR | COMMAND_NO_INTX
)
STATUS_INTERRUPT: Final = 1 << 3
STATUS_CAPABILITIES: Final = 1 << 4

ROM: Final = 6
"""Index of the expansion ROM's BAR."""
ROM_ENABLE: Final = 1
BAR_TYPE: Final = {
    "mem": 0x0, "prefetch": 0x8, "io": 0x1, "rom": 0x0, "wide": 0xC, "mem64": 0x4,
}  # fmt: skip
"""By kind; `wide`, `mem64`: 64 bits of address in two registers, prefetchable or not."""
LONG_BARS: Final = ("wide", "mem64")
QEMU_SUBSYSTEM: Final = (0x1AF4, 0x1100)
"""Subsystem vendor and device that QEMU gives where a device names none."""
BAR_PRIORITY: Final = -0x1000
"""BARs lie below everything that the machine maps itself; among each other by function and BAR."""


class Window(Data):
    """What a host bridge shows of a bus's memory or I/O space.

    Bus addresses `base` .. `base + size` appear at real address `ra` onward.
    """

    map: AddressMap
    base: int
    size: int
    ra: int

    def real(self, address: int, size: int) -> int | None:
        """The real address of a range of the bus, none when it is not wholly inside."""
        if address < self.base or address + size > self.base + self.size:
            return None
        return self.ra + address - self.base


class Bar(Data):
    """A base address register and what it brings into the address map."""

    number: int
    target: Region | RamBlock
    kind: str

    @property
    def at(self) -> int:
        """Offset of the register in configuration space."""
        return ROM_BAR if self.number == ROM else BAR0 + 4 * self.number

    @property
    def width(self) -> int:
        """Bytes of the register."""
        return 8 if self.kind in LONG_BARS else 4

    @property
    def mask(self) -> int:
        """The address bits of the register."""
        return (1 << 8 * self.width) - self.target.size


class IrqState(Data):
    """The levels of a function's four pins on the wire: QEMU's "pci irq state"."""

    kind: str = "pci irq state"
    size: int = 16

    def put(self, w: WireWriter, value: list[int]) -> None:
        for level in value:
            w.uint(level, 4)

    def get(self, r: WireReader) -> list[int]:
        levels = [r.uint(4) for _ in range(PINS)]
        for pin, level in enumerate(levels):
            if level > 1:
                raise r.error(f"the level of pin {pin} must be 0 or 1, got {level}")
        return levels

    def zero(self) -> list[int]:
        return [0] * PINS


class PciDevice(Device):
    """One function on a bus.

    A subclass calls this constructor, then `add_bar` for each BAR, then `reset`; its layout names
    `pci_struct(...)` first.  `bus`, `devfn` (slot * 8 + function) give the place; `class_code` is
    the 24-bit class, subclass and interface; `pin` the interrupt pin (1: INTA, 0: none); `space`
    the bytes of its configuration space.
    """

    config = buffer(CONFIG_SIZE)
    irq_state: list[int] = State(IrqState())  # type: ignore[assignment]
    mapped: list[Mapping | None] = derived()
    bus: PciBus = wiring()
    devfn: int = wiring()
    bars: list[Bar] = wiring()
    power_on: bytearray = wiring()
    writable: bytearray = wiring()
    compared: bytearray = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        *,
        vendor: int,
        device: int,
        class_code: int,
        revision: int = 0,
        subsystem: tuple[int, int] | None = QEMU_SUBSYSTEM,
        pin: int = 0,
        space: int = CONFIG_SIZE,
    ) -> None:
        super().__init__(clock)
        self.bus, self.devfn, self.bars = bus, devfn, []
        self.mapped = [None] * (ROM + 1)
        self.power_on = bytearray(space)
        self.writable = bytearray(space)
        self.compared = bytearray(space)
        self.define(0x00, 4, device << 16 | vendor, compared=0xFFFF_FFFF)
        self.define(COMMAND, 2, 0, writable=COMMAND_WRITABLE)
        self.define(STATUS, 2, 0, compared=STATUS_CAPABILITIES)
        self.define(CLASS, 4, class_code << 8 | revision, compared=0xFFFF_FFFF)
        self.define(CACHE_LINE, 4, 0, writable=0xFF, compared=0xFF_0000)
        if subsystem is not None:
            self.define(SUBSYSTEM, 4, subsystem[1] << 16 | subsystem[0])
        self.define(0x34, 1, 0, compared=0xFF)
        self.define(INTERRUPT_LINE, 2, pin << 8, writable=0xFF)
        self.writable[0x40:] = b"\xff" * (space - 0x40)
        bus.add(self)
        self.idstr = f"{bus.name}:{devfn >> 3:02x}.{devfn & 7}/{self.vmsd}"

    def define(
        self, at: int, size: int, value: int, *, writable: int = 0, compared: int = 0
    ) -> None:
        """Give a register its power-on value, writable bits and bits compared by a load."""
        for store, bits in (
            (self.power_on, value),
            (self.writable, writable),
            (self.compared, compared),
        ):
            store[at : at + size] = bits.to_bytes(size, "little")

    def add_bar(self, number: int, target: Region | RamBlock, kind: str = "mem") -> None:
        """Give BAR `number` (0..5, ROM) a target; kind: a key of `BAR_TYPE`."""
        bar, size = Bar(number, target, kind), target.size
        if size & (size - 1) or size < (4 if kind == "io" else 16):
            raise ConfigError(f"{target.name}: a BAR's size must be a power of two, got {size:#x}")
        if (kind == "rom") != (number == ROM) or (kind in LONG_BARS and number == ROM - 1):
            raise ConfigError(f"{target.name}: BAR {number} cannot be of kind {kind}")
        writable = bar.mask | (ROM_ENABLE if kind == "rom" else 0)
        self.bars.append(bar)
        compared = (1 << 8 * bar.width) - 1
        self.define(bar.at, bar.width, BAR_TYPE[kind], writable=writable, compared=compared)

    # --- registers ------------------------------------------------------------------------------

    def read_config(self, at: int, size: int) -> int:
        """The little-endian value of `size` bytes; what lies past the space reads as zero."""
        return int.from_bytes(self.config[at : at + size], "little")

    def write_config(self, at: int, size: int, value: int) -> None:
        """Write `size` bytes: the writable bits change."""
        for n in range(min(size, len(self.config) - at)):
            mask = self.writable[at + n]
            self.config[at + n] = self.config[at + n] & ~mask | value >> 8 * n & mask
        self.update_mappings()
        self.bus.recount()
        self.config_written(at, size)

    def config_written(self, at: int, size: int) -> None:
        """Called after the CPU wrote configuration space."""

    @property
    def command(self) -> int:
        return self.read_config(COMMAND, 2)

    @property
    def is_master(self) -> bool:
        """Whether the function may read and write memory."""
        return bool(self.config[COMMAND] & COMMAND_MASTER)

    def reset(self) -> None:
        """RST#: every register to its power-on value, decoding off."""
        super().reset()
        self.config[:] = self.power_on
        self.update_mappings()
        self.update_irq()
        self.bus.recount()

    def post_load(self, _version: int) -> None:
        self.update_mappings()

    def load_config(self, config: bytearray) -> None:
        """Take a stream's configuration space; ValueError when it is of another device."""
        fixed = _as_number(self.compared) & ~_as_number(self.writable)
        wrong = (_as_number(config) ^ _as_number(self.power_on)) & fixed
        for at in range(len(config) if wrong else 0):
            mask = self.compared[at] & ~self.writable[at]
            if (config[at] ^ self.power_on[at]) & mask:
                raise ValueError(
                    f"configuration byte {at:#04x} must be {self.power_on[at]:#04x} "
                    f"in the bits {mask:#04x}, got {config[at]:#04x}"
                )
        self.config = bytearray(config)

    # --- mappings -------------------------------------------------------------------------------

    def bar_address(self, bar: Bar) -> int | None:
        """The bus address of a BAR, none when it does not decode."""
        value, command = self.read_config(bar.at, bar.width), self.command
        if not command & (COMMAND_IO if bar.kind == "io" else COMMAND_MEMORY):
            return None
        if bar.kind == "rom" and not value & ROM_ENABLE:
            return None
        return (value & bar.mask) or None

    def update_mappings(self) -> None:
        """Bring each BAR to where the registers say, or out of the address map."""
        for order, bar in enumerate(self.bars):
            windows = self.bus.windows(bar.kind)
            if not windows:
                continue
            address = self.bar_address(bar)
            shown = (
                window.real(address, bar.target.size) for window in windows if address is not None
            )
            ra = next((one for one in shown if one is not None), None)
            old = self.mapped[bar.number]
            if (None if old is None else old.base) == ra:
                continue
            map_ = windows[0].map
            if old is not None:
                map_.unmap(old)
                self.mapped[bar.number] = None
            if ra is not None:
                priority = BAR_PRIORITY + self.devfn * 8 + order
                self.mapped[bar.number] = map_.map(bar.target, ra, priority=priority)

    # --- interrupts and bus mastering -----------------------------------------------------------

    def set_intx(self, level: bool) -> None:
        """Drive the function's interrupt pin; called from `update_irq` only."""
        pin = self.config[INTERRUPT_PIN]
        if 1 <= pin <= PINS and self.irq_state[pin - 1] != int(level):
            self.irq_state[pin - 1] = int(level)
            status = self.config[STATUS] & ~STATUS_INTERRUPT
            self.config[STATUS] = status | (STATUS_INTERRUPT if any(self.irq_state) else 0)
            self.bus.recount()

    @property
    def asserted(self) -> list[int]:
        """The pin levels that reach the bus."""
        return [0] * PINS if self.command & COMMAND_NO_INTX else self.irq_state

    def dma_read(self, ra: int, length: int) -> bytes:
        """Memory as this function sees it; ones while it is no bus master."""
        if not self.config[COMMAND] & COMMAND_MASTER or self.bus.memory is None:
            self.note("DMA read without bus mastering")
            return b"\xff" * length
        if self.bus.dma is not None:
            return self.bus.dma.read(ra, length) or b"\xff" * length
        return self.bus.memory.map.read(ra, length)

    def dma_write(self, ra: int, data: bytes | bytearray | memoryview) -> None:
        """Write memory as this function; nothing happens while it is no bus master."""
        if not self.config[COMMAND] & COMMAND_MASTER or self.bus.memory is None:
            self.note("DMA write without bus mastering")
            return
        if self.bus.dma is not None:
            self.bus.dma.write(ra, data)
        else:
            self.bus.memory.map.write(ra, data)

    def send_message(self, address: int, data: int) -> None:
        """Write a message (MSI) of 32 bits; nothing happens while it is no bus master."""
        if not self.command & COMMAND_MASTER:
            self.note("message without bus mastering")
        elif self.bus.message is not None:
            self.bus.message(address, data)
        else:
            self.dma_write(address, data.to_bytes(4, "little"))


def _as_number(raw: bytearray) -> int:
    """All bytes at once."""
    return int.from_bytes(raw, "little")


def pci_struct(name: str, space: int = CONFIG_SIZE) -> Nested:
    """The `PCIDevice` struct (v2) as the item `name` of a device's layout."""
    config = "config[0]" if space == CONFIG_SIZE else "config[1]"
    return Nested(
        name,
        lambda device: device,
        vmsd="PCIDevice",
        version=2,
        layout=[
            Constant("version_id", AtMost(2)),
            View(
                config,
                Buffer(space, "pci config"),
                lambda device: device.config,
                lambda device, config: device.load_config(config),
            ),
            "irq_state",
        ],
    )


def swizzle(devfn: int, pin: int) -> int:
    """The bus line of a function's pin (0: INTA) where each slot is rotated by one."""
    return ((devfn >> 3) + pin) % PINS


class Dma(Protocol):
    """Memory as the functions of a bus see it, where a host bridge translates."""

    def read(self, address: int, length: int) -> bytes | None:
        """The bytes; None where the range is not all memory that may be read."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> bool:
        """Whether the bytes were written: all of them, or none."""


class PciBus(Device):
    """A bus: its functions, its windows into real memory, and its four interrupt lines.

    `memory64` is a second window for memory, above the first; `dma` and `message` are there where
    the bridge translates what functions read and write, and takes their messages.

    `irq_count` is how many functions assert each line.  It follows from the functions' state and
    is on the wire because QEMU has it there.
    """

    vmsd = "PCIBUS"
    version = minimum = 1
    layouts: ClassVar[dict[str, Layout]] = {"": [Constant("nirq", Equal(I32, PINS)), "irq_count"]}

    irq_count = array(I32, PINS)
    name: str = wiring()
    lines: list[IrqLine] = wiring()
    memory: Window | None = wiring()
    io: Window | None = wiring()
    memory64: Window | None = wiring()
    dma: Dma | None = wiring()
    message: Callable[[int, int], None] | None = wiring()
    route: Callable[[int, int], int] = wiring()
    functions: dict[int, PciDevice] = wiring()

    def __init__(
        self,
        clock: Clock,
        name: str,
        lines: list[IrqLine],
        *,
        memory: Window | None = None,
        io: Window | None = None,
        route: Callable[[int, int], int] = swizzle,
    ) -> None:
        super().__init__(clock)
        self.name, self.lines, self.memory, self.io = name, lines, memory, io
        self.memory64, self.dma, self.message = None, None, None
        self.route, self.functions, self.idstr = route, {}, "PCIBUS"
        if len(lines) != PINS:
            raise ConfigError(f"{name}: a PCI bus has {PINS} interrupt lines, got {len(lines)}")
        self.reset()

    def add(self, function: PciDevice) -> None:
        if function.devfn in self.functions or not 0 <= function.devfn < 256:
            raise ConfigError(f"{self.name}: function {function.devfn:#x} cannot be placed")
        self.functions[function.devfn] = function

    def windows(self, kind: str) -> list[Window]:
        """Those that show a BAR of this kind, by their bus addresses."""
        found = (self.io,) if kind == "io" else (self.memory, self.memory64)
        return [one for one in found if one is not None]

    def count(self) -> list[int]:
        """How many functions assert each line, from their state."""
        counts = [0] * PINS
        for devfn, function in self.functions.items():
            if any(function.irq_state):
                for pin, level in enumerate(function.asserted):
                    counts[self.route(devfn, pin)] += level
        return counts

    def recount(self) -> None:
        """Bring counts and lines up to date after a function's pin or command changed."""
        self.irq_count = self.count()
        self.update_irq()

    def reset(self) -> None:
        super().reset()
        self.recount()

    def update_irq(self) -> None:
        for line, count in zip(self.lines, self.irq_count, strict=True):
            line.set(count > 0)

    def resume(self) -> None:
        counts = self.count()
        if counts != self.irq_count:
            self.note("irq_count of the stream does not fit the functions' pins")
            self.irq_count = counts
        for line, count in zip(self.lines, counts, strict=True):
            line.assign(count > 0)


class PciHost(Device):
    """The registers of a host bridge through which the CPU reaches configuration space.

    `address` and `data` are its two regions, 4 KiB each.  The address register takes words only;
    the data register reaches byte `offset & 3` of the word selected.  Subclasses with another
    form of address override `select`.
    """

    vmsd = "PCIHost"
    version = minimum = 1

    config_reg = u32()
    bus: PciBus = wiring()
    address: Region = wiring()
    data: Region = wiring()

    def __init__(self, clock: Clock, bus: PciBus, name: str = "pci-conf") -> None:
        super().__init__(clock)
        self.bus, self.idstr = bus, "PCIHost"
        self.address = Region(
            f"{name}-idx", 0x1000, self.read_address, self.write_address, little=True
        )
        self.data = Region(f"{name}-data", 0x1000, self.read_data, self.write_data, little=True)
        self.reset()

    def select(self, offset: int) -> tuple[int, int, int] | None:
        """(bus number, devfn, register) of an access to the data register; none: no cycle."""
        reg = self.config_reg
        if not reg >> 31:
            return None
        return reg >> 16 & 0xFF, reg >> 8 & 0xFF, reg & 0xFF | offset & 3

    def read_address(self, offset: int, _size: int) -> int:
        return self.config_reg >> 8 * (offset & 3)

    def write_address(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 4:
            self.config_reg = value
        else:
            self.note(f"write of {size} bytes at {offset:#x} of the configuration address")

    def read_data(self, offset: int, size: int) -> int:
        found = self._function(offset)
        if found is None:
            return (1 << 8 * size) - 1
        return found[0].read_config(found[1], size)

    def write_data(self, offset: int, size: int, value: int) -> None:
        found = self._function(offset)
        if found is not None:
            found[0].write_config(found[1], size, value)

    def _function(self, offset: int) -> tuple[PciDevice, int] | None:
        """The function and register selected; a bus behind the host's own does not exist."""
        chosen = self.select(offset)
        if chosen is None or chosen[0] != 0:
            return None
        function = self.bus.functions.get(chosen[1])
        return None if function is None else (function, chosen[2])
