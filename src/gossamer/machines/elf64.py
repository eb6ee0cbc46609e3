"""A kernel for a pseries: 64-bit ELF for PowerPC, as pieces that go to real addresses."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from gossamer.base.errors import ConfigError
from gossamer.machines import firmware
from gossamer.machines.firmware import MAX_FILE, MAX_SEGMENTS, Image, Segment

#: Bits of an address in the file that say where in memory it goes, above where kernels go.
PLACE: Final = 0x0FFF_FFFF


def load_kernel(path: Path, base: int, *, both_orders: bool = False) -> Image:
    """The segments of `path`, gzipped or not, moved to `base`; its entry is there, too.

    ConfigError for anything but a 64-bit program for PowerPC, big-endian unless the CPU has
    `both_orders`.  It is entered in big-endian mode either way, as VOF does it.
    """
    data = firmware.unpacked(path, firmware.read_file(path, what="kernel"))
    if data[:4] != b"\x7fELF":
        raise ConfigError(f"{path}: not an ELF file; a pseries starts 64-bit PowerPC kernels")
    try:
        file = ELFFile(BytesIO(data))
        kind = file.elfclass, file.little_endian, file["e_machine"]
        if kind not in ((64, False, "EM_PPC64"), (64, both_orders, "EM_PPC64")):
            order = "little" if file.little_endian else "big"
            name = file["e_machine"]
            raise ConfigError(
                f"{path}: ELF, {file.elfclass}-bit, {order}-endian, {name}; expected 64-bit, "
                f"{'either endian' if both_orders else 'big-endian'}, EM_PPC64"
            )
        if not 0 < file.num_segments() <= MAX_SEGMENTS:
            raise ConfigError(
                f"{path}: {file.num_segments()} program headers, expected 1 to {MAX_SEGMENTS}"
            )
        segments = []
        for head in file.iter_segments("PT_LOAD"):
            size, held = head["p_memsz"], head["p_filesz"]
            if not size:
                continue
            if held > size or size > MAX_FILE or head["p_offset"] + held > len(data):
                raise ConfigError(f"{path}: a segment of {size} bytes does not fit the file")
            content = data[head["p_offset"] : head["p_offset"] + held].ljust(size, b"\0")
            segments.append(Segment((head["p_paddr"] & PLACE) + base, content))
        entry = (file["e_entry"] & PLACE) + base
    except (ELFError, ValueError, KeyError) as fault:
        raise ConfigError(f"{path}: damaged ELF file: {fault}") from None
    if not segments:
        raise ConfigError(f"{path}: ELF without anything to load")
    return Image(path, entry, tuple(segments), entry)
