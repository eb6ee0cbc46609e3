"""Banks by what the SLB holds: whatever entries come and go, every access finds what it should."""

from __future__ import annotations

import random

import pytest

from gossamer.core.htab import HashTable
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.architecture import MSR_SF

from .programs_64 import CPU
from .rig import Rig, difference

CODE, PAGES = 0x1_0000, 0x2_0000
VALID = 1 << 27
DR, IR, PR = 0x10, 0x20, 0x4000
SLBMTE, SLBIE, SLBIA = 0x7C60_2324, 0x7C00_2364, 0x7C00_03E4  # RS 3, RB 4
LD, STD = 0xE8A6_0008, 0xF8A6_0010  # r5, 8(r6) and 16(r6)
WORDS = (SLBMTE, SLBIE, SLBIA, LD, STD)
#: Where each is: writing a word between two steps would forget translations.
AT = {word: CODE + 4 * n for n, word in enumerate(WORDS)}
#: Low and high segments of 256 MiB, the VSIDs that they may have, pages of each.
SEGMENTS = [n << 28 for n in (0, 1, 2)] + [0xC << 60 | n << 28 for n in (0, 1)]
VSIDS = range(5, 11)
OFFSETS = (0x1000, 0x41000)


def rigs() -> list[Rig]:
    """The same table and pages for both engines: each page says which it is."""
    made = [Rig(kind, cpu=CPU) for kind in (Tier0, Reference)]
    for rig in made:
        table = rig.memory.hash_table
        assert isinstance(table, HashTable)
        for k, (vsid, offset) in enumerate((v, o) for v in VSIDS for o in OFFSETS):
            group = (vsid ^ offset >> 12) % (table.count // 8)
            n = table.free(group)
            ra = PAGES + 0x1000 * k
            table.write(n, vsid << 12 | offset >> 16 & ~0x7F | 1, ra | 0x12)
            rig.words(ra, 0x3860_0000 | k, 0x6000_0000, 0, k + 1)
        rig.words(CODE, *WORDS)
    return made


def do(rig: Rig, word: int, registers: dict[str, int]) -> None:
    """One instruction; nothing is forgotten before it, as `Rig.set` would."""
    for name, value in {"nia": AT.get(word, 0), **registers}.items():
        if name in ("nia", "msr"):
            rig.block.set(name, value)
        else:
            rig.block.set("gpr", value, int(name[1:]))
    rig.run(1)


def steps(rng: random.Random, count: int) -> list[tuple[int, dict[str, int]]]:
    """Instructions (0: a fetch from where NIA is) and the registers before them."""
    out = []
    for _ in range(count):
        segment, user = rng.choice(SEGMENTS), rng.random() < 0.4
        slot = SEGMENTS.index(segment) if rng.random() < 0.95 else rng.choice((0, 2, 40, 63))
        what = rng.random()
        msr = MSR_SF | (PR if user else 0)
        at = segment | rng.choice(OFFSETS)
        if what < 0.2:
            vsid = rng.choice(VSIDS) << 12
            out.append((SLBMTE, {"msr": MSR_SF, "r3": vsid, "r4": segment | VALID | slot}))
        elif what < 0.3:
            out.append((SLBIE, {"msr": MSR_SF, "r4": segment}))
        elif what < 0.32:
            out.append((SLBIA, {"msr": MSR_SF}))
        elif what < 0.45:
            out.append((0, {"msr": msr | IR, "nia": at}))
        else:
            store = rng.random() < 0.3
            out.append((STD if store else LD, {"msr": msr | DR, "r6": at, "r5": 0}))
    return out


@pytest.mark.parametrize("seed", range(2))
def test_entries_that_come_and_go(seed: int) -> None:
    both = rigs()
    hits = 0
    for n, (word, registers) in enumerate(steps(random.Random(seed), 250)):
        for rig in both:
            do(rig, word, registers)
        assert not (d := difference(*both)), (n, hex(word), registers, d)
        hits += word == LD and both[0].get("nia") == AT[LD] + 4
    assert hits > 20


def test_two_entries_for_one_address() -> None:
    """The first of them counts, also after it went or came."""
    both = rigs()
    high = SEGMENTS[-1]
    for slot, vsid in ((3, 5), (2, 6), (3, 7), (2, 0), (1, 8)):
        registers = {"r3": vsid << 12, "r4": high | (VALID if vsid else 0) | slot}
        for rig in both:
            for word, extra in ((SLBMTE, 0), (LD, DR)):
                do(rig, word, {"msr": MSR_SF | extra, "r6": high | OFFSETS[0], **registers})
        assert not (d := difference(*both)), (slot, vsid, d)
        assert both[0].get("nia") == AT[LD] + 4


def test_a_users_lines_for_high_addresses_go_with_their_segment() -> None:
    both = rigs()
    high, low = SEGMENTS[-1], SEGMENTS[1]
    script = [
        (SLBMTE, 0, {"r3": 5 << 12, "r4": high | VALID | 1}),
        (SLBMTE, 0, {"r3": 6 << 12, "r4": low | VALID | 2}),
        *[
            (LD, PR | DR, {"r6": segment | OFFSETS[segment == low]})
            for segment in (high, low, high)
        ],
        (SLBMTE, 0, {"r3": 7 << 12, "r4": high | VALID | 1}),
        *[
            (LD, PR | DR, {"r6": segment | OFFSETS[segment == low]})
            for segment in (high, low, high)
        ],
        (SLBIE, 0, {"r4": high}),
        *[(LD, PR | DR, {"r6": segment | OFFSETS[segment == low]}) for segment in (low, high)],
    ]
    for n, (word, msr, registers) in enumerate(script):
        for rig in both:
            do(rig, word, {"msr": MSR_SF | msr, **registers})
        assert not (d := difference(*both)), (n, hex(word), registers, d)
    assert both[0].get("nia") == 0x380
