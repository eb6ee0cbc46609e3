"""Random programs and surroundings: instructions of every row, page tables, BATs, pointers."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Final

from gossamer.cpu.model import find
from gossamer.isa.insn import Decoder, Insn
from gossamer.isa.text import assemble

from .rig import IO_BASE, ROM_BASE, Rig

CODE: Final = 0x1_0000
CODE_PAGES: Final = 3
DATA: Final = 0x2_0000
TABLE: Final = 0x8_0000  # 64 KiB: the smallest page table
EDGES: Final = (
    0,
    1,
    2,
    3,
    31,
    32,
    0x7F,
    0x80,
    0xFFFF,
    0x8000,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
)
DOUBLES: Final = (
    0,
    1 << 63,
    0x3FF0_0000_0000_0000,
    0xBFF8_0000_0000_0000,
    0x7FF0_0000_0000_0000,
    0xFFF0_0000_0000_0000,
    0x7FF8_0000_0000_0001,
    0x7FF0_0000_0000_0001,
    0x0000_0000_0000_0001,
    0x0010_0000_0000_0000,
    0x7FEF_FFFF_FFFF_FFFF,
    0x36A0_0000_0000_0000,
    0x3810_0000_0000_0000,
    0x41DF_FFFF_FFC0_0000,
)
MSR_FP, MSR_EE, MSR_PR, MSR_IR, MSR_DR, MSR_ME = 0x2000, 0x8000, 0x4000, 0x20, 0x10, 0x1000
MSR_VEC = 0x200_0000
MSR_SE, MSR_BE, MSR_FE0, MSR_FE1 = 0x400, 0x200, 0x800, 0x100

#: Every vector: step over the instruction; an ISI goes back to the code; 0x500 acknowledges.
_STEP_OVER: Final = """
    mtsprg 0,3
    mfsrr0 3
    addi 3,3,4
    mtsrr0 3
    mfsprg 3,0
    rfi
"""
_BACK: Final = "mtsprg 0,3; mfsprg 3,3; mtsrr0 3; mfsprg 3,0; rfi"
_ACKNOWLEDGE: Final = "mtsprg 0,3; lis 3,-4096; stw 3,16(3); mfsprg 3,0; rfi"
_RETURN: Final = "rfi"
VECTORS: Final = {
    0x300: _STEP_OVER,
    0x400: _BACK,
    0x500: _ACKNOWLEDGE,
    0x600: _STEP_OVER,
    0x700: _STEP_OVER,
    0x800: _STEP_OVER,
    0x900: "mtsprg 0,3; li 3,37; mtdec 3; mfsprg 3,0; rfi",
    0xC00: _RETURN,
    0xD00: _RETURN,
    0xF00: _RETURN,
    0x1300: _STEP_OVER,
    0x1400: _RETURN,
    0x1700: _RETURN,
}


#: TLB misses load an entry for four pages of code or data.
_LOAD: Final = """
    mfspr   0,{miss}
    rlwinm  1,0,0,18,19
    oris    1,1,{place}
    ori     1,1,{low}
    mtspr   982,1
    {load}   0
    mfsrr1  3
    mtcrf   0x80,3
    rfi
"""
MISSES: Final = {
    0x1000: _LOAD.format(miss=980, place=1, low=0x102, load="tlbli"),
    0x1100: _LOAD.format(miss=976, place=2, low=0x102, load="tlbld"),
    0x1200: _LOAD.format(miss=976, place=2, low=0x182, load="tlbld"),
}


@lru_cache(maxsize=2)
def vectors(cpu: str = "750") -> dict[int, bytes]:
    texts = VECTORS | (MISSES if cpu == "603e" else {})
    return {at: assemble(text, at) for at, text in texts.items()}


@lru_cache(maxsize=2)
def rows(cpu: str = "750") -> tuple[Insn, ...]:
    return tuple(Decoder(find(cpu).architecture).rows)


#: Rows that change what is translated or enabled: seldom drawn.
RARE: Final = (
    "mtmsr", "rfi", "mtspr_sdr1", "mtspr_hid0", "mtspr_dec", "mtspr_tbl", "mtspr_tbu", "sc",
    "mtspr_iabr", "mtspr_dabr", "tlbie", "mtsr", "mtsrin", "mtmsr_603e", "rfi_603e",
    "tlbie_603e", "tlbld", "tlbli",
    "mtmsrd", "mtmsr_64", "rfid", "slbmte", "slbie", "slbia",
)  # fmt: skip


def is_rare(row: Insn) -> bool:
    return row.name in RARE or "bat" in row.name or row.name.endswith("undefined")


def word_of(row: Insn, rng: random.Random) -> int:
    """A word of `row` with random fields; displacements and branches stay near."""
    word = rng.getrandbits(32) & ~row.mask | row.match
    form = row.form.__name__
    if form == "I":
        word = row.match | (rng.randrange(-24, 24) * 4 & 0x03FF_FFFC) | rng.getrandbits(1)
        if rng.random() < 0.02:
            word |= 2
    elif form == "B":
        bo = rng.choice((4, 12, 16, 18, 20, 20, 0, 2, 8, 10, rng.getrandbits(5)))
        word = row.match | bo << 21 | rng.getrandbits(5) << 16
        word |= rng.randrange(-16, 24) * 4 & 0xFFFC | (rng.random() < 0.2)
    elif form == "D" and 32 <= row.match >> 26 <= 55:
        near = rng.choice((rng.randrange(-40, 40), rng.getrandbits(16)))
        word = word & 0xFFFF_0000 | near & 0xFFFF
        if rng.random() < 0.8:  # a pointer register
            word = word & ~(31 << 16) | rng.randrange(16, 24) << 16
    elif form == "DS":
        near = rng.choice((rng.randrange(-20, 20), rng.getrandbits(14)))
        word = word & ~0xFFFC | near << 2 & 0xFFFC
        if rng.random() < 0.8:
            word = word & ~(31 << 16) | rng.randrange(16, 24) << 16
    elif row.match >> 26 == 31 and rng.random() < 0.6:
        word = word & ~(31 << 16) | rng.randrange(16, 24) << 16
        word = word & ~(31 << 11) | rng.randrange(24, 28) << 11
    if form in ("D", "DS", "X", "XO", "M", "XRc") and rng.random() < 0.7:
        # Results mostly go elsewhere than to the pointers.
        target = rng.choice((*range(16), *range(28, 32)))
        word = word & ~(31 << 21) | target << 21
    return word & ~row.mask | row.match


@lru_cache(maxsize=4)
def pool(seed: int, size: int, cpu: str = "750") -> tuple[int, ...]:
    """A pool of words: every row at least twice, the rare ones not more."""
    rng = random.Random(seed)
    out = [word_of(row, rng) for row in rows(cpu) for _ in range(2)]
    usual = [row for row in rows(cpu) if not is_rare(row)]
    plain = [row for row in usual if "spr" not in row.name and not row.needs]
    while len(out) < size:
        out.append(word_of(rng.choice(plain if rng.random() < 0.7 else usual), rng))
    return tuple(out)


def number(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(EDGES)
    if kind < 0.6:
        return rng.getrandbits(32) >> rng.randrange(32)
    return rng.getrandbits(32)


def double(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(DOUBLES)
    if kind < 0.8:
        return rng.getrandbits(1) << 63 | rng.randrange(1000, 1047) << 52 | rng.getrandbits(52)
    return rng.getrandbits(64)


# --- translation ----------------------------------------------------------------------------------


class PageTable:
    """A hashed page table in a bytearray of 64 KiB."""

    def __init__(self) -> None:
        self.data = bytearray(0x1_0000)

    def add(
        self, vsid: int, page: int, ra: int, low: int, *, secondary: bool = False, slot: int = 0
    ) -> None:
        """Map page index `page` (16 bits) of segment `vsid`; `low` has R, C, WIMG, PP."""
        hashed = (vsid & 0x7_FFFF) ^ page
        if secondary:
            hashed ^= 0x7_FFFF
        group = (hashed & 0x3FF) * 64
        for n in range(8):
            at = group + (n + slot) % 8 * 8
            if not self.data[at] & 0x80:
                high = 0x8000_0000 | vsid << 7 | secondary << 6 | page >> 10
                self.data[at : at + 4] = high.to_bytes(4, "big")
                self.data[at + 4 : at + 8] = (ra & 0xFFFF_F000 | low).to_bytes(4, "big")
                return


#: Effective pages that programs use when translation is on, by segment.
DATA_PAGES: Final = tuple(0x3000_0000 + n * 0x1000 for n in range(10))


def make_table(rng: random.Random, segments: list[int]) -> PageTable:
    table = PageTable()

    def add(ea: int, ra: int, low: int) -> None:
        vsid = segments[ea >> 28] & 0xFF_FFFF
        secondary = rng.random() < 0.3
        table.add(vsid, ea >> 12 & 0xFFFF, ra, low, secondary=secondary, slot=rng.randrange(8))

    for n in range(CODE_PAGES + 1):
        low = rng.choice((2, 2, 2, 3, 1, 0x102, 0x182, 0x01A, 0x00A if rng.random() < 0.1 else 2))
        add(CODE + n * 0x1000, CODE + n * 0x1000, low)
    for ea in DATA_PAGES:
        if rng.random() < 0.1:
            continue
        ra = rng.choice((DATA, DATA + 0x1000, DATA + 0x2000, CODE, CODE + 0x1000, TABLE, ROM_BASE))
        if rng.random() < 0.15:
            ra = IO_BASE
        wimg = rng.choice((0, 0, 0, 2, 4, 8, 3, rng.getrandbits(4)))
        add(ea, ra, rng.getrandbits(2) | wimg << 3 | rng.choice((0, 0x80, 0x100, 0x180)))
    return table


def set_translation(rig: Rig, rng: random.Random) -> int:
    """BATs, segments and a page table; MSR bits to turn on."""
    segments = [
        rng.choice((0, 0x2000_0000, 0x4000_0000, 0x6000_0000)) | n * 0x111 for n in range(16)
    ]
    if rng.random() < 0.2:
        segments[rng.randrange(16)] |= rng.choice((0x8000_0000, 0x1000_0000))
    for n, value in enumerate(segments):
        rig.block.set("sr", value, n)
    rig.write(TABLE, bytes(make_table(rng, segments).data))
    rig.block.set("sdr1", TABLE)
    for file in ("ibat", "dbat"):
        for n in range(4):
            if rng.random() < 0.5:
                ea = rng.choice((0, 0x3000_0000, 0xF000_0000, 0x4000_0000))
                ra = rng.choice((0, 0, 0xFFF0_0000, 0xF000_0000))
                rig.block.set(file, ea | rng.choice((0, 1, 3)) << 2 | rng.randrange(4), 2 * n)
                wimg = rng.choice((0, 0, 2, 8, 4)) if file == "dbat" else rng.choice((0, 0, 2))
                rig.block.set(file, ra | wimg << 3 | rng.choice((1, 2, 2, 2, 0)), 2 * n + 1)
    msr = rng.choice((MSR_IR | MSR_DR, MSR_IR | MSR_DR, MSR_DR, MSR_IR))
    return msr | (MSR_PR if rng.random() < 0.3 else 0)


# --- the whole ------------------------------------------------------------------------------------


def set_up(rig: Rig, seed: int, *, translated: bool, words: tuple[int, ...]) -> None:
    """Fill a fresh rig: vectors, code, data, registers, decrementer, all from `seed`."""
    rng = random.Random(seed)
    cpu = rig.cpu.model.name
    for at, code in vectors(cpu).items():
        rig.write(at, code)
        rig.write(ROM_BASE + at, code)
    count = CODE_PAGES * 1024
    rig.words(CODE, *(rng.choice(words) for _ in range(count)))
    rig.write(DATA, rng.randbytes(0x3000))
    rig.words(ROM_BASE + 0x3000, *(rng.choice(words) for _ in range(64)))
    for n in range(32):
        rig.block.set("gpr", number(rng), n)
        rig.block.set("fpr", double(rng), n)
        if rig.cpu.model.name == "7400":
            rig.block.set("vr", rng.choice((rng.getrandbits(128), number(rng) * 0x1_0001_0001)), n)
    places = (
        DATA + 0x800,
        DATA + 0xFFC,
        DATA + 0x1FF8,
        CODE + 0x40,
        IO_BASE + 0x20,
        ROM_BASE + 0x3000,
    )
    if translated and rng.random() < 0.8:
        places = (
            tuple(rng.choice(DATA_PAGES) + o for o in (0, 0xFFC, 0xFF3, 0x800)) * 2 + places[:3]
        )
    for n in range(16, 24):
        rig.block.set("gpr", rng.choice(places) + rng.choice((0, 0, 1, 2, 3)), n)
    for n in range(24, 28):
        rig.block.set("gpr", rng.choice((0, 4, 8, 0xFFFF_FFFC, 3, 0x1000)), n)
    msr = MSR_ME | rng.choice((0, MSR_FP, MSR_FP, MSR_FP | MSR_FE0, MSR_FP | MSR_FE1))
    if rng.random() < 0.8:
        msr |= MSR_EE
    if rng.random() < 0.1:
        msr |= rng.choice((MSR_SE, MSR_BE))
    if rng.random() < 0.2:
        msr |= 0x40  # IP: vectors in ROM
    if rig.cpu.model.name == "7400" and rng.random() < 0.9:
        msr |= MSR_VEC
        rig.block.set("vscr", rng.choice((0, 0x1_0000, 1)))
    if translated:
        msr |= set_translation(rig, rng)
    for name in ("lr", "ctr"):
        rig.block.set(name, rng.choice((CODE + rng.getrandbits(11) * 4, number(rng))))
    rig.block.cr, rig.block.xer = rng.getrandbits(32), rng.getrandbits(32) & 0xE000_007F
    rig.block.set("fpscr", rng.choice((0, 0, 0, 1, 2, 3, 0xF8, 4, rng.getrandbits(8))))
    if rng.random() < 0.15 and cpu != "603e":  # data and instruction breakpoints
        rig.block.set(
            "dabr", (rng.choice(places) & ~7) + rng.choice((0, 0, 8)) | rng.getrandbits(3)
        )
    if rng.random() < 0.1:
        rig.block.set("iabr", CODE + rng.getrandbits(10) * 4 | rng.getrandbits(2))
    start = CODE + rng.choice((0, 0, 0xFC0, 0x800))
    rig.block.set("sprg", start, 3)
    rig.set(nia=start, msr=msr)
    rig.cpu.set_decrementer(rng.choice((3, 11, 40, 1 << 31, 0xFFFF_FFFF)))
    rig.device.alarm.set(rng.randrange(400))
