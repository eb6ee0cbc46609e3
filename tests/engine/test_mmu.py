"""Translation as programs meet it: faults, R and C bits, modes, what a tlbie or mtsr leaves.

Source: MPC750UM chapter 5 and 4.5.3, 4.5.4.  Each case on both engines.
"""

from __future__ import annotations

import pytest

from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble

from .programs import TABLE, PageTable
from .rig import IO_BASE, Rig

CODE, DSI, ISI, ALIGNMENT = 0x1_0000, 0x300, 0x400, 0x600
EA, RA = 0x3000_0000, 0x2_0000
DR, PR = 0x10, 0x4000
R, C = 0x100, 0x80
NOT_FOUND, PROTECTED, STORE = 0x4000_0000, 0x0800_0000, 0x0200_0000
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])


def rig_with(
    engine: type, text: str, *pages: tuple[int, int, int], segment: int = 0x123, **registers: int
) -> Rig:
    """A program in real mode for fetches; `pages` are (ea, ra, low word bits) in segment 3."""
    rig = Rig(engine)
    table = PageTable()
    for ea, ra, low in pages:
        table.add(segment & 0xFF_FFFF, ea >> 12 & 0xFFFF, ra, low)
    rig.write(TABLE, bytes(table.data))
    rig.write(CODE, assemble(text, CODE))
    rig.set(**({"sdr1": TABLE, "sr3": segment, "msr": DR, "r4": EA} | registers))
    return rig


def low_word(rig: Rig, ea: int = EA, vsid: int = 0x123) -> int:
    """The second word of the entry of `ea`."""
    wanted = 0x8000_0000 | vsid << 7 | ea >> 22 & 0x3F
    group = TABLE + ((vsid ^ ea >> 12 & 0xFFFF) & 0x3FF) * 64
    for at in range(group, group + 64, 8):
        if rig.word(at) == wanted:
            return rig.word(at + 4)
    raise AssertionError("no entry")


@ENGINES
def test_r_is_set_by_a_load_and_c_by_a_store_only(engine: type) -> None:
    rig = rig_with(engine, "lwz 3,0(4); lwz 3,4(4); stw 3,0(4)", (EA, RA, 2))
    assert low_word(rig) & (R | C) == 0
    rig.run(1)
    assert low_word(rig) & (R | C) == R
    rig.run(1)
    assert low_word(rig) & (R | C) == R
    rig.run(1)
    assert low_word(rig) & (R | C) == R | C


@ENGINES
def test_store_refused_sets_r_but_not_c(engine: type) -> None:
    rig = rig_with(engine, "stw 3,8(4)", (EA, RA, 3))
    rig.run(1)
    assert [rig.get(r) for r in ("nia", "dsisr", "dar")] == [DSI, PROTECTED | STORE, EA + 8]
    assert low_word(rig) & C == 0


@ENGINES
@pytest.mark.parametrize(
    ("pp", "key", "reads", "writes"),
    [
        (0, 0, True, True), (1, 0, True, True), (2, 0, True, True), (3, 0, True, False),
        (0, 1, False, False), (1, 1, True, False), (2, 1, True, True), (3, 1, True, False),
    ],
)  # fmt: skip
def test_protection_by_key_and_pp(
    engine: type, pp: int, key: int, reads: bool, writes: bool
) -> None:
    """MPC750UM table 5-9; the key of supervisor (Ks) is segment bit 1."""
    segment = 0x123 | key << 30
    for text, allowed in (("lwz 3,0(4)", reads), ("stw 3,0(4)", writes)):
        rig = rig_with(engine, text, (EA, RA, pp | R | C), segment=segment)
        rig.run(1)
        assert (rig.get("nia") == CODE + 4) is allowed
        if not allowed:
            assert rig.get("dsisr") == PROTECTED | (STORE if "stw" in text else 0)


@ENGINES
def test_user_and_supervisor_see_different_rights_on_one_page(engine: type) -> None:
    """Kp set, Ks clear: what supervisor has touched is not the user's."""
    rig = rig_with(engine, "stw 3,0(4); b .-4", (EA, RA, 1), segment=0x123 | 1 << 29)
    rig.run(4)
    assert rig.get("nia") in (CODE, CODE + 4)
    rig.set(nia=CODE, msr=DR | PR)
    rig.run(1)
    assert (rig.get("nia"), rig.get("dsisr")) == (DSI, PROTECTED | STORE)


@ENGINES
def test_entry_not_found_names_the_address(engine: type) -> None:
    rig = rig_with(engine, "lwz 3,0x10(4)")
    rig.run(1)
    assert [rig.get(r) for r in ("nia", "dsisr", "dar", "srr0")] == [DSI, NOT_FOUND, EA + 16, CODE]


@ENGINES
def test_second_page_missing_faults_with_its_address_and_nothing_written(engine: type) -> None:
    rig = rig_with(engine, "stw 3,-2(5)", (EA, RA, 2 | R | C), r3=0x1122_3344, r5=EA + 0x1000)
    before = rig.pages()
    rig.run(1)
    assert [rig.get(r) for r in ("nia", "dsisr", "dar")] == [DSI, NOT_FOUND | STORE, EA + 0x1000]
    assert rig.pages() == before


@ENGINES
@pytest.mark.parametrize("text", ["stmw 16,0(5)", "stswi 16,5,31"])
def test_multiple_store_into_a_missing_second_page_writes_nothing(engine: type, text: str) -> None:
    rig = rig_with(engine, text, (EA, RA, 2 | R | C), r5=EA + 0xFF0, r16=0x5555_5555)
    before = rig.pages()
    rig.run(1)
    assert (rig.get("nia"), rig.get("dar")) == (DSI, EA + 0x1000)
    assert rig.pages() == before


@ENGINES
def test_multiple_load_into_a_missing_second_page_loads_nothing(engine: type) -> None:
    rig = rig_with(engine, "lmw 16,0(5)", (EA, RA, 2 | R), r5=EA + 0xFF0, r16=7)
    rig.write(RA + 0xFF0, b"\xff" * 16)
    rig.run(1)
    assert (rig.get("nia"), rig.get("r16"), rig.get("r17")) == (DSI, 7, 0)


@ENGINES
def test_access_across_two_pages_goes_to_both(engine: type) -> None:
    pages = (EA, RA + 0x1000, 2), (EA + 0x1000, RA, 2)
    rig = rig_with(engine, "stw 3,-1(5); lwz 6,-1(5)", *pages, r3=0x1122_3344, r5=EA + 0x1000)
    rig.run(2)
    assert rig.memory.read(RA + 0x1FFF, 1) == b"\x11"
    assert rig.memory.read(RA, 3) == b"\x22\x33\x44"
    assert rig.get("r6") == 0x1122_3344


@ENGINES
@pytest.mark.parametrize("wimg", [0b1000, 0b0100])
def test_dcbz_on_a_page_not_cached_is_an_alignment_interrupt(engine: type, wimg: int) -> None:
    rig = rig_with(engine, "dcbz 0,4", (EA, RA, 2 | wimg << 3), r4=EA + 0x24)
    rig.write(RA, b"\x77" * 64)
    rig.run(1)
    assert rig.get("nia") == ALIGNMENT
    assert rig.memory.read(RA, 64) == b"\x77" * 64


@ENGINES
def test_dcbz_clears_the_whole_line(engine: type) -> None:
    rig = rig_with(engine, "dcbz 0,4", (EA, RA, 2), r4=EA + 0x3F)
    rig.write(RA, b"\x77" * 96)
    rig.run(1)
    assert rig.memory.read(RA, 96) == b"\x77" * 32 + bytes(32) + b"\x77" * 32


@ENGINES
def test_direct_store_segment_faults(engine: type) -> None:
    rig = rig_with(engine, "lwz 3,0(4)", segment=0x8000_0123)
    rig.run(1)
    assert (rig.get("nia"), rig.get("dsisr")) == (DSI, 0x0400_0000)


@ENGINES
@pytest.mark.parametrize(
    ("segment", "low", "srr1"),
    [
        (0x123, None, 0x4000_0000),
        (0x123, 2 | 1 << 3, 0x1000_0000),  # guarded
        (0x1000_0123, 2, 0x1000_0000),  # no-execute
        (0x4000_0123, 0, 0x0800_0000),
    ],
)
def test_fetch_faults_are_shown_in_srr1(
    engine: type, segment: int, low: int | None, srr1: int
) -> None:
    pages = () if low is None else ((EA, RA, low),)
    rig = rig_with(engine, "nop", *pages, segment=segment, msr=0x20, nia=EA)
    rig.run(1)
    assert [rig.get(r) for r in ("nia", "srr0", "srr1")] == [ISI, EA, srr1 | 0x20]


@ENGINES
def test_tlbie_makes_a_changed_entry_count(engine: type) -> None:
    text = "lwz 3,0(4); tlbie 4; lwz 5,0(4)"
    rig = rig_with(engine, text, (EA, RA, 2))
    rig.words(RA, 0x1111_1111)
    rig.words(RA + 0x1000, 0x2222_2222)
    rig.run(1)
    at = next(n for n in range(TABLE, TABLE + 0x1_0000, 8) if rig.word(n) & 0x8000_0000)
    rig.arena.view[at + 4 : at + 8] = (RA + 0x1000 | 2).to_bytes(4, "big")
    rig.run(2)
    assert (rig.get("r3"), rig.get("r5")) == (0x1111_1111, 0x2222_2222)


def test_pages_16_mib_apart_are_kept_side_by_side() -> None:
    """A kernel that copies itself from there to 0 would miss at each access."""
    far = EA + 0x100_0000
    rig = rig_with(Tier0, "lwz 3,0(4); stw 3,0(6); lwz 5,0(4)", (EA, RA, 2), (far, RA, 2), r6=far)
    rig.words(RA, 0x1111_1111)
    rig.run(2)
    rig.memory.write(TABLE, bytes(0x1_0000))
    rig.run(1)
    assert (rig.get("r5"), rig.get("nia")) == (0x1111_1111, CODE + 12)


@pytest.mark.parametrize(("pages", "is_kept"), [(1, True), (63, True), (64, False), (128, False)])
def test_tlbie_forgets_one_of_64_classes(pages: int, is_kept: bool) -> None:
    other = EA + pages * 0x1000
    text = "lwz 3,0(6); tlbie 4; lwz 5,0(6)"
    rig = rig_with(Tier0, text, (other, RA, 2), r6=other)
    rig.run(1)
    rig.memory.write(TABLE, bytes(0x1_0000))
    rig.run(2)
    assert rig.get("nia") == (CODE + 12 if is_kept else DSI)


@ENGINES
def test_segment_register_change_counts_at_once_and_back_again(engine: type) -> None:
    text = "1: lwz 5,0(4); mtsr 3,6; lwz 7,0(4); mtsr 3,8; add 9,9,5; add 10,10,7; bdnz 1b"
    rig = rig_with(engine, text, (EA, RA, 2), r6=0x222, r8=0x123, ctr=20)
    table = PageTable()
    table.add(0x123, 0, RA, 2)
    table.add(0x222, 0, RA + 0x1000, 2)
    rig.write(TABLE, bytes(table.data))
    rig.words(RA, 1)
    rig.words(RA + 0x1000, 100)
    rig.run(7 * 20)
    assert (rig.get("r9"), rig.get("r10")) == (20, 2000)


def test_more_segment_contexts_than_banks_stay_right() -> None:
    text = "1: mtsr 3,6; lwz 5,0(4); stw 6,4(4); add 9,9,5; addi 6,6,1; bdnz 1b"
    rig = rig_with(Tier0, text, r6=0x200, ctr=20)
    table = PageTable()
    for n in range(20):
        table.add(0x200 + n, 0, RA + 0x1000 * n, 2)
        rig.words(RA + 0x1000 * n, 1 << n)
    rig.write(TABLE, bytes(table.data))
    for _ in range(3):
        rig.set(r6=0x200, r9=0, ctr=20, nia=CODE)
        rig.run(6 * 20)
        assert rig.get("r9") == (1 << 20) - 1
    assert [rig.word(RA + 0x1000 * n + 4) for n in range(20)] == [0x200 + n for n in range(20)]


@ENGINES
def test_bat_wins_over_the_page_table_and_the_lowest_number_over_others(engine: type) -> None:
    rig = rig_with(engine, "lwz 3,0(4)", (EA, RA, 2))
    for n, (ra, value) in enumerate(((0x4_0000, 4), (0x6_0000, 6)), 1):
        rig.block.set("dbat", EA | 2, 2 * n)
        rig.block.set("dbat", ra | 2, 2 * n + 1)
        rig.words(ra, value)
    rig.set(nia=CODE)
    rig.run(1)
    assert rig.get("r3") == 4
    assert low_word(rig) & R == 0


@ENGINES
def test_bat_for_supervisor_only_is_not_there_for_the_user(engine: type) -> None:
    rig = rig_with(engine, "lwz 3,0(4)", msr=DR | PR)
    rig.block.set("dbat", EA | 2, 0)
    rig.block.set("dbat", 0x4_0000 | 2, 1)
    rig.set(nia=CODE)
    rig.run(1)
    assert (rig.get("nia"), rig.get("dsisr")) == (DSI, NOT_FOUND)


def test_rc_updates_come_again_after_a_save() -> None:
    """What a save does to a running machine: it forgets translations, and no more."""
    rig = rig_with(Tier0, "stw 3,0(4); stw 3,0(4)", (EA, RA, 2))
    rig.run(1)
    at = next(n for n in range(TABLE, TABLE + 0x1_0000, 8) if rig.word(n) & 0x8000_0000)
    rig.arena.view[at + 4 : at + 8] = (RA | 2).to_bytes(4, "big")
    rig.engine.flush()
    rig.run(1)
    assert low_word(rig) & (R | C) == R | C


@ENGINES
def test_device_page_is_reached_through_translation(engine: type) -> None:
    rig = rig_with(engine, "stb 3,5(4); lhz 5,6(4)", (EA, IO_BASE, 2 | 0b0101 << 3), r3=0x42)
    rig.run(2)
    assert [(a.offset, a.size, a.value) for a in rig.device.log] == [(5, 1, 0x42), (6, 2, None)]


def test_table_with_its_own_entry_sees_the_walkers_writes() -> None:
    """The page that holds the entry is mapped and read: R and C show at once."""
    group = TABLE + (0x123 ^ EA >> 12 & 0xFFFF & 0x3FF) * 64
    pages = (EA, RA, 2), (EA + 0x5000, TABLE + 0x4000, 2 | R | C)
    rig = rig_with(Tier0, "lwz 6,4(5); stw 3,0(4); lwz 7,4(5)", *pages)
    rig.set(r5=EA + 0x5000 + (group & 0xFFF))
    assert group & -0x1000 == TABLE + 0x4000
    rig.run(3)
    assert (rig.get("r6") & (R | C), rig.get("r7") & (R | C)) == (0, R | C)
