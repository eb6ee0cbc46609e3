"""-kernel of any form is started, or refused by name (cases 12 and 30)."""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control.vm import Vm
from gossamer.devices.fwcfg import KERNEL_ADDR, FwCfg
from gossamer.machines import forms
from gossamer.machines.firmware import load_program
from gossamer.machines.options import parse

from .test_firmware import elf

#: addi r3,0,7; b .
PROGRAM: Final = bytes.fromhex("38600007 48000000")


def uimage(
    body: bytes, *, arch: int = 7, kind: int = 2, packed: int = 0, load: int = 0, entry: int = 0
) -> bytes:
    """A U-Boot image as mkimage writes it."""
    form = ">IIIIIIIBBBB32s"
    words = [0x2705_1956, 0, 0, len(body), load, entry, zlib.crc32(body), 5, arch, kind, packed]
    words[1] = zlib.crc32(struct.pack(form, *words, b"test"))
    return struct.pack(form, *words, b"test") + body


def at(offset: int, magic: bytes, size: int = 0x9000) -> bytes:
    """A file of no text with `magic` somewhere."""
    data = bytearray(b"\x90" * size)
    data[offset : offset + len(magic)] = magic
    return bytes(data)


REFUSED: Final = {
    "bzImage": (at(0x202, b"HdrS"), "is a bzImage, a Linux kernel for x86"),
    "Arm zImage": (at(0x24, b"\x18\x28\x6f\x01"), "is a zImage, a Linux kernel for Arm"),
    "Arm64 Image": (at(0x38, b"ARM\x64"), "is an Image, a Linux kernel for Arm64"),
    "RISC-V Image": (at(0x38, b"RSC\x05"), "is an Image, a Linux kernel for RISC-V"),
    "EFI": (at(0, b"MZ"), "is a program for EFI or Windows"),
    "Mach-O": (at(0, b"\xfe\xed\xfa\xce"), "is a Mach-O program; start Mac OS X from a disk"),
    "fat Mach-O": (at(0, b"\xca\xfe\xba\xbe"), "is a Mach-O program for several machines; start"),
    "XCOFF": (at(0, b"\x01\xdf"), "is an XCOFF program; start it from a disk"),
    "xz": (lzma.compress(b"x"), "is compressed with xz; unpack it"),
    "bzip2": (at(0, b"BZh"), "is compressed with bzip2; unpack it"),
    "zstd": (at(0, b"\x28\xb5\x2f\xfd"), "is compressed with zstd; unpack it"),
    "cpio": (b"070701" * 20, "is a cpio archive; give it to -initrd"),
    "device tree": (at(0, b"\xd0\x0d\xfe\xed"), "is a device tree, or a FIT image"),
    "qcow2": (at(0, b"QFI\xfb"), "is a qcow2 image; give it to -hda"),
    "ISO": (at(0x8001, b"CD001"), "is an ISO image; give it to -cdrom"),
    "Apple disk": (at(0, b"ER\x02\0"), "is an image of an Apple disk; give it to -hda or -cdrom"),
    "text": (b"#!/bin/sh\necho hello\n", "is a text file"),
    "text with a mark": ("\ufeffgr\u00fcn".encode(), "is a text file"),
    "zeros": (bytes(4096), "is nothing but zeros"),
    "rest": (b"\x90\x91\x92", "is 3 bytes, which is no program"),
    "x86-64": (
        elf((0, b"x", 1), ident=b"\x7fELF\x02\x01\x01", machine=62 << 8),
        "ELF, 64-bit, little-endian, for x86-64; expected 32-bit, big-endian, for PowerPC",
    ),
    "uImage for Arm": (uimage(PROGRAM, arch=2), "uImage for Arm, expected PowerPC"),
    "uImage of a RAM disk": (uimage(PROGRAM, kind=3), "uImage of a RAM disk; give it to -initrd"),
    "uImage with lzma": (uimage(PROGRAM, packed=3), "uImage: compressed with lzma; gzip and none"),
    "uImage, cut": (uimage(PROGRAM)[:-1], "uImage: truncated: 7 of 8 bytes"),
    "uImage, header cut": (uimage(PROGRAM)[:20], "uImage: 20 bytes, a header has 64"),
    "uImage, data flipped": (uimage(PROGRAM)[:-1] + b"\1", "uImage: damaged data (checksum)"),
    "uImage, header flipped": (
        uimage(PROGRAM)[:9] + b"\1" + uimage(PROGRAM)[10:], "uImage: damaged header (checksum)",
    ),
    "uImage, bad gzip": (uimage(b"\x1f\x8b\x08no", packed=1), "uImage: damaged gzip data: "),
    "uImage, entry outside": (uimage(PROGRAM, entry=64), "uImage: entry 0x40 is outside what it"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_form_that_cannot_start_is_refused_by_name(tmp_path: Path, what: str) -> None:
    data, message = REFUSED[what]
    (tmp_path / "k").write_bytes(data)
    for machine in ("g3beige", "bare"):
        options = ["-M", machine, "-m", "32", "-kernel", str(tmp_path / "k")]
        firmware = ["-bios", "builtin"] if machine == "g3beige" else []
        with pytest.raises(ConfigError) as caught:
            Vm(parse([*options, *firmware]))
        assert str(caught.value).removeprefix(f"{tmp_path}/k: ").startswith(message)


def test_every_magic_has_words() -> None:
    for offset, magic, text in forms._MAGIC:
        assert forms.refusal(at(offset, magic)) == f"is {text}"


FORMS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "ELF": lambda program: program,
    "gzip": gzip.compress,
    "uImage": uimage,
    "uImage with gzip": lambda program: uimage(gzip.compress(program), packed=1),
    "uImage in gzip": lambda program: gzip.compress(uimage(program)),
}


@pytest.mark.parametrize("form", FORMS)
def test_kernel_starts_at_its_entry(tmp_path: Path, form: str) -> None:
    """The zImage of Linux is linked at 4 MiB, and its entry is not its first instruction."""
    program = elf((0x1000 - 4, b"\0\0\0\0" + PROGRAM, 12))  # the entry that elf() has is 0x1000
    (tmp_path / "k").write_bytes(FORMS[form](program))
    assert load_program(tmp_path / "k").entry_ra == 0x1000
    line = f"-M g3beige -m 32 -bios builtin -kernel {tmp_path}/k"
    fw_cfg = Vm(parse(line.split())).machine.part("fw_cfg")
    assert isinstance(fw_cfg, FwCfg)
    assert int.from_bytes(fw_cfg.entries[KERNEL_ADDR], "little") == 0x0100_1000
    bare = Vm(parse(["-M", "bare", "-kernel", str(tmp_path / "k")]))
    bare.step(2)
    assert bare.register("r3") == 7


def test_raw_program_in_a_uimage(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(uimage(bytes(4) + PROGRAM, load=0x100, entry=0x104))
    vm = Vm(parse(["-M", "bare", "-kernel", str(tmp_path / "k")]))
    vm.step(2)
    assert (vm.register("r3"), vm.register("pc")) == (7, 0x108)


def test_case_23_deterministic_run_begins_at_a_fixed_date() -> None:
    assert parse(["-icount", "5"]).rtc_base == 1_767_225_600
    assert parse(["-icount", "5", "-rtc", "base=utc"]).rtc_base == "utc"
    assert parse([]).rtc_base == "utc"
