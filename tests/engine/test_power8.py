"""What a POWER8 has beside numbers, on both engines: transactions, quadwords, barred facilities."""

from __future__ import annotations

import pytest

from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble

from .rig import Rig

CPU = "power8_v2.0"
SF, TM, PR, VEC = 1 << 63, 1 << 32, 0x4000, 1 << 25
FSCR_TAR = 0x100
BASE = 0x1_0000
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])


def started(engine: type, *words: int | str, msr: int = SF | TM, **registers: int) -> Rig:
    rig = Rig(engine, cpu=CPU)
    code = [assemble(w) if isinstance(w, str) else w.to_bytes(4, "big") for w in words]
    rig.write(BASE, b"".join(code))
    rig.set(nia=BASE, msr=msr, **registers)
    rig.run(len(words))
    return rig


TBEGIN = 0x7C00_051D


@ENGINES
def test_a_transaction_fails_at_once(engine: type) -> None:
    """Then mfspr of TFHAR, TFIAR and TEXASRU; tcheck 7."""
    moves = (0x7C60_22A6, 0x7C81_22A6, 0x7CA3_22A6)
    rig = started(engine, TBEGIN, *moves, 0x7F80_059C, msr=SF | TM)
    assert [rig.get(f"r{n}") for n in (3, 4, 5)] == [BASE + 4, BASE, 0x0140_0000]
    assert rig.block.get("tm", 2) == 0x0140_0000_0C00_0000
    assert (rig.block.get("crf", 0), rig.block.get("crf", 7)) == (0xB, 8)
    outside = started(engine, 0x7C00_055D, msr=SF | TM, cr=0xFFFF_FFFF)  # tend.
    assert outside.block.cr == 0x0FFF_FFFF


@ENGINES
@pytest.mark.parametrize(
    ("word", "cause"),
    [(TBEGIN, 5), (0x7C00_07DD, 5), (0x7C61_22A6, 5), (0x7C6F_CAA6, 8), (0x7C6F_CBA6, 8)],
)
def test_a_barred_facility_is_an_interrupt(engine: type, word: int, cause: int) -> None:
    """tbegin., trechkpt., mfspr of TFIAR, moves of TAR; FSCR says which, and nothing is done."""
    msr = SF | (PR if cause == 8 else 0)  # TAR is barred from programs alone
    rig = started(engine, word, msr=msr, fscr=7 << 56 | 1, r3=77, tar=5)
    assert (rig.get("nia"), rig.get("srr0"), rig.get("fscr")) == (0xF60, BASE, cause << 56 | 1)
    assert (rig.get("srr1"), rig.get("tar"), rig.block.cr) == (msr, 5, 0)
    assert rig.block.all("tm") == [0, 0, 0]
    if not word & 0x100:
        assert rig.get("r3") == 77


@ENGINES
def test_a_quadword_is_stored_where_its_reservation_is(engine: type) -> None:
    """lqarx 6,0,4; stqcx. 8,0,4; stqcx. 8,0,4; stq 6,16(4)."""
    words = (0x7CC0_2228, 0x7D00_216D, 0x7D00_216D, 0xF8C4_0012)
    rig = started(engine, *words[:2], r4=0x2000, r8=1, r9=2)
    assert rig.memory.read(0x2000, 16) == (1 << 64 | 2).to_bytes(16, "big")
    assert rig.block.get("crf", 0) == 2
    again = started(engine, words[0], words[1], words[2], words[3], r4=0x2000, r8=1 << 60, r9=3)
    assert again.block.get("crf", 0) == 0
    assert again.memory.read(0x2000, 32) == (1 << 124 | 3).to_bytes(16, "big") + bytes(16)


@ENGINES
def test_branches_to_tar_and_back_from_an_event(engine: type) -> None:
    rig = started(engine, 0x4E80_0461, tar=0x3003)  # bctarl
    assert (rig.get("nia"), rig.get("lr")) == (0x3000, BASE + 4)
    rig = started(engine, 0x4C00_0924)  # rfebb 1
    assert (rig.get("nia"), rig.block.get("ebb", 2)) == (0, 1 << 63)


@ENGINES
def test_the_hypervisors_instructions_are_privileged(engine: type) -> None:
    for word in (0x4C00_0324, 0x7C64_2EAA, 0x7C00_019C):  # doze, lbzcix, msgsnd
        rig = started(engine, word, msr=SF)
        assert (rig.get("nia"), rig.get("srr1")) == (0x700, SF | 0x4_0000)


@ENGINES
def test_packed_decimals_add_up(engine: type) -> None:
    """bcdadd. 1,2,3,1 and bcdsub. 4,2,3,0: -17 + 20, -17 - 20."""
    rig = Rig(engine, cpu=CPU)
    rig.words(BASE, 0x1022_1E01, 0x1082_1C41)
    rig.set(nia=BASE, msr=SF | VEC)
    rig.block.set("vr", 0x17D, 2)
    rig.block.set("vr", 0x20C, 3)
    rig.engine.flush()
    rig.run(1)
    assert (rig.block.get("vr", 1), rig.block.get("crf", 6)) == (0x3F, 4)
    rig.run(1)
    assert (rig.block.get("vr", 4), rig.block.get("crf", 6)) == (0x37D, 8)
