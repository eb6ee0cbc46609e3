"""Blocks copied from stencils: made, run, dropped; nothing that the guest sees depends on them."""

from __future__ import annotations

import ctypes
import itertools
import random
import struct
from typing import Final

import pytest

from gossamer.engine import build
from gossamer.engine.regions.blocks import Block, Blocks
from gossamer.engine.regions.regions import PAUSE, Regions
from gossamer.engine.regions.view import View
from gossamer.engine.runtime_float import ADD
from gossamer.engine.stencils.copying import MARK, ROW
from gossamer.engine.stencils.holes import WORD, is_hole
from gossamer.engine.tier0 import Tier0
from gossamer.isa.expr import Expr, bits, zext
from gossamer.isa.fpscr import FI, XX
from gossamer.isa.text import assemble
from tests.engine.rig import Rig, difference

CODE: Final = 0x1_0000
LOOP: Final = "1: addi 3,3,1; xor 4,4,3; bdnz 1b; mtctr 5; b 1b"


def rig(text: str, cpu: str = "750", **registers: int) -> Rig:
    made = Rig(Tier0, cpu=cpu)
    made.write(CODE, assemble(text, CODE))
    made.set(nia=CODE, **registers)
    return made


def with_blocks(text: str, cpu: str = "750", **registers: int) -> tuple[Rig, Blocks]:
    made = rig(text, cpu, **registers)
    assert isinstance(made.engine, Tier0)
    regions = Regions(
        made.engine, made.cpu.model.architecture, compiles=False, interval=128, pause=0
    )
    assert regions.blocks is not None
    return made, regions.blocks


def both(
    text: str, counts: tuple[int, ...], cpu: str = "750", **registers: int
) -> tuple[Rig, Blocks]:
    """Run a program with blocks and without: equal after each part."""
    (a, blocks), b = with_blocks(text, cpu, **registers), rig(text, cpu, **registers)
    for count in counts:
        a.run(count)
        b.run(count)
        assert not (d := difference(a, b)), d
    return a, blocks


def test_what_runs_becomes_blocks_and_every_stop_is_exact() -> None:
    made, blocks = both(LOOP, (20_000, 1, 2001, 1037, 5000), r5=40, ctr=40)
    assert [(b.offset, b.end) for b in blocks._by_entry.values()] == [(0, 20)]
    assert isinstance(made.engine, Tier0)
    entry = made.engine.entries + CODE * 8
    assert entry in blocks
    assert blocks._view.handler(entry) == blocks._by_entry[entry].address


def test_a_place_is_copied_when_that_pays() -> None:
    """Where little time is spent making a block would cost more than it saves."""
    made, blocks = with_blocks("1: addi 3,3,1; addi 4,4,1; b 1b")
    engine = made.engine
    assert isinstance(engine, Tier0)
    engine.set_pointer("slack", 16)
    seen = set()
    for _ in range(20):
        made.run(150)
        looks = max(count for _, _, count, _ in engine.slots())
        seen.add(looks)
        assert bool(blocks.made) == (looks >= 2), looks
    assert 1 in seen
    assert max(seen) >= 2


def test_tier_0_that_was_loaded_anew_has_its_own_stencils() -> None:
    """A process with many models forgets one, and loads it again elsewhere."""
    both(LOOP, (20_000,), r5=40, ctr=40)
    build.native.cache_clear()
    _, blocks = both(LOOP, (20_000,), r5=40, ctr=40)
    assert blocks.made


def test_equal_words_at_different_places_are_filled_for_their_place() -> None:
    """``bcl`` has the return address in it, and the same word wherever it goes on behind itself."""
    text = "1: bcl 20,31,2f; 2: mflr 6; add 3,3,6; bcl 20,31,3f; 3: mflr 7; add 4,4,7; b 1b"
    made, blocks = both(text, (9000, 3000))
    assert blocks.made > 2
    assert made.get("r6") != made.get("r7")


def test_accesses_calls_records_and_carries() -> None:
    text = (
        "1: lwz 6,0(7); addic. 6,6,1; addze 8,6; stwu 6,4(7); rlwinm. 9,6,5,3,20; cmpwi 1,9,77; "
        "bgt 1,2f; lhz 10,-2(7); extsb 10,10; sth 10,2(7); 2: andi. 11,6,0x3ff; or 12,11,10; "
        "mullw 13,12,6; subfc 14,13,12; bdnz 1b; mtctr 5; lis 7,2; b 1b"
    )
    both(text, (30_000, 4001, 3000), r5=200, ctr=200, r7=0x2_0000)


def test_base_register_0_is_none() -> None:
    """Whatever r0 holds; the same instruction with another base is filled otherwise."""
    text = (
        "1: lwz 9,0x7000(0); addi 9,9,1; stw 9,0x7000(0); lwzx 10,0,7; lwz 11,4(7); add 3,3,10; "
        "dcbz 0,7; lbz 12,0x7003(0); stwx 12,7,0; b 1b"
    )
    _, blocks = both(text, (20_000, 3001), r0=0x100, r7=0x2_0000)
    assert blocks.made


def test_status_that_a_region_put_off_is_settled_before_a_block_reads_it() -> None:
    """A region leaves the record of an inexact sum; the block behind it begins with ``mffs``."""
    text = "1: mffs 4; stfd 4,0(7); lwz 10,4(7); add 11,11,10; bdnz 1b; mtctr 12; b 1b"
    registers = {"r7": 0x2_0000, "r12": 40, "ctr": 40, "msr": 0x2000}
    (a, blocks), b = with_blocks(text, **registers), rig(text, **registers)
    a.run(20_000)
    b.run(20_000)
    assert blocks.entries
    for made in (a, b):
        made.set(nia=CODE, fpscr=XX)
        put_off(made, ADD, fp_a=1.0, fp_b=1e-20)
        made.run(20_000)
        assert made.get("r10") & FI
    assert not (d := difference(a, b)), d


def put_off(made: Rig, kind: int, **operands: float) -> None:
    """What a region writes into the context in the place of FPSCR (`engine.runtime_float`)."""
    assert isinstance(made.engine, Tier0)
    address, fields = made.engine._address, made.engine._fields
    for name, value in operands.items():
        ctypes.c_double.from_address(address + fields[name]).value = value
    ctypes.c_uint32.from_address(address + fields["fp_kind"]).value = kind


def test_word_that_changes_drops_its_blocks_alone() -> None:
    text = "1: addi 3,3,1; b 2f; nop; nop; 2: xor 4,4,3; b 1b"
    made, blocks = both(text, (20_000,))
    first, second = sorted(blocks.entries)
    made.words(CODE, 0x3863_0007)  # addi r3,r3,7
    assert first not in blocks
    assert second in blocks
    made.run(20_000)  # it is counted anew from the next look at the samples on
    assert first in blocks


def test_code_that_changes_itself() -> None:
    """A store into the block that it is part of: what follows is the new word."""
    text = (
        "1: stw 6,20(7); xori 6,6,4; addi 3,3,1; bdnz 2f; mtctr 5; 2: addi 8,8,1; addi 9,9,1; b 1b"
    )
    # The word at 2 is written: addi r8,r8,1 and addi r8,r8,5 in turn.
    both(text, (10_000, 5003, 5000), r5=40, ctr=40, r6=0x3908_0001, r7=CODE)


def test_breakpoints_leave_no_block() -> None:
    made, blocks = both(LOOP, (20_000,), r5=40, ctr=40)
    assert isinstance(made.engine, Tier0)
    made.engine.hold_regions(True)
    assert not blocks.entries


def test_full_arena_begins_anew() -> None:
    made = rig(LOOP, r5=40, ctr=40)
    assert isinstance(made.engine, Tier0)
    regions = Regions(
        made.engine,
        made.cpu.model.architecture,
        compiles=False,
        interval=128,
        size=1 << 16,
        pause=0,
    )
    assert regions.blocks is not None
    made.run(20_000)
    assert regions.installed is not None
    loader = regions._loader
    loader.arena.used = loader.arena.size
    regions.blocks.drop_all()
    made.run(20_000)
    assert regions.counts.cleared >= 1
    made.run(40_000)
    plain = rig(LOOP, r5=40, ctr=40)
    plain.run(80_000)
    assert not difference(made, plain)


def test_constants_lie_in_an_arena_that_begins_anew() -> None:
    """Some stencils (of `vsldoi`, here) load constants, which are copied into the arena once."""
    text = "1: vsldoi 3,4,5,3; vsldoi 4,3,5,9; vaddubm 5,4,3; addi 3,3,1; bdnz 1b; mtctr 5; b 1b"
    registers = {"r5": 40, "ctr": 40, "msr": 0x0200_0000}
    (a, blocks), b = with_blocks(text, "7400", **registers), rig(text, "7400", **registers)
    for made in (a, b):
        for n in range(3, 6):
            made.block.set("vr", int.from_bytes(random.Random(n).randbytes(16)), n)
    for _ in range(2):
        a.run(20_000)
        b.run(20_000)
        assert not (d := difference(a, b)), d
        assert any(len(sheet.constants) for sheet in blocks._stencils.sheets.values())
        arena = blocks._loader().arena
        blocks.forget()
        blocks._loader().clear()
        arena.put(0, bytes(1 << 14))
    assert blocks.made >= 2


def test_all_that_is_copied_is_said_to_be_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that need it let their instruction caches know: of blocks, stubs and all."""
    fresh: list[tuple[int, int]] = []
    monkeypatch.setattr(View, "code_fresh", lambda self, start, end: fresh.append((start, end)))
    _, blocks = both(LOOP, (20_000,), r5=40, ctr=40)
    arena = blocks._loader().arena
    assert blocks.made
    assert fresh[0][0] == arena.base
    assert fresh[-1][1] == arena.base + arena.used
    assert all(a[1] == b[0] for a, b in itertools.pairwise(fresh))


def test_region_takes_the_place_of_a_block() -> None:
    """Of its entry alone; when it goes, tier 0 has the entry."""
    made, blocks = with_blocks(LOOP, r5=40, ctr=40)
    made.run(20_000)
    (entry,) = blocks.entries
    block = blocks._by_entry[entry]
    blocks.give_way(entry)
    assert entry not in blocks
    assert blocks._view.handler(entry) == block.address, "the region's pointer is written next"
    blocks._view.restore(entry)
    assert blocks._view.handler(entry) in blocks._stencils


def test_last_word_of_a_block_is_of_it_and_the_next_is_not() -> None:
    made, blocks = both(LOOP + "; nop; nop", (20_000,), r5=40, ctr=40)
    made.words(CODE + 20, 0x3863_0007)
    assert blocks.entries
    made.words(CODE + 16, 0x4BFF_FFF0)  # b 1b
    assert not blocks.entries


def test_line_that_changed_lately_is_left_alone() -> None:
    made = rig(LOOP, r5=40, ctr=40)
    assert isinstance(made.engine, Tier0)
    regions = Regions(made.engine, made.cpu.model.architecture, compiles=False, interval=128)
    made.run(20_000)
    assert regions.blocks is not None
    assert regions.blocks.entries
    made.words(CODE, 0x3863_0007)
    made.run(20_000)
    assert not regions.blocks.entries
    made.run(2 * PAUSE + 200_000)  # counts are reported at powers of two
    assert regions.blocks.entries


def test_block_ends_before_a_line_that_changed_lately() -> None:
    made = rig("1: " + "addi 3,3,1; " * 10 + "b 1b")
    assert isinstance(made.engine, Tier0)
    regions = Regions(made.engine, made.cpu.model.architecture, compiles=False, interval=128)
    ends = []
    for _ in range(2):
        made.run(20_000)
        assert regions.blocks is not None
        ends.append(regions.blocks._by_entry[made.engine.entries + CODE * 8].end)
        made.words(CODE + 36, 0x3863_0007)
    assert ends == [44, 32]


def test_fault_in_a_stencil_is_found() -> None:
    """The comparison above is one that can fail."""
    _, blocks = with_blocks(LOOP)
    entry = blocks._view.engine.entries + CODE * 8
    blocks._view.engine.decode(entry)
    sheet = blocks._stencils.sheets[0]
    row = ctypes.string_at(sheet.rows[blocks._view.handler(entry)], ROW.size)
    _, _, first, count, _ = ROW.unpack(row)
    marks = sheet.address("marks") - sheet._arena.base + first * MARK.size
    holes = [m for m in range(count) if sheet._arena.get(marks + m * MARK.size + 4, 1)[0] < 4]
    addends = [marks + m * MARK.size + 12 for m in holes]
    for addend in addends:
        sheet._arena.put(addend, struct.pack("<i", 4))
    try:
        with pytest.raises(AssertionError, match="gpr"):
            both(LOOP, (20_000, 5000), r5=40, ctr=40)
    finally:
        for addend in addends:
            sheet._arena.put(addend, bytes(4))


def test_what_is_no_hole() -> None:
    register = Expr("reg", 32, (zext(bits(WORD, 6, 10), 32),), "gpr")
    assert not is_hole(register, {})
    assert not is_hole(Expr("cia", 32), {})


def test_block_covers_words_of_one_page() -> None:
    _, blocks = both("nop; " * 1020 + "1: addi 3,3,1; addi 4,4,1; nop; nop; b 1b", (40_000,))
    assert all(isinstance(b, Block) and b.end <= 4096 for b in blocks._by_entry.values())
