"""What a Mac finds at power on besides its firmware: kernel, initial RAM disk, boot device, date.

Kernel and RAM disk lie where QEMU 7.2 puts them: the kernel 16 MiB above where its ELF header
says, the RAM disk 1 MiB behind it, then the command line, each on a page.  The firmware begins at
the kernel's entry, which QEMU takes for its first byte, and a zImage stays where it is linked (so
that it starts, which it does not there).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import align_up
from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S, PAGE_SIZE
from gossamer.core import host
from gossamer.devices.fwcfg import Kernel
from gossamer.machines import firmware
from gossamer.machines.config import Hardware
from gossamer.machines.machine import Machine

#: Seconds from 1904 to 1970.
MAC_EPOCH: Final = 2_082_844_800
KERNEL_BASE: Final = 0x0100_0000
GAP: Final = 0x0010_0000
#: Below are the vectors and whatever else of the firmware.
LINKED: Final = 0x0010_0000
#: Behind a program that unpacks a kernel behind itself.
LINKED_GAP: Final = 0x0100_0000


def mac_seconds(config: Hardware) -> int:
    """The real-time clock at power on, seconds since 1904."""
    base = config.rtc_base
    if isinstance(base, int):
        return (base + MAC_EPOCH) & 0xFFFF_FFFF
    seconds = host.utc_ns() // NS_PER_S
    if base == "localtime":
        seconds += host.utc_offset()
    return (seconds + MAC_EPOCH) & 0xFFFF_FFFF


def uuid_bytes(config: Hardware) -> bytes:
    return bytes.fromhex(config.uuid.replace("-", "")) if config.uuid else bytes(16)


def default_device(config: Hardware) -> str:
    """Hard disk when there is one, else CD, else hard disk."""
    media = {d.media for d in config.drives}
    return "d" if "cdrom" in media and "disk" not in media else "c"


def load_kernel(m: Machine) -> Kernel | None:
    """Put -kernel, -append and -initrd into RAM; where they are.

    Of a machine that will be loaded only the places are found: what it loads has the rest.
    """
    config = m.hardware
    write = _leave if config.arrives else m.memory.write
    if config.kernel is None:
        return None
    image = firmware.load_program(config.kernel)
    segments, entry = _placed(image)
    start = min(KERNEL_BASE, *(s.ra for s in segments))
    size = max(s.ra + len(s.data) for s in segments) - start
    _check(config, "kernel", start + size)
    for s in segments:
        write(s.ra, s.data)
    gap = GAP if start == KERNEL_BASE else LINKED_GAP
    end = align_up(max(start + size, KERNEL_BASE) + gap, PAGE_SIZE)
    initrd_at, initrd_size = 0, 0
    if config.initrd is not None:
        initrd = firmware.read_file(config.initrd, what="initial RAM disk")
        initrd_at, initrd_size = end, len(initrd)
        _check(config, "-initrd", initrd_at + initrd_size)
        write(initrd_at, initrd)
        end = align_up(initrd_at + initrd_size, PAGE_SIZE)
    line = config.append.encode() + b"\0"
    _check(config, "kernel command line", end + len(line))
    write(end, line)
    return Kernel(entry, size, end, initrd_at, initrd_size)


def _leave(ra: int, data: bytes) -> None:
    """Nothing is written."""


def _placed(image: firmware.Image) -> tuple[list[firmware.Segment], int]:
    """The pieces of a kernel with their real addresses, and that of its entry.

    As QEMU has it, 16 MiB above where they say, without the bits of a kernel's address space.  A
    program that is linked to run where it lies (Linux's zImage) goes there: it could not start
    elsewhere.
    """
    if image.entry == image.entry_ra and image.start >= LINKED:
        return list(image.segments), image.entry_ra
    moved = [firmware.Segment((s.ra & 0x0FFF_FFFF) + KERNEL_BASE, s.data) for s in image.segments]
    return moved, (image.entry_ra & 0x0FFF_FFFF) + KERNEL_BASE


def _check(config: Hardware, what: str, end: int) -> None:
    if end > config.ram_size:
        raise ConfigError(
            f"{what} ends at {end:#x}, beyond the machine's {config.ram_size:#x} bytes of RAM"
        )
