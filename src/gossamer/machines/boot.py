"""What a Mac finds at power on besides its firmware: kernel, initial RAM disk, boot device, date.

Kernel and RAM disk lie where QEMU 7.2 puts them: the kernel where its ELF header says (real
address), command line and RAM disk behind it, page-aligned.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from gossamer.base.bits import align_up
from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S, PAGE_SIZE
from gossamer.core import host
from gossamer.devices.fwcfg import Kernel
from gossamer.machines import firmware
from gossamer.machines.config import Config
from gossamer.machines.machine import Machine

#: Seconds from 1904 to 1970.
MAC_EPOCH: Final = 2_082_844_800
KERNEL_BASE: Final = 0x0100_0000
COMMAND_LINE_ROOM: Final = PAGE_SIZE


def mac_seconds(config: Config) -> int:
    """The real-time clock at power on, seconds since 1904."""
    base = config.rtc_base
    if isinstance(base, int):
        return (base + MAC_EPOCH) & 0xFFFF_FFFF
    seconds = host.utc_ns() // NS_PER_S
    if base == "localtime":
        seconds += host.utc_offset()
    return (seconds + MAC_EPOCH) & 0xFFFF_FFFF


def uuid_bytes(config: Config) -> bytes:
    return UUID(config.uuid).bytes if config.uuid else bytes(16)


def default_device(config: Config) -> str:
    """Hard disk when there is one, else CD, else hard disk."""
    media = {d.media for d in config.drives}
    return "d" if "cdrom" in media and "disk" not in media else "c"


def load_kernel(m: Machine) -> Kernel | None:
    """Put -kernel, -append and -initrd into RAM; where they are."""
    config = m.config
    if config.kernel is None:
        return None
    image = firmware.load_program(config.kernel, KERNEL_BASE)
    segments = [firmware.Segment(s.ra & 0x0FFF_FFFF, s.data) for s in image.segments]
    start = min(s.ra for s in segments)
    end = align_up(max(s.ra + len(s.data) for s in segments), PAGE_SIZE)
    _check(config, "kernel", end)
    for s in segments:
        m.memory.write(s.ra, s.data)
    line = config.append.encode() + b"\0"
    if len(line) > COMMAND_LINE_ROOM:
        raise ConfigError(f"-append: {len(line)} bytes, at most {COMMAND_LINE_ROOM}")
    at, initrd_at, initrd = end, 0, b""
    end = align_up(at + COMMAND_LINE_ROOM, PAGE_SIZE)
    _check(config, "kernel command line", end)
    m.memory.write(at, line)
    if config.initrd is not None:
        initrd = firmware.read_file(config.initrd, what="initial RAM disk")
        initrd_at = end
        _check(config, "-initrd", initrd_at + len(initrd))
        m.memory.write(initrd_at, initrd)
    size = max(s.ra + len(s.data) for s in segments) - start
    return Kernel(start, size, at, initrd_at, len(initrd))


def _check(config: Config, what: str, end: int) -> None:
    if end > config.ram_size:
        raise ConfigError(
            f"{what} ends at {end:#x}, beyond the machine's {config.ram_size:#x} bytes of RAM"
        )
