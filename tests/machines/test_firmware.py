"""Firmware and programs: found, loaded where they belong, refused in one line when damaged."""

from __future__ import annotations

import gzip
import os
import random
import struct
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.machines import firmware

PROM = 0xFFC0_0000
SIZE = 4 << 20


def elf(
    *segments: tuple[int, bytes, int],
    entry: int = 0x1000,
    ident: bytes = b"\x7fELF\x01\x02\x01",
    machine: int = 20,
    kind: int = 2,
) -> bytes:
    """An ELF file of (physical address, bytes, memory size) segments, written out by hand."""
    at = 52 + 32 * len(segments)
    head = ident.ljust(16, b"\0") + struct.pack(
        ">HHIIIIIHHHHHH", kind, machine, 1, entry, 52, 0, 0, 52, 32, len(segments), 40, 0, 0
    )
    table, body = b"", b""
    for ra, data, size in segments:
        table += struct.pack(
            ">IIIIIIII", 1, at + len(body), 0xC000_0000 | ra, ra, len(data), size, 7, 4
        )
        body += data
    return head + table + body


def write(folder: Path, data: bytes, name: str = "rom") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_elf_goes_to_its_physical_addresses(tmp_path: Path) -> None:
    path = write(tmp_path, elf((0x1000, b"code", 8), (0x3000, b"data", 4), entry=0xC000_1000))
    image = firmware.load_elf(path)
    assert image.entry == 0xC000_1000
    assert [(s.ra, s.data) for s in image.segments] == [
        (0x1000, b"code\0\0\0\0"),
        (0x3000, b"data"),
    ]
    assert (image.start, image.end) == (0x1000, 0x3004)
    firmware.check_fits(image, 0x3004)
    with pytest.raises(ConfigError, match=r"a segment at 0x3000..0x3004 is outside RAM \(0x3000\)"):
        firmware.check_fits(image, 0x3000)


def test_rom_from_elf_and_from_raw(tmp_path: Path) -> None:
    path = write(tmp_path, elf((0xFFF0_0000, b"boot", 6), (0xFFFF_FFFC, b"\x48\0\0\0", 4)))
    rom = firmware.load_image(path, PROM, SIZE)
    assert rom.ra == 0xFFF0_0000
    assert rom.data == b"boot".ljust(0xF_FFFC, b"\0") + b"\x48\0\0\0"
    raw = firmware.load_image(write(tmp_path, b"vectors", "raw"), PROM, SIZE)
    assert raw == firmware.Segment(0xFFFF_FFF9, b"vectors")


def test_openbios_is_found_and_loaded(openbios: Path) -> None:
    rom = firmware.load_image(firmware.find_firmware(folders=[openbios.parent]), PROM, SIZE)
    assert b"OpenBIOS" in rom.data
    branch = int.from_bytes(rom.data[-4:], "big")
    assert branch >> 26 == 18, "the reset vector holds a branch"


def test_program_may_be_raw(tmp_path: Path) -> None:
    image = firmware.load_program(write(tmp_path, b"\x60\0\0\0"), base=0x100)
    assert (image.entry, image.segments[0].ra, image.segments[0].data) == (
        0x100, 0x100, b"\x60\0\0\0",
    )  # fmt: skip
    elf_path = write(tmp_path, elf((0x2000, b"x", 1)), "elf")
    assert firmware.load_program(elf_path).entry == 0x1000


EXPECTED = "expected 32-bit, big-endian, for PowerPC"
DAMAGED = {
    "not ELF": (b"MZ" + bytes(60), "not an ELF file"),
    "empty": (b"", "program is empty"),
    "short": (b"\x7fELF\x01\x02\x01", "damaged ELF file: 7 bytes, a header has 52"),
    "64-bit": (
        elf((0, b"x", 1), ident=b"\x7fELF\x02\x02\x01", machine=21),
        f"ELF, 64-bit, big-endian, for 64-bit PowerPC; {EXPECTED}",
    ),
    "little-endian": (
        elf((0, b"x", 1), ident=b"\x7fELF\x01\x01\x01", machine=20 << 8),
        f"ELF, 32-bit, little-endian, for PowerPC; {EXPECTED}",
    ),
    "68k": (elf((0, b"x", 1), machine=4), f"ELF, 32-bit, big-endian, for 68000; {EXPECTED}"),
    "unknown machine": (
        elf((0, b"x", 1), machine=60000),
        f"ELF, 32-bit, big-endian, for machine 60000; {EXPECTED}",
    ),
    "shared object": (elf((0, b"x", 1), kind=3), "ELF type ET_DYN, expected ET_EXEC"),
    "no segments": (elf(), "0 program headers, expected 1 to 64"),
    "nothing to load": (elf((0, b"", 0)), "ELF without anything to load"),
    "truncated": (
        elf((0, b"x" * 100, 100))[:-1],
        "truncated: a segment needs 184 bytes, the file has 183",
    ),
    "more in the file than in memory": (
        elf((0, b"xyz", 2)),
        "a segment of 2 bytes has 3 bytes in the file",
    ),
    "huge": (elf((0, b"x", 0x7FFF_FFFF)), "a segment at 0x0 of 0x7fffffff bytes cannot be loaded"),
    "past 4 GiB": (
        elf((0xFFFF_FFFF, b"xy", 2)),
        "a segment at 0xffffffff of 0x2 bytes cannot be loaded",
    ),
    "overlap": (elf((0, b"abcd", 4), (3, b"x", 1)), "segments overlap at 0x3"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_program_is_refused(tmp_path: Path, what: str) -> None:
    data, expected = DAMAGED[what]
    path = write(tmp_path, data)
    with pytest.raises(ConfigError) as caught:
        firmware.load_elf(path)
    assert str(caught.value) == f"{path}: {expected}"


def test_every_truncation_of_an_elf_is_refused(tmp_path: Path) -> None:
    data = elf((0, b"abcd", 4), (0x100, b"efgh", 8))
    for length in range(len(data)):
        with pytest.raises(ConfigError):
            firmware.load_elf(write(tmp_path, data[:length]))


def test_random_damage_never_crashes(tmp_path: Path) -> None:
    source = random.Random(1)
    good = elf((0, b"abcd", 4), (0x100, b"efgh", 8))
    for _ in range(500):
        data = bytearray(good)
        for _ in range(source.randrange(1, 6)):
            data[source.randrange(len(data) - 8)] = source.randrange(256)
        refusal = ""
        try:
            firmware.load_elf(write(tmp_path, bytes(data)))
        except ConfigError as refused:
            refusal = str(refused)
        assert "\n" not in refusal


def test_firmware_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    outside = write(tmp_path, elf((0x1000, b"x", 1)))
    with pytest.raises(ConfigError, match=r"a segment at 0x1000..0x1001 is outside the ROM \(0xff"):
        firmware.load_image(outside, PROM, SIZE)
    with pytest.raises(ConfigError, match="17 bytes do not fit in a ROM of 16"):
        firmware.load_image(write(tmp_path, bytes(17)), PROM, 16)


def test_missing_firmware_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firmware, "PLACES", (tmp_path,))
    monkeypatch.delenv("GOSSAMER_FIRMWARE", raising=False)
    with pytest.raises(ConfigError) as caught:
        firmware.find_firmware()
    assert str(caught.value) == (
        f"no firmware: openbios-ppc is not in {tmp_path}. Debian and Ubuntu have it in the package "
        "qemu-system-data (older ones: openbios-ppc); or give a file with -bios"
    )
    with pytest.raises(ConfigError, match=r"^-bios: there is no file ./no/rom$"):
        firmware.find_firmware("./no/rom")
    with pytest.raises(ConfigError, match=f"^-bios: rom.bin is neither a file nor in {tmp_path}$"):
        firmware.find_firmware("rom.bin")


def test_order_of_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("option", "environment", "system")]
    for folder in folders:
        folder.mkdir()
        write(folder, b"x", firmware.OPENBIOS)
    monkeypatch.setattr(firmware, "PLACES", (folders[2],))
    monkeypatch.setenv("GOSSAMER_FIRMWARE", str(folders[1]) + os.pathsep)
    for folder in folders:
        assert firmware.find_firmware(None, [folders[0]]).parent == folder
        (folder / firmware.OPENBIOS).unlink()
    named = write(tmp_path, b"x", "mine")
    assert firmware.find_firmware(str(named)) == named


def test_optional_roms_are_zeros_when_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firmware, "PLACES", (tmp_path,))
    monkeypatch.delenv("GOSSAMER_FIRMWARE", raising=False)
    assert firmware.optional_rom(firmware.NE2K_ROM, 64) == bytes(64)
    assert firmware.optional_file(firmware.VGA_DRIVER) is None
    write(tmp_path, b"\x55\xaa", "pxe-ne2k_pci.rom")
    assert firmware.optional_rom(firmware.NE2K_ROM, 4) == b"\x55\xaa\0\0"
    write(tmp_path, bytes(65), "efi-ne2k_pci.rom")
    with pytest.raises(ConfigError, match="option ROM is longer than 64 bytes"):
        firmware.optional_rom(firmware.NE2K_ROM, 64)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing: no such file"):
        firmware.load_elf(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="not a regular file"):
        firmware.load_elf(tmp_path)
    with pytest.raises(ConfigError, match="/dev/zero: not a regular file"):
        firmware.load_elf(Path("/dev/zero"))


def test_gzipped_program_is_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(b"\x60\0\0\0" * 3) + gzip.compress(b"\x48\0\0\0")
    image = firmware.load_program(write(tmp_path, packed, "two members"), 0x100)
    assert image.segments == (firmware.Segment(0x100, b"\x60\0\0\0" * 3 + b"\x48\0\0\0"),)


def test_damaged_gzip_is_refused_at_every_length(tmp_path: Path) -> None:
    packed = gzip.compress(os.urandom(100))
    for length in range(3, len(packed)):
        with pytest.raises(ConfigError, match="damaged gzip file: "):
            firmware.load_program(write(tmp_path, packed[:length], "cut"))
    flipped = packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:]
    with pytest.raises(ConfigError, match="damaged gzip file: CRC"):
        firmware.load_program(write(tmp_path, flipped, "flipped"))
    with pytest.raises(ConfigError, match="program is empty"):
        firmware.load_program(write(tmp_path, gzip.compress(b""), "none"))


def test_gzip_bomb_is_refused() -> None:
    bomb = gzip.compress(bytes(1 << 20))
    with pytest.raises(ConfigError, match="bomb: unpacks to more than 1000 bytes"):
        firmware.unpacked(Path("bomb"), bomb, 1000)
    assert len(firmware.unpacked(Path("bomb"), bomb, 1 << 20)) == 1 << 20


def test_files_that_are_forgotten_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"\x48\0\0\0" * 64)
    first = firmware.read_file(path)
    assert firmware.read_file(path) is first
    firmware.forget_files()
    assert firmware.read_file(path) == first
    assert firmware.read_file(path) is not first
