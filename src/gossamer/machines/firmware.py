"""Firmware and kernels: where they are on this host, and their content as pieces of memory.

Every check that a file needs is made here, once; a file that is not what it should be is a
`ConfigError` of one line.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.units import GiB, MiB
from gossamer.machines import forms, uimage

OPENBIOS: Final = "openbios-ppc"
#: Where Debian, Ubuntu, Fedora and builds of QEMU put firmware; in order of search.
PLACES: Final = (
    Path("/usr/share/qemu"),
    Path("/usr/share/openbios"),
    Path("/usr/share/qemu-openbios"),
    Path("/usr/local/share/qemu"),
    Path("/usr/share/seabios"),
    Path("/usr/lib/ipxe/qemu"),
    Path("/usr/share/ipxe/qemu"),
    Path("/usr/share/ipxe"),
    Path("/usr/share/seavgabios"),
)
VGA_ROM: Final = ("vgabios-stdvga.bin",)
VGA_DRIVER: Final = ("qemu_vga.ndrv",)
VIRTIO_NET_ROM: Final = ("efi-virtio.rom", "pxe-virtio.rom")
NE2K_ROM: Final = ("efi-ne2k_pci.rom", "pxe-ne2k_pci.rom")
HOW_TO_GET: Final = (
    "Debian and Ubuntu have it in the package qemu-system-data (older ones: openbios-ppc); "
    "or give a file with -bios"
)
MAX_FILE: Final = 256 * MiB
MAX_SEGMENTS: Final = 64
EM_PPC: Final = 20
_GZIP: Final = b"\x1f\x8b\x08"


#: Source: System V ABI, "Object Files": the header behind its e_ident, and a program header.
_ELF_HEADER: Final = Struct(">HHIIIIIHHH")
_PROGRAM_HEADER: Final = Struct(">8I")
_EXECUTABLE: Final = 2
_LOAD: Final = 1
_ELF_TYPES: Final = {0: "ET_NONE", 1: "ET_REL", 3: "ET_DYN", 4: "ET_CORE"}


class _Header(Data):
    """A program header."""

    type: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    flags: int
    align: int


class Segment(Data):
    """Bytes that go to real address `ra`."""

    ra: int
    data: bytes


class Image(Data):
    """A loaded file: where it starts (an effective address) and what goes where.

    `entry_ra` is the real address of its entry.
    """

    path: Path
    entry: int
    segments: tuple[Segment, ...]
    entry_ra: int

    @property
    def start(self) -> int:
        return min(s.ra for s in self.segments)

    @property
    def end(self) -> int:
        """First real address above the image, zeroed memory included."""
        return max(s.ra + len(s.data) for s in self.segments)


# --- finding ------------------------------------------------------------------------------------


def places(folders: Iterable[Path] = ()) -> list[Path]:
    """Folders searched for firmware: `folders` (-L), $GOSSAMER_FIRMWARE, then the usual ones."""
    given = os.environ.get("GOSSAMER_FIRMWARE", "")
    return [*folders, *(Path(p) for p in given.split(os.pathsep) if p), *PLACES]


def find(names: Iterable[str], folders: Iterable[Path] = ()) -> Path | None:
    """The first of `names` that some folder has; None when there is none."""
    searched = places(folders)
    for name in names:
        for folder in searched:
            if (folder / name).is_file():
                return folder / name
    return None


#: Names that begin so are guests of our own.
BUILT_IN: Final = "builtin"
#: The firmware of a machine that is about to be loaded: its content comes with the memory.
SAVED: Final = "(saved)"


def find_firmware(bios: str | None = None, folders: Iterable[Path] = ()) -> Path:
    """The firmware's file: `bios` as a path or a name in the folders, else OpenBIOS."""
    if bios is not None and Path(bios).is_file():
        return Path(bios)
    if bios is None or "/" not in bios:
        found = find([bios or OPENBIOS], folders)
        if found is not None:
            return found
    searched = ", ".join(map(str, places(folders)))
    if bios is None:
        raise ConfigError(f"no firmware: {OPENBIOS} is not in {searched}. {HOW_TO_GET}")
    if "/" in bios:
        raise ConfigError(f"-bios: there is no file {bios}")
    raise ConfigError(f"-bios: {bios} is neither a file nor in {searched}")


def optional_rom(names: Iterable[str], size: int, folders: Iterable[Path] = ()) -> bytes:
    """An option ROM of `size` bytes, zeros behind its end; all zeros where the host has none."""
    path = find(names, folders)
    data = b"" if path is None else read_file(path, size, "option ROM")
    return data.ljust(size, b"\0")


def optional_file(names: Iterable[str], folders: Iterable[Path] = ()) -> bytes | None:
    """The content of an optional firmware file, such as the Mac OS display driver."""
    path = find(names, folders)
    return None if path is None else read_file(path, MiB, "firmware file")


# --- loading ------------------------------------------------------------------------------------


def read_file(path: Path, most: int = MAX_FILE, what: str = "file") -> bytes:
    """A whole file, not longer than `most` bytes and not empty.

    Kept in memory: a machine is built anew by every load.
    """
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: not a regular file" if path.exists() else _absent(path))
        status = path.stat()
        stamp = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        data = _read(path, most, stamp)
    except OSError as fault:
        raise ConfigError(f"{path}: cannot be read: {fault.strerror}") from None
    if not data:
        raise ConfigError(f"{path}: {what} is empty")
    if len(data) > most:
        raise ConfigError(f"{path}: {what} is longer than {most} bytes")
    return data


@lru_cache(maxsize=8)
def _read(path: Path, most: int, stamp: tuple[int, ...]) -> bytes:
    """The file as it was at `stamp`."""
    with path.open("rb") as file:
        return file.read(most + 1)


def forget_files() -> None:
    """Keep none of them: the machine runs, and most guests are loaded once."""
    for kept in (_read, _rom, unpacked, parse_elf):
        kept.cache_clear()


def _absent(path: Path) -> str:
    return f"{path}: no such file"


def load_image(path: Path, base: int, size: int) -> Segment:
    """Firmware as what is in a ROM of `size` bytes at real address `base`; around it are zeros.

    An ELF file's segments are put where their physical addresses say, gaps are zeros.  A raw file
    is put at the ROM's end, where the reset vector is, as QEMU does.
    """
    return _rom(path, read_file(path, most=max(size, MAX_FILE), what="firmware"), base, size)


@lru_cache(maxsize=4)
def _rom(path: Path, data: bytes, base: int, size: int) -> Segment:
    if data[:4] != b"\x7fELF":
        if len(data) > size:
            raise ConfigError(f"{path}: {len(data)} bytes do not fit in a ROM of {size}")
        return Segment(base + size - len(data), data)
    image = parse_elf(path, data)
    for s in image.segments:
        if s.ra < base or s.ra + len(s.data) > base + size:
            where = f"{s.ra:#x}..{s.ra + len(s.data):#x}"
            raise ConfigError(
                f"{path}: a segment at {where} is outside the ROM ({base:#x}..{base + size:#x})"
            )
    rom = bytearray(image.end - image.start)
    for s in image.segments:
        at = s.ra - image.start
        rom[at : at + len(s.data)] = s.data
    return Segment(image.start, bytes(rom))


def load_elf(path: Path) -> Image:
    """An ELF program: 32-bit, big-endian, PowerPC."""
    return parse_elf(path, read_file(path, what="program"))


def load_program(path: Path, base: int = 0, entry: int | None = None) -> Image:
    """A program, gzipped or not: ELF, or raw bytes that go to `base` and start there."""
    data = unpacked(path, read_file(path, what="program"))
    if data[:4] == b"\x7fELF":
        return parse_elf(path, data)
    found = uimage.read(path, data)
    if found is not None:
        return _from_uimage(path, found)
    if why := forms.refusal(data):
        raise ConfigError(f"{path}: {why}")
    start = base if entry is None else entry
    return Image(path, start, (Segment(base, data),), start)


def _from_uimage(path: Path, found: uimage.Payload) -> Image:
    """What is inside a U-Boot image: an ELF file, or bytes with the place and entry it names."""
    if found.data[:4] == b"\x7fELF":
        return parse_elf(path, found.data)
    load, entry = found.load & 0x0FFF_FFFF, found.entry & 0x0FFF_FFFF
    if not load <= entry < load + len(found.data):
        raise ConfigError(f"{path}: uImage: entry {found.entry:#x} is outside what it loads")
    return Image(path, entry, (Segment(load, found.data),), entry)


@lru_cache(maxsize=4)
def unpacked(path: Path, data: bytes, most: int = MAX_FILE) -> bytes:
    """What is in a gzip file, at most `most` bytes; other bytes as they are."""
    if data[:3] != _GZIP:
        return data
    import gzip  # noqa: PLC0415 - a firmware is not packed

    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as file:
            whole = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as fault:
        raise ConfigError(f"{path}: damaged gzip file: {fault}") from None
    if len(whole) > most:
        raise ConfigError(f"{path}: unpacks to more than {most} bytes")
    if not whole:
        raise ConfigError(f"{path}: program is empty")
    return whole


def check_fits(image: Image, ram_size: int) -> None:
    """ConfigError when a segment of `image` lies outside `ram_size` bytes of RAM at 0."""
    for s in image.segments:
        if s.ra + len(s.data) > ram_size:
            where = f"{s.ra:#x}..{s.ra + len(s.data):#x}"
            raise ConfigError(f"{image.path}: a segment at {where} is outside RAM ({ram_size:#x})")


@lru_cache(maxsize=4)
def parse_elf(path: Path, data: bytes) -> Image:
    """The loadable segments of an ELF file, with the zeroed memory behind each."""
    _check_ident(path, data)
    kind, _, _, entry, table, _, _, _, size, count = _ELF_HEADER.unpack_from(data, 16)
    if kind != _EXECUTABLE:
        name = _ELF_TYPES.get(kind, f"{kind:#x}")
        raise ConfigError(f"{path}: ELF type {name}, expected ET_EXEC")
    if not 0 < count <= MAX_SEGMENTS:
        raise ConfigError(f"{path}: {count} program headers, expected 1 to {MAX_SEGMENTS}")
    if size != _PROGRAM_HEADER.size or table + count * size > len(data):
        raise ConfigError(
            f"{path}: damaged ELF file: {count} program headers of {size} bytes at {table:#x}, "
            f"the file has {len(data)}"
        )
    headers = [
        head
        for n in range(count)
        if (head := _Header(*_PROGRAM_HEADER.unpack_from(data, table + n * size))).type == _LOAD
    ]
    entry_ra = _real(entry, headers)
    segments = [_segment(path, data, h) for h in headers if h.memsz]
    if not segments:
        raise ConfigError(f"{path}: ELF without anything to load")
    _check_overlap(path, segments)
    return Image(path, entry, tuple(segments), entry_ra)


def _real(entry: int, headers: Sequence[_Header]) -> int:
    """Where the instruction at effective address `entry` is loaded."""
    for head in headers:
        if head.vaddr <= entry < head.vaddr + head.memsz:
            return entry - head.vaddr + head.paddr
    return entry


def _check_ident(path: Path, data: bytes) -> None:
    if data[:4] != b"\x7fELF":
        raise ConfigError(f"{path}: not an ELF file")
    if len(data) < 52:
        raise ConfigError(f"{path}: damaged ELF file: {len(data)} bytes, a header has 52")
    order = {1: "little", 2: "big"}.get(data[5])
    machine = int.from_bytes(data[18:20], order) if order else 0  # type: ignore[arg-type]
    if data[4] != 1 or data[5] != 2 or machine != EM_PPC:
        bits = {1: "32-bit", 2: "64-bit"}.get(data[4], f"class {data[4]}")
        name = forms.MACHINES.get(machine, f"machine {machine}")
        text = f"ELF, {bits}, {order or f'data encoding {data[5]}'}-endian, for {name}"
        raise ConfigError(f"{path}: {text}; expected 32-bit, big-endian, for PowerPC")


def _segment(path: Path, data: bytes, head: _Header) -> Segment:
    ra, offset, held, size = head.paddr, head.offset, head.filesz, head.memsz
    if held > size:
        raise ConfigError(f"{path}: a segment of {size} bytes has {held} bytes in the file")
    if offset + held > len(data):
        raise ConfigError(
            f"{path}: truncated: a segment needs {offset + held} bytes, the file has {len(data)}"
        )
    if size > MAX_FILE or ra + size > 4 * GiB:
        raise ConfigError(f"{path}: a segment at {ra:#x} of {size:#x} bytes cannot be loaded")
    whole = memoryview(data)[offset : offset + held]
    return Segment(ra, b"".join((whole, bytes(size - held))))  # one copy of some MiB, not two


def _check_overlap(path: Path, segments: list[Segment]) -> None:
    ordered = sorted(segments, key=lambda s: s.ra)
    for one, other in pairwise(ordered):
        if one.ra + len(one.data) > other.ra:
            raise ConfigError(f"{path}: segments overlap at {other.ra:#x}")
    if sum(len(s.data) for s in segments) > MAX_FILE:
        raise ConfigError(f"{path}: more than {MAX_FILE} bytes to load")
