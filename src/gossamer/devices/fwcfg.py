"""QEMU's firmware configuration device: numbered byte strings for the firmware to read.

The Power Macs have a 16-bit selector at 0xf0000510 and an 8-bit data port behind it.  Source:
QEMU's docs/specs/fw_cfg; the keys and values of the two machines as read out of QEMU 7.2:
docs/chips/fwcfg.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.faces import NO, YES, Face
from gossamer.core.region import Region
from gossamer.state.declare import u16, u32, wiring

BASE: Final = 0xF000_0510

SIGNATURE: Final = 0x00
ID: Final = 0x01
UUID: Final = 0x02
RAM_SIZE: Final = 0x03
NOGRAPHIC: Final = 0x04
NB_CPUS: Final = 0x05
MACHINE_ID: Final = 0x06
KERNEL_ADDR: Final = 0x07
KERNEL_SIZE: Final = 0x08
KERNEL_CMDLINE: Final = 0x09
INITRD_ADDR: Final = 0x0A
INITRD_SIZE: Final = 0x0B
BOOT_DEVICE: Final = 0x0C
BOOT_MENU: Final = 0x0E
MAX_CPUS: Final = 0x0F
FILE_DIR: Final = 0x19
FILE_FIRST: Final = 0x20
FILE_SLOTS: Final = 0x20
WRITE_CHANNEL: Final = 0x4000
ARCH_LOCAL: Final = 0x8000
PPC_WIDTH: Final = 0x8000
PPC_HEIGHT: Final = 0x8001
PPC_DEPTH: Final = 0x8002
PPC_TBFREQ: Final = 0x8003
PPC_CLOCKFREQ: Final = 0x8004
PPC_IS_KVM: Final = 0x8005
PPC_NVRAM_ADDR: Final = 0x8008
PPC_BUSFREQ: Final = 0x8009
PPC_VIACONFIG: Final = 0x800B
INVALID: Final = 0xFFFF
NAME_SIZE: Final = 56
LEARNED: Final = 64
"""Bytes of an entry whose reading native code repeats, at the most: OpenBIOS of mac99 asks for the
NVRAM's address before each byte of it."""

MACHINE_CORE99: Final = 1
MACHINE_HEATHROW: Final = 2
VGA_DRIVER: Final = "ndrv/qemu_vga.ndrv"
"""The file in which OpenBIOS finds Mac OS's driver for the display."""


class FwCfg(Device):
    """Selector and data port.  The entries are wiring: the composition adds them."""

    vmsd = "fw_cfg"
    version = minimum = 2

    cur_entry = u16(SIGNATURE)
    cur_offset = u32(wire="cur_offset[1]")
    entries: dict[int, bytes] = wiring()
    live: dict[int, Callable[[], int]] = wiring()
    files: dict[str, bytes] = wiring()
    control: Region = wiring()
    data: Region = wiring()
    edition: int = wiring()

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.idstr = "fw_cfg"
        self.entries, self.files, self.live = {}, {}, {}
        #: Of the entries: how often one was set.
        self.edition = 0
        self.control = Region(
            "fwcfg.ctl", 2, self.read_control, self.write_control, learns=lambda *_: YES
        )
        self.data = Region(
            "fwcfg.data", 1, self.read_data, self.write_data, widths=(1,), learns=self._learns
        )
        self.add(SIGNATURE, b"QEMU")
        self.add(ID, _le(1, 4))
        self.reset()

    def add(self, key: int, value: bytes) -> None:
        """Set what the firmware finds under `key`."""
        self.entries[key] = bytes(value)
        self.edition += 1

    def add_live(self, key: int, value: Callable[[], int]) -> None:
        """Let the firmware find under `key` what `value` says when it looks, as 32 bits."""
        self.live[key] = value
        self.edition += 1

    def add_file(self, name: str, value: bytes) -> None:
        """Add a named file; keys follow from the order of the names."""
        if len(name) >= NAME_SIZE or (name not in self.files and len(self.files) == FILE_SLOTS):
            raise ConfigError(f"fw_cfg: no room for the file {name!r}")
        self.files[name] = bytes(value)
        listing = len(self.files).to_bytes(4, "big")
        for key, (known, content) in enumerate(sorted(self.files.items()), FILE_FIRST):
            self.entries[key] = content
            self.edition += 1
            listing += len(content).to_bytes(4, "big") + key.to_bytes(2, "big") + bytes(2)
            listing += known.encode("ascii").ljust(NAME_SIZE, b"\0")
        self.add(FILE_DIR, listing)

    @property
    def selected(self) -> bytes:
        """The entry that the data port reads; empty where there is none."""
        key = self.cur_entry & ~WRITE_CHANNEL
        return _le(self.live[key](), 4) if key in self.live else self.entries.get(key, b"")

    def _learns(self, _offset: int, value: int | None) -> int:
        """Whether an access to data is a function of the face: reading numbers that stay."""
        key = self.cur_entry & ~WRITE_CHANNEL
        short = len(self.entries.get(key, b"")) <= LEARNED and key not in self.live
        return YES if value is None and short else NO

    def face(self) -> Face:
        return self.cur_entry, self.cur_offset, self.edition

    def set_face(self, face: Face) -> None:
        self.cur_entry, self.cur_offset, _ = face

    # --- registers ------------------------------------------------------------------------------

    def read_control(self, _offset: int, _size: int) -> int:
        """The selector cannot be read back."""
        return 0

    def write_control(self, offset: int, size: int, value: int) -> None:
        """Select an entry and go to its first byte; half-word writes only."""
        if size != 2 or offset:
            self.note(f"write of {size} bytes to the selector")
            return
        exists = value & ~(WRITE_CHANNEL | ARCH_LOCAL) < FILE_FIRST + FILE_SLOTS
        self.cur_entry, self.cur_offset = value if exists else INVALID, 0

    def read_data(self, _offset: int, _size: int) -> int:
        """The next byte of the entry; zero, without moving on, past its end."""
        entry = self.selected
        if self.cur_offset >= len(entry):
            return 0
        self.cur_offset += 1
        return entry[self.cur_offset - 1]

    def write_data(self, _offset: int, _size: int, _value: int) -> None:
        self.note("write to the data port")


class Kernel(Data):
    """Where a kernel given on the command line has been put; addresses are real."""

    address: int
    size: int
    cmdline: int
    initrd: int = 0
    initrd_size: int = 0


def _le(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def mac_entries(
    *,
    ram_size: int,
    machine_id: int,
    tbfreq: int,
    clockfreq: int,
    busfreq: int,
    nographic: bool = True,
    width: int = 800,
    height: int = 600,
    depth: int = 32,
    kernel: Kernel | None = None,
    boot_device: str = "c",
    cpus: int = 1,
    uuid: bytes = bytes(16),
    nvram_address: int | None = None,
    via: int | None = None,
    boot_menu: bool = False,
) -> dict[int, bytes]:
    """What QEMU 7.2 gives on g3beige (`machine_id` 2) and mac99 (1).

    `via` (mac99 only): 0 CUDA, 1 PMU with USB, 2 PMU with ADB.  Frequencies in Hz.  With a kernel
    the boot device is "m", whatever is asked for.
    """
    k = kernel or Kernel(0, 0, 0)
    device = "m" if kernel else boot_device[:1]
    entries = {
        UUID: uuid,
        RAM_SIZE: _le(ram_size, 8),
        NOGRAPHIC: _le(int(nographic), 2),
        NB_CPUS: _le(cpus, 2),
        MAX_CPUS: _le(cpus, 2),
        MACHINE_ID: _le(machine_id, 2),
        KERNEL_ADDR: _le(k.address, 4),
        KERNEL_SIZE: _le(k.size, 4),
        KERNEL_CMDLINE: _le(k.cmdline, 4),
        INITRD_ADDR: _le(k.initrd, 4),
        INITRD_SIZE: _le(k.initrd_size, 4),
        BOOT_DEVICE: _le(ord(device or "\0"), 2),
        BOOT_MENU: _le(int(boot_menu), 2),
        PPC_WIDTH: _le(width, 2),
        PPC_HEIGHT: _le(height, 2),
        PPC_DEPTH: _le(depth, 2),
        PPC_IS_KVM: _le(0, 4),
        PPC_TBFREQ: _le(tbfreq, 4),
        PPC_CLOCKFREQ: _le(clockfreq, 4),
        PPC_BUSFREQ: _le(busfreq, 4),
    }
    if nvram_address is not None:
        entries[PPC_NVRAM_ADDR] = _le(nvram_address, 4)
    if via is not None:
        entries[PPC_VIACONFIG] = _le(via, 2)
    return entries


def mac_files(vga_driver: bytes | None = None) -> dict[str, bytes]:
    """The files that QEMU 7.2 gives on both machines; the display driver where there is one."""
    files = {
        "bios-geometry": b"",
        "bootorder": b"",
        "etc/boot-fail-wait": b"\xff\xff\xff\xff",
    }
    if vga_driver is not None:
        files[VGA_DRIVER] = vga_driver
    return files
