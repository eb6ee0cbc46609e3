"""Regions of 64-bit models where they differ from those of 32 bits: each beside tier 0."""

from __future__ import annotations

import random
from typing import Final

import pytest

from gossamer.engine.regions.regions import Regions
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble
from tests.engine.programs_64 import CPU, EDGES, MSR_SF, ONES, turned
from tests.engine.rig import Rig, difference

CODE: Final = 0x1_0000
MSR_FP: Final = 1 << 13
LITTLE: Final = "power8_v2.0"


def rig(text: str, cpu: str = CPU, *, little: bool = False, msr: int = MSR_SF, **regs: int) -> Rig:
    made = Rig(Tier0, cpu=cpu)
    code = assemble(text, CODE)
    made.write(CODE, turned(code) if little else code)
    made.write(0, random.Random(1).randbytes(0x4000))
    made.set(nia=CODE, msr=msr | MSR_FP | little, **regs)
    return made


def with_region(made: Rig) -> Regions:
    """A region at the program's start once it has run a little."""
    assert isinstance(made.engine, Tier0)
    regions = Regions(
        made.engine, made.cpu.model.architecture, blocks=False, threshold=1 << 30, pause=0
    )
    made.run(200)
    assert regions.make(CODE)
    return regions


def agree(text: str, *parts: int, cpu: str = CPU, little: bool = False, **regs: int) -> int:
    """Run a program with a region and without; instructions that the region executed."""
    a, b = (rig(text, cpu, little=little, **regs) for _ in range(2))
    regions = with_region(a)
    b.run(200)
    for count in parts or (5000, 1501, 4003):
        a.run(count)
        b.run(count)
        assert not (d := difference(a, b)), d
    return regions.executed()


#: Each round compares two numbers in four ways; CR is read behind another branch.
COMPARES: Final = """
1:  ldx     5,3,4
    ldx     6,3,7
    cmp     cr1,1,5,6
    cmpl    cr2,1,5,6
    cmpw    cr3,5,6
    cmplw   cr4,5,6
    andi.   8,4,8
    beq     2f
    mfcr    9
    xor     10,10,9
    rldicl  10,10,7,0
2:  bgt     cr2,3f
    addi    10,10,1
3:  add.    11,5,6
    blt     4f
    addi    10,10,3
4:  addi    4,4,8
    addi    7,7,24
    rldicl  4,4,0,53
    rldicl  7,7,0,53
    b       1b
"""


def test_compares_are_of_words_and_of_their_halves() -> None:
    rng = random.Random(2)
    numbers = b"".join(rng.choice(EDGES).to_bytes(8, "big") for _ in range(256))

    def made() -> Rig:
        one = rig(COMPARES, r3=0x4000, r4=0, r7=8)
        one.write(0x4000, numbers)
        return one

    a, b = made(), made()
    regions = with_region(a)
    b.run(200)
    for count in (4000, 4001, 4007, 4011, 4019):
        a.run(count)
        b.run(count)
        assert not (d := difference(a, b)), d
    assert regions.executed() > 10_000


@pytest.mark.parametrize("start", [0xFE0, 0xFE3, 0x1FDC, ONES - 40])
@pytest.mark.parametrize("access", ["ld 5,0(3)", "lhz 5,1(3)", "lwz 5,2(3)", "lbz 5,-1(3)"])
def test_a_known_page_ends_where_it_does(start: int, access: str) -> None:
    """Aligned or not, across the end of a page and of all addresses; page 0 is one like others."""
    text = f"""
    0:  mr 3,9
    1:  {access}; add 4,4,5; std 4,0(8); addi 3,3,3; cmpl cr0,1,3,7; bne 1b
        b 0b
    """
    registers = {"r7": start + 3 * 24 & ONES, "r8": 0x5000, "r9": start}
    assert agree(text, **registers) > 40


def test_accesses_that_share_a_look_lie_in_one_page() -> None:
    text = "1: ld 4,0(3); ld 5,8(3); std 5,0(3); stw 4,12(3); addi 3,3,20; andi. 3,3,0x3fff; b 1b"
    assert agree(text, r3=0xF00) > 5000


def test_32_bit_mode_folds_into_its_own_region() -> None:
    """Addresses, CR0, CTR and carries; the same code in the other mode goes on in tier 0."""
    text = """
    1:  lwzu 4,4(3); addc. 5,5,4; adde 6,6,5; bdz 2f; rlwinm 3,3,0,19,31; b 1b
    2:  mtctr 9; b 1b
    """
    high = 0xFFFF_FFFF << 32
    given = {"r3": high | 0x1000, "r5": high, "r9": high | 5, "ctr": high | 3}
    assert agree(text, msr=0, **given) > 5000
    a, b = (rig(text, msr=0, **given) for _ in range(2))
    regions = with_region(a)
    b.run(200)
    for one in (a, b):
        one.set(msr=MSR_SF | MSR_FP, r3=0x1000)
    before = regions.executed()
    a.run(2000)
    b.run(2000)
    assert not (d := difference(a, b)), d
    assert regions.executed() == before


def test_floats_clear_the_low_half_of_their_register() -> None:
    text = "1: fadd 1,1,2; fmul 3,1,2; stfd 3,0(8); lfd 4,8(8); addi 4,4,1; b 1b"
    given = {f"vsl{n}": 0x1234 + n for n in range(8)}
    given |= {"fpscr": 0x0200_0000, "r8": 0x5000, "f1": 1 << 62, "f2": 0x3FF1_1111_1111_1111}
    assert agree(text, **given) > 5000


def test_a_region_is_of_the_order_of_bytes_of_its_page() -> None:
    text = """
    1:  lwz 4,0(3); lfd 1,8(3); std 4,16(3); stfd 1,24(3); lhbrx 5,0,3
        add 6,6,4; addi 3,3,4; rldicl 3,3,0,50; b 1b
    """
    assert agree(text, cpu=LITTLE, little=True, r3=0x20) > 5000
    assert agree(text, cpu=LITTLE, r3=0x20) > 5000


def test_a_page_that_is_turned_loses_its_regions() -> None:
    made = rig("1: addi 3,3,1; b 1b", LITTLE, little=True)
    regions = with_region(made)
    assert len(regions.installed) == 1
    made.write(CODE, assemble("1: addi 4,4,1; b 1b", CODE))
    made.set(nia=CODE, msr=MSR_SF)
    made.run(100)
    assert (made.get("r4"), len(regions.installed)) == (50, 0)
