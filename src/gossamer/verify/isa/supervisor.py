"""Vectors for what only a supervisor can run or see: registers, MSR, rfi, interrupts.

A register is written by the prefix and read back by the instruction, so a vector tests both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

from gossamer.isa.spec.parts import SOFTWARE_SEARCH, has
from gossamer.isa.spec.spr import SPRS
from gossamer.isa.spec.spr_moves import row_name
from gossamer.isa.text import assemble
from gossamer.verify.isa.record import PAD_COUNT, PAD_SIZE, PADS, SIZE, WINDOW, WINDOW_EA, Record
from gossamer.verify.isa.vectors import WORDS

#: MSR bits that do not take the program out of the comparison's hands.
SAFE_MSR: Final = 0x0000_3906  # FP ME FE0 FE1 PM RI
TGPR: Final = 0x0002_0000
#: A read-only name of a register that has another number.
MIRRORS: Final = {
    936: 952, 937: 953, 938: 954, 939: 955, 940: 956, 941: 957, 942: 958, 928: 944, 935: 951,
    929: 945, 930: 946, 260: 276, 261: 277, 262: 278, 263: 279,
}  # fmt: skip
#: DEC and TB move by themselves; THRM1 and THRM2 depend on THRM3.
MOVING: Final = (22, 268, 269, 284, 285, 1020, 1021)

Case = tuple[str, Record]  # name of the instruction under test


def word(text: str) -> int:
    return int.from_bytes(assemble(text), "big")


def fresh(rng: random.Random, text: str, prefix: str = "nop") -> Record:
    """A record with random registers; r3 is the one that prefixes write from."""
    r = Record(word(text), word(prefix))
    r.gpr = [rng.choice(WORDS) if rng.random() < 0.5 else rng.getrandbits(32) for _ in range(32)]
    r.xer, r.cr = rng.getrandbits(3) << 29, rng.getrandbits(32)
    r.memory = rng.randbytes(SIZE - WINDOW)
    return r


def sprs(rng: random.Random, features: frozenset[str]) -> Iterator[Case]:
    for spr in SPRS:
        if not has(features, spr.features) or spr.number in MOVING:
            continue
        number = MIRRORS.get(spr.number, spr.number)
        prefix = f"mtspr {number},3" if spr.write or number != spr.number else "nop"
        if spr.read:
            yield row_name("mfspr", spr), fresh(rng, f"mfspr 4,{spr.number}", prefix)


def registers(rng: random.Random) -> Iterator[Case]:
    n = rng.randrange(16)
    yield "mfsr", fresh(rng, f"mfsr 4,{n}", f"mtsr {n},3")
    r = fresh(rng, f"mfsr 4,{n}", "mtsrin 3,5")
    r.gpr[5] = n << 28 | r.gpr[5] & 0x0FFF_FFFF
    yield "mtsrin", r
    r = fresh(rng, "mfsrin 4,5", f"mtsr {n},3")
    r.gpr[5] = n << 28 | r.gpr[5] & 0x0FFF_FFFF
    yield "mfsrin", r
    yield "mfmsr", fresh(rng, "mfmsr 4")
    r = fresh(rng, "mtmsr 3")
    r.gpr[3] &= SAFE_MSR
    yield "mtmsr", r
    r = fresh(rng, "rfi")
    r.srr0 = PADS + PAD_SIZE * rng.randrange(PAD_COUNT) | rng.getrandbits(2)
    r.srr1 = rng.getrandbits(32) & (SAFE_MSR | 0x7801_0000)
    yield "rfi", r


def nothing(rng: random.Random) -> Iterator[Case]:
    for text in ("tlbie 3", "tlbsync", "sync", "isync", "eieio", "dcbi 0,3", "icbi 0,3"):
        r = fresh(rng, text)
        r.gpr[3] = WINDOW_EA + rng.randrange(256)
        yield text.split()[0], r


def searching(rng: random.Random, features: frozenset[str]) -> Iterator[Case]:
    """The two that load TLB entries, and MSR[TGPR] set and cleared, where there are such.

    It is cleared in the end: the runner on the peer needs its registers.
    """
    if not has(features, SOFTWARE_SEARCH):
        return
    for text in ("tlbld 3", "tlbli 3"):
        r = fresh(rng, text, "mtsrr1 5")
        yield text.split()[0], r
    r = fresh(rng, "mtmsr 4", "mtmsr 3")
    r.gpr[3], r.gpr[4] = r.gpr[3] & SAFE_MSR | TGPR, r.gpr[4] & SAFE_MSR
    yield "mtmsr", r
    r = fresh(rng, "rfi", "mtmsr 3")
    r.gpr[3] = r.gpr[3] & SAFE_MSR | TGPR
    r.srr0 = PADS + PAD_SIZE * rng.randrange(PAD_COUNT)
    r.srr1 = rng.getrandbits(32) & (SAFE_MSR | 0x7803_0000)
    yield "rfi", r


def undefined(rng: random.Random, features: frozenset[str]) -> Iterator[Case]:
    """An SPR number that the model has not, though another may."""
    known = {s.number for s in SPRS if has(features, s.features)}
    number = rng.choice([n for n in range(1024) if n not in known])
    yield "mfspr_undefined", fresh(rng, f"mfspr 4,{number}")
    yield "mtspr_undefined", fresh(rng, f"mtspr {number},4")


def interrupts(rng: random.Random) -> Iterator[Case]:
    yield "sc", fresh(rng, "sc")
    yield "tw", fresh(rng, "trap")
    yield "twi", fresh(rng, f"twi {rng.randrange(32)},3,{rng.randrange(-9, 9)}")
    yield "tw", fresh(rng, f"tw {rng.randrange(32)},3,4")
    for text in ("lwarx 4,0,3", "stwcx. 4,0,3"):
        r = fresh(rng, text)
        r.gpr[3] = WINDOW_EA + 1 + rng.randrange(3)
        yield text.split()[0], r


SOURCES: Final[tuple[Callable[[random.Random], Iterator[Case]], ...]] = (
    registers,
    nothing,
    interrupts,
)


def cases(count: int, seed: int, features: frozenset[str] = frozenset()) -> Iterator[Case]:
    """`count` rounds over everything that a model with these features has."""
    for n in range(count):
        rng = random.Random(f"supervisor {seed} {n}")  # noqa: S311 (not a secret)
        yield from sprs(rng, features)
        yield from undefined(rng, features)
        yield from searching(rng, features)
        for source in SOURCES:
            yield from source(rng)
