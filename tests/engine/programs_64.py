"""Random programs for a 64-bit model: rows, segments, a hash table, both modes, hypercalls."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Final

import numpy as np

from gossamer.core.htab import HashTable
from gossamer.isa.text import assemble

from .programs import (
    CODE,
    CODE_PAGES,
    DATA,
    MSR_EE,
    MSR_FE0,
    MSR_FE1,
    MSR_FP,
    MSR_ME,
    MSR_PR,
    MSR_SE,
    MSR_VEC,
    double,
)
from .rig import IO_BASE, ROM_BASE, Rig

CPU: Final = "970mp_v1.1"
MSR_SF: Final = 1 << 63
MSR_VSX: Final = 1 << 23
LPCR_ILE: Final = 1 << 25
MSR_IR, MSR_DR = 0x20, 0x10
ONES: Final = (1 << 64) - 1
EDGES: Final = (
    *(0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF),
    *(1 << 32, 1 << 63, ONES, (1 << 63) - 1, 0xFFFF_FFFF_8000_0000, ONES - 0xFFFF),
)

_STEP_OVER: Final = """
    mtsprg 0,3
    mfsrr0 3
    addi 3,3,4
    mtsrr0 3
    mfsprg 3,0
    rfid
"""
_BACK: Final = "mtsprg 0,3; mfsprg 3,3; mtsrr0 3; mfsprg 3,0; rfid"
VECTORS: Final = {
    **dict.fromkeys((0x300, 0x380, 0x600, 0x700, 0x800, 0xF20, 0xF40), _STEP_OVER),
    **dict.fromkeys((0x400, 0x480), _BACK),
    0x500: "mtsprg 0,3; lis 3,-4096; rldicl 3,3,0,32; stw 3,16(3); mfsprg 3,0; rfid",
    0x900: "mtsprg 0,3; li 3,37; mtdec 3; mfsprg 3,0; rfid",
    **dict.fromkeys((0xC00, 0xD00, 0xF00, 0x1700), "rfid"),
}

#: Segments that the SLB may hold: their first address, VSID (whatever it is) and L || LP.
SEGMENTS: Final = (
    (0, 0x123, 0),
    (0x3000_0000, 0x4_5678_9ABC, 0),
    (0xC000_0000_0000_0000, 0x777, 0),
    (0xD000_0000_5000_0000, 0xF_FFFF_FFFF, 0),
    (0xC000_0001_2000_0000, 0x1, 0x100),
)
PAGES: Final = tuple(
    base + page
    for base, _, large in SEGMENTS[1:]
    for page in ((0,) if large else (0, 0x1000, 0x2000, 0xFFF_F000))
)


@lru_cache(maxsize=1)
def vectors() -> dict[int, bytes]:
    return {at: assemble(text, at) for at, text in VECTORS.items()}


def turned(code: bytes) -> bytes:
    """Words in the other order of bytes."""
    return np.frombuffer(code, "<u4").byteswap().tobytes()


def number(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(EDGES)
    if kind < 0.7:
        return rng.getrandbits(64) >> rng.randrange(64)
    return rng.getrandbits(64)


def second_word(rng: random.Random, vsid: int, large: int, often: float) -> int:
    """An SLB entry's VSID word, which lets code be executed so often at least."""
    flags = 0 if rng.random() < often else rng.choice((0, 0xC00, 0x800, 0x400, 0x200))
    return vsid << 12 | flags | large


def map_page(
    table: HashTable,
    rng: random.Random,
    ea: int,
    segment: tuple[int, int],
    ra: int,
    often: float = 0.3,
) -> None:
    """An entry for the page of `ea`; so often at least the page may be written and executed."""
    vsid, large = segment
    base = 24 if large else 12
    page = (ea & 0x0FFF_FFFF) >> base
    v = vsid << 12 | (page << base) >> 16 & 0x3FFF_FFFF_FFFF_FF80 | (4 if large else 0) | 1
    hashed = vsid ^ page
    if secondary := rng.random() < 0.3:
        hashed, v = ~hashed, v | 2
    r = ra & ~((1 << base) - 1) | rng.choice((0, 0x80, 0x100, 0x180))
    if rng.random() < often:
        r |= 0x12
    else:
        wimg = rng.choice((2, 2, 2, 0, 4, 8, rng.getrandbits(4)))
        pp = rng.choice((2, 1, 0, 3, 1 << 63 | 2, 1 << 63))
        r |= wimg << 3 | pp | rng.choice((0, 0, 0, 4))
    group = hashed % (table.count // 8)
    table.write(8 * group + rng.randrange(4) + 4 * secondary, v, r)


def set_translation(rig: Rig, rng: random.Random) -> int:
    """The SLB and the table; MSR bits to turn on."""
    table = rig.memory.hash_table
    assert isinstance(table, HashTable)
    slots = rng.sample(range(64), len(SEGMENTS))
    for slot, (base, vsid, large) in zip(slots, SEGMENTS, strict=True):
        if base and rng.random() < 0.15:
            continue
        rig.block.set("slb_esid", base | 0x0800_0000, slot)
        rig.block.set("slb_vsid", second_word(rng, vsid, large, 0.5 if base else 0.9), slot)
    for n in range(CODE_PAGES + 1):
        at = CODE + n * 0x1000
        map_page(table, rng, at, SEGMENTS[0][1:], at, 0.95)
    for base, vsid, large in SEGMENTS[1:]:
        for ea in PAGES:
            if ea & ~0x0FFF_FFFF == base and rng.random() < 0.9:
                ra = rng.choice((DATA, DATA + 0x1000, DATA + 0x2000, CODE, ROM_BASE, IO_BASE))
                map_page(table, rng, ea, (vsid, large), rng.choice((ra, ra, ra, 1 << 45)))
    msr = rng.choice((MSR_IR | MSR_DR, MSR_IR | MSR_DR, MSR_DR, MSR_IR))
    return msr | (MSR_PR | MSR_IR | MSR_DR | MSR_EE if rng.random() < 0.3 else 0)


def translated_entries(rig: Rig) -> list[int]:
    """Numbers of the entries that the table has."""
    table = rig.memory.hash_table
    assert isinstance(table, HashTable)
    return [n for n in range(table.count) if table.table.view[16 * n + 7] & 1]


def set_up(
    rig: Rig, seed: int, *, translated: bool, words: tuple[int, ...], little: str = ""
) -> None:
    """Fill a fresh rig: vectors, code, data, registers, decrementer, all from `seed`.

    `little`: "code" is in little-endian order, or "all" of the program, its vectors too.
    """
    rng = random.Random(seed)
    for at, code in vectors().items():
        rig.write(at, turned(code) if little == "all" else code)
    rig.words(CODE, *(rng.choice(words) for _ in range(CODE_PAGES * 1024)))
    if little:
        rig.write(CODE, turned(rig.memory.read(CODE, CODE_PAGES * 0x1000)))
        rig.block.set("lpcr", LPCR_ILE if little == "all" else 0)
    rig.write(DATA, rng.randbytes(0x3000))
    rig.words(ROM_BASE + 0x3000, *(rng.choice(words) for _ in range(64)))
    for n in range(32):
        rig.block.set("gpr", number(rng), n)
        rig.block.set("fpr", double(rng), n)
        rig.block.set("vr", rng.getrandbits(128), n)
    wide = rng.random() < 0.8
    places = (
        *(DATA + 0x800, DATA + 0xFFC, DATA + 0x1FF8, CODE + 0x40),
        *(IO_BASE + 0x20, ROM_BASE + 0x3000),
    )
    if translated and rng.random() < 0.8:
        offsets = (0, 0xFF8, 0xFF3, 0x800)
        places = tuple(rng.choice(PAGES) + o for o in offsets * 2) + places[:3]
    for n in range(16, 24):
        high = rng.getrandbits(32) << 32 if not wide or rng.random() < 0.02 else 0
        rig.block.set("gpr", (rng.choice(places) + rng.choice((0, 0, 0, 1, 4))) ^ high, n)
    for n in range(24, 28):
        rig.block.set("gpr", rng.choice((0, 4, 8, ONES - 3, 3, 0x1000)), n)
    msr = MSR_ME | rng.choice((0, MSR_FP, MSR_FP, MSR_FP | MSR_FE0, MSR_FP | MSR_FE1))
    msr |= MSR_SF if wide else 0
    msr |= 1 if little else 0
    if rng.random() < 0.8:
        msr |= MSR_EE
    if rng.random() < 0.1:
        msr |= MSR_SE
    if rng.random() < 0.9:
        msr |= MSR_VEC | (MSR_VSX if rig.engine.architecture.both_orders else 0)
    if translated:
        msr |= set_translation(rig, rng)
    for name in ("lr", "ctr"):
        rig.block.set(name, rng.choice((CODE + rng.getrandbits(11) * 4, number(rng))))
    rig.block.cr, rig.block.xer = rng.getrandbits(32), rng.getrandbits(32) & 0xE000_007F
    rig.block.set("fpscr", rng.choice((0, 0, 0, 1, 2, 3, 0xF8, 4, rng.getrandbits(8))))
    start = CODE + rng.choice((0, 0, 0xFC0, 0x800))
    rig.block.set("sprg", start, 3)

    made = translated_entries(rig)

    def hypercall() -> None:
        """Answers with what it was asked, and takes away or changes a page of the guest's."""
        block = rig.block
        asked = block.get("gpr", 4) + block.get("gpr", 3)
        block.set("gpr", asked, 3)
        if made and isinstance(table := rig.memory.hash_table, HashTable):
            n = made[asked % len(made)]
            v, r = table.read(n)
            table.write(n, v, r ^ rng.choice((1, 2, 0x80, 0x100, 0x1000)))
            table.gone(n, v)

    rig.cpu.hypercall = hypercall
    rig.set(nia=start, msr=msr)
    rig.cpu.set_decrementer(rng.choice((3, 11, 40, 1 << 31, 0xFFFF_FFFF)))
    rig.device.alarm.set(rng.randrange(400))
