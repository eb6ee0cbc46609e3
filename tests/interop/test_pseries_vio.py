"""Virtual I/O and SCSI on the pseries: beside QEMU 7.2, and moved between the two while in use."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack_from

import pytest

from gossamer.control.vm import Vm
from gossamer.devices.spapr.fdt import unflatten
from gossamer.devices.spapr.rtas import TOKENS
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.verify.hops.qemu import QemuStation
from tests.interop.pseries import CAPS, changed_sections
from tests.interop.test_pseries import (
    AT,
    CALLER,
    OURS,
    QEMU,
    USUAL,
    kernel,
    qemu64,
    rows,
    run_both,
    start,
)
from tests.interop.test_pseries_virtio import Guest, disk, files

__all__ = ["disk", "files", "qemu64", "start"]

LAN, SCSI = 0x7100_0002, 0x7100_0003
#: Where the program's units, buffers and queue are, from `AT` on.
UNITS, BUFFERS, TABLE, QUEUE = 0x3_0000, 0x3_8800, 0x5_D000, 0x5_E000
PAGES = 0x60
DEFAULT = ("-nographic", "-vga", "none", "-serial", "null", "-monitor", "none")
UNIT, BUFFER = 128, 256
#: Where commands that move blocks have theirs, 2 KiB each.
BLOCKS, BLOCK, MOST_BLOCKS = 0x4_9000, 0x800, 30


def lun(number: int, unit: int = 0, channel: int = 0) -> int:
    return (0x8000 | number << 8 | channel << 5 | unit) << 48


def command(
    cdb: bytes,
    place: int,
    n: int,
    *,
    out: int = 0,
    into: int = 0,
    indirect: bool = False,
    address: int = 0,
) -> bytes:
    """An SRP command with one buffer: the one at `address`, or that of number `n`."""
    address = address or AT + BUFFERS + BUFFER * n
    rows = []
    for length in (out, into):
        if length and indirect:
            half = length // 2
            parts = [(address, half), (address + half, length - half)]
            table = pack(">QII", 0, 0, 32) + pack(">I", length)
            rows.append(table + b"".join(pack(">QII", a, 0, size) for a, size in parts))
        elif length:
            rows.append(pack(">QII", address, 0, length))
    form = 2 if indirect else 1
    forms = (form if out else 0) << 4 | (form if into else 0)
    counts = (2 if indirect and out else 0, 2 if indirect and into else 0)
    head = pack(">BB3xBBB8s4xQ4x", 2, 6, forms, *counts, n.to_bytes(8, "big"), place)
    return head + cdb.ljust(16, b"\0") + b"".join(rows)


Cdb = tuple[bytes, int, int]
"""A command block, the bytes that it brings, the bytes of its buffer for an answer."""


def six(op: int, *rest: int, into: int = 0, out: int = 0) -> Cdb:
    return bytes((op, *rest)).ljust(6, b"\0"), out, into


def ten(op: int, *rest: int, into: int = 0, out: int = 0) -> Cdb:
    return bytes((op, *rest)).ljust(10, b"\0"), out, into


def twelve(op: int, *rest: int, into: int = 0, out: int = 0) -> Cdb:
    return bytes((op, *rest)).ljust(12, b"\0"), out, into


def sixteen(op: int, *rest: int, into: int = 0, out: int = 0) -> Cdb:
    return bytes((op, *rest)).ljust(16, b"\0"), out, into


COMMON: list[Cdb] = [
    six(0x00), six(0x12, 0, 0, 0, 36, into=36), six(0x00), six(0x03, 0, 0, 0, 96, into=96),
    six(0x12, 0, 0, 0, 255, into=255), six(0x12, 0, 0, 0, 5, into=96),
    six(0x12, 0, 1, 0, 36, into=36),
    *(six(0x12, 1, page, 0, 255, into=255) for page in (0, 0x80, 0x83, 0xB0, 0xB1, 0xB2, 0x55)),
    ten(0x25, into=8), ten(0x25, 0, 0, 0, 0, 1, into=8), ten(0x25, 0, 0, 0, 0, 1, 0, 0, 1, into=8),
    sixteen(0x9E, 0x10, *[0] * 11, 32, into=32), sixteen(0x9E, 0x11, *[0] * 11, 32, into=32),
    *(six(0x1A, 0, page, 0, 255, into=255) for page in (0x3F, 1, 4, 5, 8, 0x0E, 0x2A)),
    *(six(0x1A, 0, page, 0, 255, into=255) for page in (0x30, 0, 0x7F)),
    *(six(0x1A, 8, page, 0, 255, into=255) for page in (0x3F, 0x48, 0x7F, 0xBF, 0xFF)),
    ten(0x5A, 0, 0x3F, 0, 0, 0, 0, 0, 255, into=255), ten(0x5A, 8, 8, 0, 0, 0, 0, 0, 20, into=20),
    six(0x03, 1, 0, 0, 96, into=96), six(0x16), six(0x16, 1), six(0x17), ten(0x56, 2), ten(0x57),
    six(0x1E, 0, 0, 0, 1), six(0x1E), six(0x1B, 0, 0, 0, 1), ten(0x2B), ten(0x2B, 0, 0xFF),
    ten(0x43, 0, 0, 0, 0, 0, 0, 0, 100, into=100), ten(0x43, 2, 0, 0, 0, 0, 0, 0, 100, into=100),
    ten(0x43, 0, 1, 0, 0, 0, 0, 0, 100, into=100), ten(0x43, 0, 2, 0, 0, 0, 0, 0, 100, into=100),
    ten(0x43, 0, 3, 0, 0, 0, 0, 0, 100, into=100), ten(0x46, 0, 0, 0, 0, 0, 0, 0, 100, into=100),
    ten(0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, into=8), ten(0x4A, 1, 0, 0, 0, 0, 0, 0, 8, into=8),
    ten(0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8, into=8), ten(0x51, 0, 0, 0, 0, 0, 0, 0, 60, into=60),
    ten(0x51, 1, 0, 0, 0, 0, 0, 0, 60, into=60), twelve(0xAD, 0, 0, 0, 0, 0, 0, 0, 0, 99, into=99),
    twelve(0xBD, *[0] * 8, 8, into=8), twelve(0xBB), twelve(0xA0, *[0] * 8, 64, into=64),
    twelve(0xA0, *[0] * 8, 8, into=8), twelve(0xA0, 0, 5, *[0] * 6, 64, into=64), six(0x60),
    twelve(0xC0), six(0x1F), six(0x04), six(0x01), ten(0x2F),
    ten(0x2F, 2, 0, 0, 0, 0, 0, 0, 1, out=255),
    ten(0x28, 0, 0xFF, 0, 0, 0, 0, 0, 1, into=255), ten(0x28, 0x20, *[0] * 6, 1, into=255),
    ten(0x28), ten(0x2A, 0x20, *[0] * 6, 1, out=255), ten(0x2A, 0, 0xFF, *[0] * 5, 1, out=255),
    ten(0x2A),
]  # fmt: skip
SELECTED: list[tuple[Cdb, bytes]] = [
    (six(0x15, 0x10, 0, 0, 24, out=24), bytes((0, 0, 0, 0, 8, 18, 4)).ljust(24, b"\0")),
    (six(0x15, 0x10, 0, 0, 24, out=24), bytes((0, 0, 0, 0, 8, 18, 6)).ljust(24, b"\0")),
    (six(0x15, 0x11, 0, 0, 24, out=24), bytes((0, 0, 0, 0, 8, 18, 4)).ljust(24, b"\0")),
    (six(0x15, 0x10, 0, 0, 23, out=24), bytes((0, 0, 0, 0, 8, 18, 4)).ljust(24, b"\0")),
    (six(0x15, 0x10, 0, 0, 3, out=24), bytes(24)),
    (six(0x15, 0x10, 0, 0, 24, out=24), bytes((0, 0, 0, 4, 8, 18, 4)).ljust(24, b"\0")),
    (ten(0x55, 0x10, *[0] * 6, 28, out=28), bytes((*[0] * 8, 8, 18, 4)).ljust(28, b"\0")),
    (ten(0x42, 1, *[0] * 5, 0, 24, out=24), bytes((0, 22, 0, 16)).ljust(24, b"\0")),
    (ten(0x42, 0, *[0] * 5, 0, 24, out=24), bytes((0, 30, 0, 16)).ljust(24, b"\0")),
    (ten(0x42, 0, *[0] * 5, 0, 4, out=24), bytes(24)),
    (ten(0x42, 0, *[0] * 5, 0, 24, out=24), bytes((0, 22, 0, 16, *[0] * 4, 0xFF)).ljust(24, b"\0")),
    (ten(0x41, 4, *[0] * 6, 1), b""),
]  # fmt: skip
DISK, DISC, NO_UNIT, NO_TARGET = lun(0), lun(2), lun(2, 3), lun(5)


#: Commands that move blocks, each alone with its own: in QEMU they may overtake each other.
MOVING: list[tuple[Cdb, int]] = [
    (six(0x08, 0, 0, 3, 2, into=1024), DISK),
    (ten(0x28, 0, 0, 0, 0, 5, 0, 0, 4, into=2048), DISK),
    (twelve(0xA8, 0, 0, 0, 0, 9, 0, 0, 0, 1, into=512), DISK),
    (sixteen(0x88, 0, *[0] * 7, 10, 0, 0, 0, 1, into=512), DISK),
    (ten(0x28, 8, 0, 0, 0, 5, 0, 0, 2, into=1024), DISK),
    (ten(0x28, 0, 0, 0, 0, 5, 0, 0, 2, into=256), DISK),
    (ten(0x28, 0, 0, 0, 0, 5, 0, 0, 1, into=2048), DISK),
    (ten(0x28, 0, 0, 0, 0, 5, 0, 0, 1, into=2048), DISC),
    (twelve(0xA8, 0, 0, 0, 0, 6, 0, 0, 0, 1, into=2048), DISC),
    (six(0x0A, 0, 0, 20, 2, out=1024), DISK),
    (ten(0x2A, 0, 0, 0, 0, 30, 0, 0, 3, out=1536), DISK),
    (ten(0x2A, 8, 0, 0, 0, 40, 0, 0, 1, out=512), DISK),
    (twelve(0xAA, 0, 0, 0, 0, 50, 0, 0, 0, 1, out=512), DISK),
    (sixteen(0x8A, 0, *[0] * 7, 60, 0, 0, 0, 1, out=512), DISK),
    (ten(0x2E, 0, 0, 0, 0, 70, 0, 0, 1, out=512), DISK),
    (ten(0x41, 0, 0, 0, 0, 80, 0, 0, 5, out=512), DISK),
    (sixteen(0x93, 0, *[0] * 7, 90, 0, 0, 0, 4, out=512), DISK),
    (ten(0x2A, 0, 0, 0, 0, 30, 0, 0, 1, out=2048), DISC),
    (ten(0x35), DISK),
]


def units() -> list[tuple[int, bytes, bytes]]:
    """Format of the message, information unit, what is in its buffer before."""
    made: list[tuple[int, bytes, bytes]] = []

    def add(cdb: Cdb, place: int, content: bytes = b"", *, indirect: bool = False) -> None:
        data, out, into = cdb
        unit = command(data, place, len(made), out=out, into=into, indirect=indirect)
        made.append((1, unit, content))

    buffer = AT + BUFFERS
    made.append((2, pack(">IHHQQ", 3, 0, 148, 7, buffer), b""))
    made.append((1, bytes(8) + b"login  1" + pack(">IIH", 0, 256, 6), b""))
    made.append((2, pack(">IHHQQ", 5, 0, 92, 8, buffer + 2 * BUFFER), bytes(range(92))))
    for kind in (1, 2, 4, 8, 99):
        made.append((2, pack(">IHHQQ", kind, 0, 24, kind, buffer + 0x100), b""))
    for cdb in COMMON:
        add(cdb, DISK)
    for cdb in COMMON:
        add(cdb, DISC)
    for cdb in COMMON[:12] + COMMON[-24:]:
        add(cdb, NO_UNIT)
    for cdb, content in SELECTED:
        add(cdb, DISK, content)
    add(COMMON[4], DISK, indirect=True)
    for cdb in (COMMON[1], COMMON[0], COMMON[6]):
        add(cdb, NO_TARGET)
    for function in (1, 2, 4, 8, 0x40, 3):
        tag = len(made).to_bytes(8, "big")
        made.append((1, pack(">BB6x8s4xQ2xBx8s8x", 1, 6, tag, DISK, function, bytes(8)), b""))
    add(COMMON[0], DISK)
    for n, ((data, out, into), place) in enumerate(MOVING):
        for indirect in (False, True)[: 2 if n in (1, 7) else 1]:
            address = AT + BLOCKS + BLOCK * (n + (len(MOVING) if indirect else 0))
            unit = command(
                data, place, len(made), out=out, into=into, indirect=indirect, address=address
            )
            made.append((1, unit, b""))
    unmapped = bytes((0, 22, 0, 16, *[0] * 4, *[0] * 11, 8)).ljust(24, b"\0")
    add(ten(0x42, 0, *[0] * 5, 0, 24, out=24), DISK, unmapped)
    uncached = bytes((*[0] * 8, 8, 18, 0)).ljust(28, b"\0")
    add(ten(0x55, 0x10, *[0] * 6, 28, out=28), DISK, uncached)
    add(six(0x1A, 8, 8, 0, 24, into=24), DISK)
    for place in (3 << 62, 0, 0x0002_0000 << 32, 1 << 62):
        add(COMMON[1], place)
    return made


CALLS: list[tuple[int, ...]] = [
    *((0xFC, unit, 0x45_E000, 0x1000) for unit in (5, 0x7100_0000, LAN)),
    *((0xFC, SCSI, address, size) for address, size in ((0x45_E000, 16), (0x45_E008, 4096))),
    (0xFC, SCSI, 0x45_E000, 1 << 29), (0x108, 0x7100_0000, 1, 2), (0x108, LAN, 1, 2),
    (0x108, 9, 1, 2),
    *((0x110, unit) for unit in (9, LAN, SCSI)), (0x100, LAN), (0x100, 9),
    *((0x104, unit, mode) for unit in (LAN, SCSI, 0x7100_0000) for mode in (0, 2, 1)),
    (0x104, SCSI, 0),
    (0x13C, SCSI, 0x40_0000, 0x40_0000 + TABLE, PAGES),
    (0x13C, LAN, 0x40_0000, 0x40_0000 + TABLE, PAGES),
    (0x1C, SCSI, 0x40_0000), (0x20, SCSI, 1 << 28, 3),
    (0xF000, 0x45_C000), (0xF000, 0x45_C040), (0xF000, 0x45_C080),
    # logical LAN
    *((number, 9) for number in (0x114, 0x118, 0x11C, 0x120, 0x130, 0x1D4)),
    (0x118, LAN), (0x11C, LAN, 1 << 63 | 1600 << 32 | 0x44_0000), (0x120, LAN),
    (0x114, LAN, 0x45_8000, 1 << 63 | 0x100 << 32 | 0x45_9008, 0x45_A000, 0x5254_0012_3456),
    (0x114, LAN, 0x45_8000, 1 << 63 | 0x108 << 32 | 0x45_9000, 0x45_A000, 0x5254_0012_3456),
    (0x114, LAN, 0x45_8000, 0x100 << 32 | 0x45_9000, 0x45_A000, 0x5254_0012_3456),
    (0x114, LAN, 0x45_8010, 1 << 63 | 0x100 << 32 | 0x45_9000, 0x45_A000, 0x5254_0012_3456),
    (0x114, LAN, 0x45_8000, 1 << 63 | 0x100 << 32 | 0x45_9000, 0x45_A800, 0x5254_0012_3456),
    (0x114, LAN, 0x46_8000, 1 << 63 | 0x100 << 32 | 0x45_9000, 0x45_A000, 0x5254_0012_3456),
    (0x114, LAN, 0x45_8000, 3 << 62 | 0x100 << 32 | 0x45_9000, 0x45_A000, 0x5254_0012_3456),
    (0x114, LAN, 0x45_8000, 1 << 63 | 0x100 << 32 | 0x45_9000, 0x45_A000, 0x5254_0012_3456),
    *((0x11C, LAN, 1 << 63 | size << 32 | at) for size, at in (
        (1600, 0x45_A100), (1600, 0x45_A800), (512, 0x45_B000), (64, 0x45_B200), (32, 0x45_B300),
        (128, 0x45_B340), (256, 0x45_B400), (8, 0x45_B500), (64, 0x45_B502), (64, 0x47_0000),
    )),
    (0x120, LAN, 1 << 63 | 60 << 32 | 0x45_A100), (0x120, LAN), (0x120, LAN, 1 << 63),
    (0x120, LAN, 1 << 63 | 60 << 32 | 0x47_A100),
    (0x120, LAN, 1 << 63 | 0x2_0000 << 32 | 0x40_0000),
    (0x120, LAN, 1 << 63 | 60 << 32 | 0x45_A100, 0, 0, 0, 0, 0, 1),
    (0x130, LAN, 1, 2), (0x14C, LAN, 0x5254_00AA_BBCC), (0x1D4, LAN, 64),
    # messages
    (0xFC, SCSI, 0x45_E000, 0x2000), (0xFC, SCSI, 0x45_E000, 0x2000),
    (0x108, SCSI, 0xC001 << 48, 0), (0x108, SCSI, 0xC002 << 48, 0), (0x108, SCSI, 0xFF00 << 48, 0),
    (0x108, SCSI, 0x8006 << 48, 0), (0x108, SCSI, 0, 0),
]  # fmt: skip
"""Number and arguments; those that depend on nothing but what stands before them."""


def images(folder: Path) -> list[str]:
    """A disk and a disc that can be told from each other in every sector."""
    folder.mkdir()
    for name, size in (("disk", 1 << 23), ("disc", 1 << 20)):
        content = b"".join(f"{name} {n}".encode().ljust(512, b".") for n in range(100))
        (folder / name).write_bytes(content)
        with (folder / name).open("ab") as file:
            file.truncate(size)
    hard = f"if=scsi,index=0,file={folder}/disk,format=raw,id=hard"
    return ["-drive", hard, "-cdrom", str(folder / "disc")]


def services() -> dict[int, bytes]:
    """Argument blocks of the run-time services that are called."""
    lists = (("ibm,set-tce-bypass", SCSI, 0), ("ibm,set-tce-bypass", 9, 0), ("quiesce",))
    blocks = {}
    for n, (name, *cells) in enumerate(lists[:2]):
        block = [TOKENS[name], len(cells), 1, *cells, 0x77]
        blocks[0x5_C000 + 64 * n] = pack(f">{len(block)}I", *block)
    blocks[0x5_C080] = pack(">4I", TOKENS["ibm,set-tce-bypass"], 1, 1, SCSI)
    return blocks


def test_calls_and_commands_answer_alike(tmp_path: Path, start: Callable[..., QemuStation]) -> None:
    made = units()
    calls = list(CALLS)
    program = bytearray()
    for n, (form, unit, _) in enumerate(made):
        message = 0x8000 << 48 | form << 48 | len(unit)
        calls.append((0x108, SCSI, message, AT + UNITS + UNIT * n))
    program = rows(calls)
    assert len(calls) < 900
    assert UNIT * len(made) <= BUFFERS - UNITS
    assert BUFFERS + BUFFER * len(made) <= BLOCKS
    for n, (_, unit, content) in enumerate(made):
        program[UNITS + UNIT * n : UNITS + UNIT * n + len(unit)] = unit
        at = BUFFERS + BUFFER * n
        program[at : at + BUFFER] = content.ljust(BUFFER, b"\xee")
    for n in range(MOST_BLOCKS):
        at = BLOCKS + BLOCK * n
        program[at : at + BLOCK] = bytes((n + k) % 251 for k in range(BLOCK))
    program[TABLE : TABLE + 8 * PAGES] = pack(
        f">{PAGES}Q", *(AT + 0x1000 * n | 3 for n in range(PAGES))
    )
    for at, block in services().items():
        program[at : at + len(block)] = block
    path = kernel(tmp_path, bytes(program))
    options = ["-kernel", str(path), "-nic", "model=spapr-vlan"]
    vm = Vm(parse([*OURS, *options, *images(tmp_path / "mine")]))
    vm.run(instructions=60 * len(calls) + 100)
    mine = vm.machine.memory.read(AT, 0x6_0000)
    vm.close()
    answers = sum(any(mine[QUEUE + 16 * n :][:16]) for n in range(0x200))
    assert mine[0x800F] == 1
    machine = f"pseries-7.2,x-vof=on,{CAPS['970mp_v1.1']}"
    station = start("-M", machine, *options, *images(tmp_path / "theirs"))
    theirs = settled(station, tmp_path / "memory", answers)
    differs = []
    for n, call in enumerate(calls):
        at = 0x2_0000 + 72 * n
        want, got = unpack_from(">9q", theirs, at), unpack_from(">9q", mine, at)
        if want != got:
            differs.append(f"call {[hex(x) for x in call]}: {want} {got}")
    for n, (_, unit, _) in enumerate(made):
        for name, at, size in (
            ("unit", UNITS + UNIT * n, UNIT),
            ("data", BUFFERS + BUFFER * n, BUFFER),
        ):
            want_data, got_data = theirs[at : at + size], mine[at : at + size]
            if want_data != got_data:
                what = unit[32:48].hex() if unit[0] == 2 else unit[:24].hex()
                last = max(k for k in range(size) if want_data[k] != got_data[k]) + 1
                differs.append(
                    f"{n} {what} {name}\n{want_data[:last].hex()}\n{got_data[:last].hex()}"
                )
    for n in range(MOST_BLOCKS):
        at = BLOCKS + BLOCK * n
        if theirs[at : at + BLOCK] != mine[at : at + BLOCK]:
            differs.append(f"blocks {n}")
    for name, at, size in (("lan", 0x5_8000, 0x4000), ("services", 0x5_C000, 0x100)):
        if theirs[at : at + size] != mine[at : at + size]:
            differs.append(name)
    want_queue, got_queue = (
        sorted(one[QUEUE + 16 * n :][:16] for n in range(0x200)) for one in (theirs, mine)
    )
    if want_queue != got_queue:
        both = set(want_queue) ^ set(got_queue)
        differs += [f"queue {one.hex()} {one in want_queue}" for one in sorted(both)]
    assert not differs, "\n".join(differs)
    station.close()
    ours, other = ((tmp_path / name / "disk").read_bytes() for name in ("mine", "theirs"))
    changed = [
        n for n in range(len(ours) // 512) if ours[512 * n :][:512] != other[512 * n :][:512]
    ]
    assert not changed
    assert ours[512 * 30 :][:8] != b"disk 30."


@pytest.mark.parametrize("version", ["2.1", "2.5", "2.6"])
def test_buffers_are_lent_alike(
    tmp_path: Path, start: Callable[..., QemuStation], version: str
) -> None:
    """Up to 2.5 they stand in the guest's page; more than it has room for."""
    table = (0x13C, LAN, 0x40_0000, 0x40_0000 + TABLE, PAGES)
    register = (0x114, LAN, 0x45_8000, 1 << 63 | 0x100 << 32 | 0x45_9000, 0x45_A000, 0x5254_0012)
    lent = [
        (0x11C, LAN, 1 << 63 | 64 + 4 * (n % 5) << 32 | 0x44_0000 + 64 * (n % 64))
        for n in range(515)
    ]
    calls = [table, register, *lent, (0x11C, LAN, 1 << 63 | 8 << 32 | 0x45_B500)]
    calls += [(0x118, LAN), register, lent[3], lent[7], (0x118, LAN), register, *lent[:9]]
    program = rows(calls)
    program[TABLE : TABLE + 8 * PAGES] = pack(
        f">{PAGES}Q", *(AT + 0x1000 * n | 3 for n in range(PAGES))
    )
    path, nic = kernel(tmp_path, bytes(program)), ("-nic", "model=spapr-vlan")
    machine = f"pseries-{version},x-vof=on,{CAPS['970mp_v1.1']}"
    station = start("-M", machine, *nic, "-kernel", str(path))
    options = ("-M", f"pseries-{version}", *nic)
    mine, theirs = run_both(path, station, len(calls), tmp_path / "memory", options)
    for n, call in enumerate(calls):
        at = 0x2_0000 + 72 * n
        assert unpack_from(">9q", mine, at) == unpack_from(">9q", theirs, at), (n, call)
    assert mine[0x5_8000:0x5_B000] == theirs[0x5_8000:0x5_B000]


def settled(station: QemuStation, out: Path, answers: int) -> bytes:
    """The program's memory when it is done, and as many answers are there."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        time.sleep(0.1)
        station.command("pmemsave", val=AT, size=0x6_0000, filename=str(out))
        now = out.read_bytes()
        found = sum(any(now[QUEUE + 16 * n :][:16]) for n in range(0x200))
        if now[0x800F] and found >= answers:
            break
    return now


def test_the_tree_of_the_usual_devices_is_qemus(tmp_path: Path, qemu64: Path) -> None:
    path, blob = kernel(tmp_path, CALLER), tmp_path / "blob"
    more = ["-device", "spapr-vlan,reg=0x10000,mac=00:11:22:33:44:55", "-device", "spapr-vscsi"]
    more += ["-device", "virtio-scsi-pci"]
    options = (*QEMU, *DEFAULT, *more, "-kernel", str(path))
    command = [str(qemu64), *options, "-machine", f"dumpdtb={blob}"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    theirs, _ = unflatten(blob.read_bytes())
    m = build(parse([*USUAL, "-vga", "none", *more, "-kernel", str(path)]))
    firmware = m.part("spapr").firmware  # type: ignore[attr-defined]
    for where in ("/vdevice", "/pci@800000020000000"):
        want, got = theirs.find(where), firmware.root.find(where)
        assert want is not None
        assert [one.name for one in want.children] == [one.name for one in got.children]
        for a, b in zip(want.children, got.children, strict=True):
            assert list(a.properties.items()) == list(b.properties.items()), a.name
    m.close()


@pytest.mark.parametrize("version", ["2.2", "2.5", "2.6", "2.9", "3.1", "7.2"])
def test_a_machine_of_the_usual_devices_is_written_again(
    tmp_path: Path, start: Callable[..., QemuStation], version: str
) -> None:
    """The same command line gives the same machine: every section, byte for byte, both ways."""
    machine = f"pseries-{version},x-vof=on,{CAPS['970mp_v1.1']}"
    more = ["-device", "virtio-scsi-pci,id=s"] if version == "7.2" else []
    more += ["-device", "spapr-vscsi,id=v", "-device", "scsi-cd,bus=v.0,scsi-id=5,lun=3"]
    usual = ("-nic", "model=spapr-vlan", "-drive", "if=scsi,media=cdrom,index=2")
    station = start("-M", machine, *usual, *more, "-S")
    stream = tmp_path / "stream"
    station.migrate(f"exec:cat > {stream}")
    options = (*OURS, "-M", f"pseries-{version}", *usual, *more)
    assert changed_sections(stream.read_bytes(), options) <= {"globalstate"}
    vm = Vm(parse([*options, "-S"]))
    vm.migrate(f"file:{tmp_path}/ours", profile="qemu-7.2")
    vm.close()
    other = start("-M", machine, *usual, *more, "-incoming", f"exec:cat {tmp_path}/ours", "-S")
    other.wait_loaded()


@pytest.mark.parametrize(
    ("version", "adapter"),
    [
        ("2.1", "vscsi"),
        ("2.5", "vscsi"),
        ("2.9", "vscsi"),
        ("4.2", "virtio"),
        ("5.2", "virtio"),
        ("7.2", "virtio"),
        ("7.2", "vscsi"),
    ],
)
def test_disks_and_a_card_in_use_move_both_ways(
    files: list[str],
    disk: Path,
    tmp_path: Path,
    start: Callable[..., QemuStation],
    version: str,
    adapter: str,
) -> None:
    disc = tmp_path / "disc"
    disc.write_bytes(b"on the disc".ljust(1 << 16, b"."))
    if adapter == "vscsi":
        drives = ["-hda", str(disk), "-cdrom", str(disc)]
        raw = ["-drive", f"if=scsi,file={disk},format=raw,index=0", "-cdrom", str(disc)]
    else:
        drives = raw = [
            *("-drive", f"if=none,id=d,file={disk},format=raw"),
            *("-drive", f"if=none,id=c,file={disc},format=raw,media=cdrom,readonly=on"),
            *("-device", "virtio-scsi-pci"),
            *("-device", "scsi-hd,drive=d"),
            *("-device", "scsi-cd,drive=c,scsi-id=2"),
        ]
    ours = [*OURS, "-M", f"pseries-{version}", "-icount", "3,sleep=off", *drives]
    ours += ["-nic", "model=spapr-vlan"]
    machine = f"pseries-{version},x-vof=on,{CAPS['970mp_v1.1']}"
    vm = Vm(parse([*ours, *files, "-append", "console=hvc0"]))
    guest = Guest(vm)
    guest.until(b"guest# ")
    guest.ask("mke2fs /dev/sda && mount /dev/sda /mnt && echo here > /mnt/first; sync")
    assert "on the disc" in guest.ask("head -c 11 /dev/sr0; ifconfig eth0 10.0.2.15 up; echo")
    sent = vm.migrate(f"file:{tmp_path}/stream", profile="qemu-7.2")
    assert all("virtual processor" in lost for lost in sent.lost)
    assert sent.lost == () or version.startswith("2.")
    vm.close()
    cable = ("-nic", "user,model=spapr-vlan,id=n0")
    station = start("-M", machine, "-incoming", f"exec:cat {tmp_path}/stream", *raw, *cable)
    station.wait_loaded()
    if station.status != "running":
        station.command("cont")
    station.type(
        b"ping -c 1 10.0.2.2; cat /mnt/first; echo there > /mnt/second; head -c 11 /dev/sr0; echo; "
        b"sync; echo ok:$?\r"
    )
    station.expect(b"\r\nok:0", 20.0)
    assert b"\r\nhere\r\n" in station.output
    assert b"on the disc" in station.output
    assert b"1 packets received" in station.output
    station.command("stop")
    station.migrate(f"exec:cat > {tmp_path}/back")
    station.close()
    again = Vm(parse(ours))
    again.incoming(f"file:{tmp_path}/back")
    guest = Guest(again)
    again.cont()
    assert "\r\nhere\r\nthere\r\n" in guest.ask("cat /mnt/first /mnt/second; umount /mnt")
    assert "on the disc" in guest.ask("head -c 11 /dev/sr0; echo")
    again.close()
