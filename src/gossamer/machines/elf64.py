"""A kernel for a pseries: 64-bit ELF for PowerPC, as pieces that go to real addresses.

Source: System V ABI, "Object Files", and its supplement for 64 bits.
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines import firmware, forms
from gossamer.machines.firmware import MAX_FILE, MAX_SEGMENTS, Image, Segment

#: Bits of an address in the file that say where in memory it goes, above where kernels go.
PLACE: Final = 0x0FFF_FFFF
EM_PPC64: Final = 21
#: The header behind its e_ident, which has class and order of bytes, and a program header.
_AT, _CLASS, _ORDER = 16, 4, 5
_HEADER, _PROGRAM_HEADER = "HHIQQQIHHH", "IIQQQQQQ"
_ORDERS: Final = {1: ("<", "little"), 2: (">", "big")}
_BITS: Final = {1: 32, 2: 64}
_LOAD: Final = 1


def load_kernel(path: Path, base: int, *, both_orders: bool = False) -> Image:
    """The segments of `path`, gzipped or not, moved to `base`; its entry is there, too.

    ConfigError for anything but a 64-bit program for PowerPC, big-endian unless the CPU has
    `both_orders`.  It is entered in big-endian mode either way, as VOF does it.
    """
    data = firmware.unpacked(path, firmware.read_file(path, what="kernel"))
    if data[:4] != b"\x7fELF":
        raise ConfigError(f"{path}: not an ELF file; a pseries starts 64-bit PowerPC kernels")
    order = _order(path, data, both_orders=both_orders)
    header, program_header = Struct(order + _HEADER), Struct(order + _PROGRAM_HEADER)
    _, _, _, entry, table, _, _, _, size, count = header.unpack_from(data, _AT)
    if not 0 < count <= MAX_SEGMENTS:
        raise ConfigError(f"{path}: {count} program headers, expected 1 to {MAX_SEGMENTS}")
    if size != program_header.size or table + count * size > len(data):
        raise ConfigError(
            f"{path}: damaged ELF file: {count} program headers of {size} bytes at {table:#x}, "
            f"the file has {len(data)}"
        )
    segments = []
    for n in range(count):
        kind, _, offset, _, ra, held, whole, _ = program_header.unpack_from(data, table + n * size)
        if kind != _LOAD or not whole:
            continue
        if held > whole or whole > MAX_FILE or offset + held > len(data):
            raise ConfigError(f"{path}: a segment of {whole} bytes does not fit the file")
        content = data[offset : offset + held].ljust(whole, b"\0")
        segments.append(Segment((ra & PLACE) + base, content))
    if not segments:
        raise ConfigError(f"{path}: ELF without anything to load")
    entry = (entry & PLACE) + base
    return Image(path, entry, tuple(segments), entry)


def _order(path: Path, data: bytes, *, both_orders: bool) -> str:
    """The order of the file's bytes, as `struct` has it."""
    needed = _AT + Struct("<" + _HEADER).size
    if len(data) < needed:
        raise ConfigError(
            f"{path}: damaged ELF file: {len(data)} bytes, a header of 64 bits has {needed}"
        )
    code, order = _ORDERS.get(data[_ORDER], ("<", f"data encoding {data[_ORDER]}"))
    bits, machine = _BITS.get(data[_CLASS]), Struct(code + "H").unpack_from(data, 18)[0]
    if bits != 64 or data[_ORDER] not in ((1, 2) if both_orders else (2,)) or machine != EM_PPC64:
        said = f"{bits}-bit" if bits else f"class {data[_CLASS]}"
        name = forms.MACHINES.get(machine, f"machine {machine}")
        raise ConfigError(
            f"{path}: ELF, {said}, {order}-endian, for {name}; expected 64-bit, "
            f"{'either endian' if both_orders else 'big-endian'}, for 64-bit PowerPC"
        )
    return code
