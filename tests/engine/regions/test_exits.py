"""Every way out of a region: the state is tier 0's, FPSCR, CR and XER among it."""

from __future__ import annotations

import random
from typing import Final

import pytest

from gossamer.cpu.breakpoints import watches_data
from gossamer.engine.tier0 import Tier0
from gossamer.isa.spec.table import Decoder
from gossamer.isa.text import assemble
from tests.engine.programs import DATA, DOUBLES, MSR_FP, MSR_VEC, TABLE, PageTable, vectors
from tests.engine.regions.rigs import Eager, regions_of, run_both
from tests.engine.rig import IO_BASE, Rig, difference

CODE: Final = 0x1_0000
FAR: Final = 0x1_1000
XX: Final = 0x0200_0000
ONE_THIRD: Final = 0x3FD5_5555_5555_5555
EA: Final = 0x3000_0000
DR: Final = 0x10

#: Compares, carries, overflows and roundings are all under way when the odd instruction comes; what
#: tier 0 found of them then is folded into r14.
LOOP: Final = """
1:  addi    3,3,1
    cmpw    cr5,3,7
    addco.  10,10,11
    fmul    1,1,2
    subfe   12,10,3
    fadd    3,1,4
    cmplw   cr3,10,11
    fcmpu   cr6,3,4
    andi.   6,3,15
    bne     2f
    {odd}
    mfcr    17
    xor     14,14,17
    mfxer   17
    add     14,14,17
    mffs    30
    stfd    30,64(21)
    lwz     17,68(21)
    xor     14,14,17
    rlwinm  14,14,7,0,31
2:  fdiv    5,3,2
    srawi   13,10,3
    bl      3f
    b       1b
3:  cmpwi   cr1,12,0
    xor     14,14,12
    blr
"""

#: What leaves for tier 0 in each sixteenth round.
ODD: Final = {
    "device load": "lwz 8,4(20)",
    "device store": "stw 3,8(20)",
    "load across pages": "lwz 8,4094(21)",
    "store across pages": "stw 10,4094(21)",
    "store into code": "stw 14,512(22)",
    "multiple load": "lmw 25,8(21)",
    "multiple load across pages": "lmw 25,4090(21)",
    "multiple store": "stmw 25,8(21)",
    "alignment": "lwarx 8,0,23",
    "reservation": "lwarx 8,0,21; stwcx. 3,0,21",
    "string": "lswi 8,21,11; stswi 8,21,7",
    "trap": "twi 4,3,0",
    "system call": "sc",
    "illegal": ".long 0",
    "status": "mffs 7",
    "rounding mode": "mtfsfi 7,1; mtfsfi 7,0",
    "record": "fadd. 7,1,3",
    "not a number": "fadd 7,1,24",
    "signalling": "fmul 7,25,1",
    "infinity": "fadd 7,26,1",
    "division by zero": "fdiv 7,1,27",
    "denormal": "fmul 7,28,28",
    "overflow": "fmul 7,29,29",
    "single denormal": "fmuls 7,28,1",
    "single overflow": "fadds 7,29,1",
    "compare of none": "fcmpu cr2,24,1",
    "ordered compare": "fcmpo cr2,24,1",
    "conversion out of range": "fctiwz 7,29",
    "conversion": "fctiwz 7,3; fctiw 8,3",
    "single": "frsp 7,3; fsubs 8,7,3",
    "estimate": "fres 7,3; frsqrte 8,3",
    "zero": "fsub 7,1,1; fmul 8,27,1",
    "fused": "fmadd 7,1,2,3; fnmsub 8,1,2,3; fmsubs 9,1,2,3",
    "store of single": "stfs 1,8(21); lfs 9,8(21); stfd 3,16(21); lfd 8,16(21)",
    "odd singles": "stfs 24,8(21); lfs 9,8(21); stfsu 28,4(21); addi 21,21,-4; lfsx 9,21,0",
    "time": "mftb 8; mfdec 9",
    "decrementer": "mtdec 3",
    "xer": "mfxer 8; mtxer 8; mcrxr cr4",
    "cr": "mfcr 8; mtcrf 255,8; crxor 31,20,3; isync",
    "machine state": "mfmsr 8; mtmsr 8",
    "segment": "mfsr 8,5; mtsr 5,8",
    "far": "mtctr 24; bctrl",
    "cache": "dcbst 0,21; dcbf 0,21; icbi 0,22; dcbz 0,21",
    "shift": "slw 8,3,10; sraw. 9,10,3; srw 8,10,3; rlwnm. 8,3,10,3,29",
    "division": "divw 8,10,3; divwo. 9,10,11; divwu 8,10,27",
}


def rigs(odd: str, seed: int = 1, **registers: int) -> tuple[Rig, Rig]:
    rng = random.Random(seed)
    values = {f"r{n}": rng.getrandbits(32) for n in range(8, 16)}
    values |= {f"r{n}": rng.getrandbits(32) for n in range(25, 32)}
    values |= {f"f{n}": ONE_THIRD + rng.getrandbits(50) for n in range(24)}
    values |= dict(zip((f"f{n}" for n in range(24, 30)), DOUBLES_USED, strict=True))
    values |= {"r3": 0, "r20": IO_BASE, "r21": DATA, "r22": CODE, "r23": DATA + 2, "r24": FAR}
    values |= {"fpscr": XX, "f2": 0x3FF0_0001_2345_0000, "nia": CODE, "msr": MSR_FP}
    data, made = rng.randbytes(0x2000), []
    for engine in (Eager, Tier0):
        rig = Rig(engine)
        for at, code in vectors().items():
            rig.write(at, code)
        rig.write(CODE, assemble(LOOP.format(odd=odd), CODE))
        rig.write(FAR, assemble("addi 15,15,3; add. 16,15,10; blr", FAR))
        rig.write(DATA, data)
        rig.set(**values | registers)
        made.append(rig)
    return made[0], made[1]


#: NaN, signalling NaN, infinity, zero, smallest, largest.
DOUBLES_USED: Final = (
    0x7FF8_0000_0000_0001,
    0x7FF0_0000_0000_0001,
    0x7FF0_0000_0000_0000,
    0,
    0x0010_0000_0000_0000,
    0x7FEF_FFFF_FFFF_FFFF,
)
assert set(DOUBLES_USED) <= set(DOUBLES)


def agree(
    a: Rig, b: Rig, heads: tuple[int, ...] = (CODE,), rounds: int = 8, least: int = 100
) -> None:
    """Both run on, with regions in one; equal after each of some odd counts.

    Regions must have executed `least` instructions a round.
    """
    rng = random.Random(2)
    for _ in range(rounds):
        n = rng.randrange(1500, 4000)
        run_both(a, b, n)
        for head in heads:
            regions_of(a).make(head)
    assert regions_of(a).executed() >= least * rounds, "the regions did not run"


@pytest.mark.parametrize("name", ODD)
def test_exit_leaves_the_state_of_tier_0(name: str) -> None:
    agree(*rigs(ODD[name]))


@pytest.mark.parametrize("fpscr", [0, 1, XX | 1, 8, XX | 8, XX | 0xF8, 4, XX | 4])
def test_every_floating_point_mode_gives_the_same(fpscr: int) -> None:
    # With a rounding mode or an enabled inexact exception all of it stays in tier 0.
    agree(*rigs(ODD["fused"], fpscr=fpscr), least=0 if fpscr & 11 else 100)


def test_floating_point_switched_off_is_noticed() -> None:
    agree(*rigs("nop", msr=0), rounds=4, least=0)


@pytest.mark.parametrize("name", ["machine state", "time", "device load", "segment"])
def test_user_mode_is_noticed(name: str) -> None:
    agree(*rigs(ODD[name], msr=MSR_FP | 0x4000), least=0)


def test_data_breakpoint_is_met() -> None:
    dabr = (DATA & ~7) | 3
    assert watches_data(dabr)
    a, b = rigs("stw 3,4(21); lwz 8,4(21)", dabr=dabr)
    agree(a, b)


def test_instruction_breakpoint_is_met() -> None:
    a, b = rigs("nop")
    for rig in (a, b):
        rig.run(2000)
    regions_of(a).make(CODE)
    for rig in (a, b):
        rig.run(2000)
        rig.set(iabr=CODE + 8 | 2)
        rig.run(500)
    assert not (d := difference(a, b)), d


# --- pages that move -----------------------------------------------------------------------------


def translated(*, code: bool = False) -> tuple[Rig, Rig]:
    """A loop that reads and writes two pages, data translated, fetches too where `code` says so."""
    text = """
1:  lwz     8,0(21)
    addi    8,8,1
    stw     8,4(21)
    lwzx    9,21,17
    add     10,10,9
    stw     10,8(18)
    bl      3f
    b       1b
3:  xor     14,14,10
    blr
"""
    a, b = rigs("nop", r21=EA, r17=0x1000, r18=EA + 0x1000, sdr1=TABLE, sr3=0x123, msr=DR)
    for rig in (a, b):
        table = PageTable()
        for n in range(2):
            table.add(0x123, EA >> 12 & 0xFFFF | n, DATA + 0x1000 * n, 2)
        rig.write(TABLE, bytes(table.data))
        rig.write(CODE, assemble(text, CODE))
        rig.engine.flush()
    return a, b


def slot(rig: Rig, page: int) -> int:
    group = TABLE + ((0x123 ^ (EA >> 12 & 0xFFFF | page)) & 0x3FF) * 64
    return next(at for at in range(group, group + 64, 8) if rig.word(at) >> 31)


#: Pages of data lie there, in this order: some are as far from their addresses as the one before.
MANY: Final = 0x4_0000
SCATTERED: Final = (0, 1, 4, 3, 2, 6, 7, 5)
#: Loops that go from page to page: by an index, by a base that steps, by what they load.
FROM_PAGE_TO_PAGE: Final = {
    "index": """
1:  lwzx    8,21,17
    xor     14,14,8
    stwx    14,21,18
    addi    17,17,1028
    rlwinm  17,17,0,17,29
    addi    18,18,2052
    rlwinm  18,18,0,17,29
    b       1b
""",
    "step": """
1:  addi    17,17,1024
    rlwinm  17,17,0,17,31
    add     17,17,21
    lwz     8,0(17)
    add     14,14,8
    stw     14,4(17)
    b       1b
""",
    "chain": """
1:  lwz     8,4(18)
    lwz     18,0(18)
    add     14,14,8
    stw     14,8(21)
    b       1b
""",
    "chain outside": """
1:  lwz     18,0(18)
    li      12,3
    mtctr   12
    mr      17,18
2:  lwzu    8,8(17)
    add     14,14,8
    stw     14,12(18)
    bdnz    2b
    b       1b
""",
}


@pytest.mark.parametrize("kind", FROM_PAGE_TO_PAGE)
def test_loops_go_from_page_to_page(kind: str) -> None:
    first = EA if kind == "step" else 0
    a, b = rigs("nop", r21=EA, r17=first, r18=EA, sdr1=TABLE, sr3=0x123, msr=DR)
    for rig in (a, b):
        table, rng = PageTable(), random.Random(3)
        for n, page in enumerate(SCATTERED):
            table.add(0x123, EA >> 12 & 0xFFFF | n, MANY + 0x1000 * page, 0x182)
            content = rng.randbytes(0x1000)
            if "chain" in kind:
                following = EA + (n + 1) % len(SCATTERED) * 0x1000
                content = following.to_bytes(4, "big") + content[4:]
            rig.write(MANY + 0x1000 * page, content)
        rig.write(TABLE, bytes(table.data))
        rig.write(CODE, assemble(FROM_PAGE_TO_PAGE[kind], CODE))
        rig.engine.flush()
    agree(a, b, rounds=4)


def test_data_pages_remapped_under_a_region() -> None:
    a, b = translated()
    for n in range(6):
        agree(a, b, rounds=2)
        for rig in (a, b):
            rig.words(slot(rig, n & 1) + 4, DATA + 0x1000 * (n % 3) | 2)
            rig.engine.flush()


def test_data_page_that_is_not_there_any_more_faults() -> None:
    a, b = translated()
    agree(a, b, rounds=2)
    for rig in (a, b):
        rig.words(slot(rig, 1), 0)
        rig.engine.flush()
        rig.run(3000)
    assert not (d := difference(a, b)), d
    assert a.get("dsisr") == 0x4000_0000


def test_r_and_c_bits_come_as_on_tier_0() -> None:
    a, b = translated()
    agree(a, b, rounds=2)
    for _ in range(4):
        for rig in (a, b):
            for page in (0, 1):
                rig.words(slot(rig, page) + 4, rig.word(slot(rig, page) + 4) & ~0x180)
            rig.run(1700)
        assert not (d := difference(a, b)), d
        for rig in (a, b):
            rig.engine.flush()
            rig.run(1700)
        assert not (d := difference(a, b)), d


@pytest.mark.parametrize("round_by", ["b 1b", "bctr"])
def test_code_page_remapped_under_a_region_of_two_pages(round_by: str) -> None:
    """The callee's page is mapped to one real page and another in turn, by the guest's tlbie.

    In a loop, whose pages are looked up first, and where an indirect branch goes round.
    """
    a, b = rigs("nop")
    text = f"""
1:  addi    3,3,1
    bl      {EA + 0x1000:#x}
    andi.   6,3,63
    beq     2f
    {round_by}
2:  xor     8,8,9
    stw     8,4(20)
    tlbie   22
    {round_by}
"""
    for rig in (a, b):
        table = PageTable()
        table.add(0x123, EA >> 12 & 0xFFFF, CODE, 2)
        table.add(0x123, EA >> 12 & 0xFFFF | 1, FAR, 2)
        rig.write(TABLE, bytes(table.data))
        rig.write(CODE, assemble(text, EA))
        rig.write(FAR, assemble("addi 4,4,1; blr", FAR))
        rig.write(FAR + 0x1000, assemble("addi 4,4,100; blr", FAR))
        at = slot(rig, 1)
        first, second = FAR | 2, FAR + 0x1000 | 2
        rig.set(nia=EA, msr=0x20, sdr1=TABLE, sr3=0x123, r20=at, r22=EA + 0x1000)
        rig.set(r8=first, r9=first ^ second, r3=0, r4=0, ctr=EA)
    agree(a, b, heads=(EA, EA + 0x1000), rounds=8)
    assert a.get("r4") > 10 * a.get("r3"), "the page did not move"


def test_vectors_go_through_regions() -> None:
    text = """
1:  addi    3,3,1
    vaddubm 1,1,2
    vperm   3,1,2,4
    vadduws 5,5,3
    vmaddfp 6,7,8,6
    stvx    3,0,21
    lvx     9,0,21
    vcmpequb. 10,9,3
    vmsumubm 11,1,2,11
    andi.   6,3,7
    bne     1b
    vsldoi  2,2,1,3
    mfvscr  12
    b       1b
"""
    rng = random.Random(3)
    made = [Rig(Eager, cpu="7400"), Rig(Tier0, cpu="7400")]
    values = [rng.getrandbits(128) for _ in range(32)]
    for rig in made:
        rig.write(CODE, assemble(text, CODE))
        for n, value in enumerate(values):
            rig.block.set("vr", value, n)
        rig.set(nia=CODE, msr=MSR_VEC, r21=DATA + 0x20)
    agree(made[0], made[1])


def test_vectors_compared_with_themselves_go_through_regions() -> None:
    names = [row.name for row in Decoder(("7400",)).rows if row.name.startswith("vcmp")]
    assert len(names) == 13
    for name in names:
        made = [Rig(Eager, cpu="7400"), Rig(Tier0, cpu="7400")]
        for rig in made:
            rig.write(CODE, assemble(f"1: {name}. 1,2,2\n mfcr 3\n add 4,4,3\n b 1b", CODE))
            rig.block.set("vr", 0x0123_4567_89AB_CDEF_8000_0000_7F80_0001, 2)
            rig.set(nia=CODE, msr=MSR_VEC)
        agree(made[0], made[1], rounds=2)
