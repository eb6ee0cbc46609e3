"""QEMU's standard VGA on PCI (1234:1111): legacy ports, DISPI, MMIO and 16 MiB of memory.

BAR 0 is the memory, BAR 2 (4 KiB) shows EDID, legacy ports and DISPI as MMIO, BAR 6 the option
ROM.  Source: QEMU's docs/specs/standard-vga; behaviour as QEMU 7.2 shows it: docs/chips/vga.md.
"""

from __future__ import annotations

from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.core.memory import RamBlock
from gossamer.core.region import Read, Region, Write
from gossamer.devices.pci import ROM, PciBus, PciDevice, pci_struct
from gossamer.devices.vga.core import VgaCore
from gossamer.devices.vga.edid import edid
from gossamer.devices.vga.memory import SIZE as WINDOW_SIZE
from gossamer.devices.vga.memory import Window
from gossamer.devices.vga.render import Bytes, render
from gossamer.devices.vga.shown import Shown
from gossamer.state.declare import child, wiring
from gossamer.state.layout import Layout, Nested

VRAM_SIZE: Final = 16 << 20
ROM_SIZE: Final = 64 << 10
LEGACY_PORTS: Final = ((0x3B4, 2), (0x3BA, 1), (0x3C0, 16), (0x3D4, 2), (0x3DA, 1))
VBE_PORT: Final = 0x1CE

# Offsets in BAR 2.
EDID_SIZE: Final = 0x180
PORTS: Final = 0x400
PORTS_SIZE: Final = 0x20
DISPI: Final = 0x500
DISPI_SIZE: Final = 0x16
EXTENDED: Final = 0x600
EXTENDED_SIZE: Final = 8
ENDIAN: Final = 0x604
BIG: Final = 0xBEBEBEBE
LITTLE: Final = 0x1E1E1E1E


class Vga(PciDevice):
    """The display.  `vram` (a power of two of MiB) and `rom` (64 KiB) are the machine's."""

    vmsd = "vga"
    version = minimum = 2
    layouts: ClassVar[dict[str, Layout]] = {
        "": [pci_struct("dev"), Nested("vga", lambda device: device.vga)]
    }

    vga: VgaCore = child(VgaCore)
    vram: RamBlock = wiring()
    monitor: bytes = wiring()
    #: There are the registers beyond a PC's.
    extended: bool = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        *,
        vram: RamBlock,
        rom: RamBlock,
        width: int = 1280,
        height: int = 800,
        with_edid: bool = True,
        extended: bool = True,
    ) -> None:
        super().__init__(
            clock,
            bus,
            devfn,
            vendor=0x1234,
            device=0x1111,
            class_code=0x03_00_00,
            revision=2 if extended else 0,
        )
        self.vram, self.monitor = vram, edid(width, height) if with_edid else bytes(EDID_SIZE)
        self.extended = extended
        self.vga = VgaCore(vram.size, lambda: clock.now, self.clear)
        self.add_bar(0, vram, "prefetch")
        self.add_bar(2, Region("vga.mmio", 0x1000, self.read_mmio, self.write_mmio, little=True))
        self.add_bar(ROM, rom, "rom")
        self._map_legacy()
        self.reset()

    def _map_legacy(self) -> None:
        """Put the ports at their fixed places in the bus's I/O space."""
        io = self.bus.io
        if io is None:
            return
        for first, count in LEGACY_PORTS:
            ports = Region("vga", count, self._reader(first), self._writer(first), widths=(1,))
            io.map.map(ports, io.ra + first)
        io.map.map(Region("vbe", 4, self.read_vbe, self.write_vbe, little=True), io.ra + VBE_PORT)

    def _reader(self, first: int) -> Read:
        return lambda offset, _: self.vga.read_port(first + offset)

    def _writer(self, first: int) -> Write:
        return lambda offset, _, value: self.vga.write_port(first + offset, value)

    def set_order(self, *, big: bool) -> None:
        """The byte order of pixels: a register of the card's, or a pseries' hypervisor."""
        self.vga.big_endian_fb = big

    def clear(self, length: int) -> None:
        """Zero the first bytes of the memory."""
        if self.bus.memory is not None and length:
            self.bus.memory.map.write_arena(self.vram.offset, bytes(length))

    def render(self) -> tuple[int, int, bytes]:
        """(width, height, RGB bytes) of what the screen shows."""
        if self.bus.memory is None:
            return 8, 1, bytes(24)
        self.bus.memory.map.arena.need(self.vram.offset, self.vram.size)
        return render(self.shown(), self.pixels())

    def shown(self) -> Shown:
        """The registers that decide about the picture."""
        return Shown.of(self.vga)

    def pixels(self) -> Bytes:
        """The video memory itself, which the guest writes to."""
        assert self.bus.memory is not None
        return self.bus.memory.map.arena.bytes_of(self.vram)

    def window(self) -> Region:
        """The legacy window at 0xa0000 of memory space, for a bridge that shows it."""
        w = Window(self.vga, self._load, self._store)
        return Region(
            "vga-lowmem",
            WINDOW_SIZE,
            lambda offset, _: w.read(offset),
            lambda offset, _, value: w.write(offset, value),
            widths=(1,),
        )

    def _load(self, at: int) -> int:
        assert self.bus.memory is not None
        arena, place = self.bus.memory.map.arena, self.vram.offset + at % self.vram.size
        arena.need(place, 1)
        return arena.view[place]

    def _store(self, at: int, value: int) -> None:
        assert self.bus.memory is not None
        self.bus.memory.map.write_arena(self.vram.offset + at % self.vram.size, bytes((value,)))

    # --- DISPI ports 0x1ce (index), 0x1cf and 0x1d0 (data) ------------------------------------

    def read_vbe(self, offset: int, size: int) -> int:
        if size != 2 or offset == 3:
            return (1 << 8 * size) - 1
        return self.vga.read_vbe(self.vga.vbe_index) if offset else self.vga.vbe_index

    def write_vbe(self, offset: int, size: int, value: int) -> None:
        if size != 2 or offset == 3:
            self.note(f"DISPI write of {size} bytes")
        elif offset:
            self.vga.write_vbe(self.vga.vbe_index, value)
        else:
            self.vga.vbe_index = value

    # --- BAR 2 ----------------------------------------------------------------------------------

    def read_mmio(self, offset: int, size: int) -> int:
        if offset < EDID_SIZE:
            return int.from_bytes(self.monitor[offset : offset + size], "little")
        if PORTS <= offset < PORTS + PORTS_SIZE:
            ports = [self.vga.read_port(0x3C0 + offset - PORTS + n) for n in range(size)]
            return int.from_bytes(bytes(ports), "little")
        if DISPI <= offset < DISPI + DISPI_SIZE:
            return self._read_dispi(offset - DISPI)
        if self.extended and EXTENDED <= offset < EXTENDED + EXTENDED_SIZE:
            endian = BIG if self.vga.big_endian_fb else LITTLE
            both = endian << 32 | EXTENDED_SIZE
            return both >> 8 * (offset - EXTENDED)
        return (1 << 8 * size) - 1

    def _read_dispi(self, offset: int) -> int:
        index = offset >> 1
        value = self.vga.read_vbe(index) | self.vga.read_vbe(index + 1) << 16
        return value >> 8 * (offset & 1)

    def write_mmio(self, offset: int, size: int, value: int) -> None:
        if PORTS <= offset < PORTS + PORTS_SIZE:
            for n in range(size):
                self.vga.write_port(0x3C0 + offset - PORTS + n, value >> 8 * n & 0xFF)
        elif DISPI <= offset < DISPI + DISPI_SIZE:
            for n in range(0, max(size, 2), 2):
                self.vga.write_vbe((offset - DISPI >> 1) + n // 2, value >> 8 * n & 0xFFFF)
        elif self.extended and offset == ENDIAN and size == 4 and value in (BIG, LITTLE):
            self.set_order(big=value == BIG)
        else:
            self.note(f"write to {offset & ~0x1F:#x} of BAR 2")
