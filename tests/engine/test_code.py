"""Code that changes, moves, ends and is not there; on both engines where the reference can."""

from __future__ import annotations

import ctypes

import pytest

from gossamer.core.memory import RamBlock
from gossamer.engine.context import PATIENCE
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble

from .programs import TABLE, PageTable
from .rig import IO_BASE, RAM_SIZE, ROM_BASE, Rig

CODE = 0x1_0000
PROGRAM, DSI, ISI = 0x700, 0x300, 0x400
R, C = 0x100, 0x80
LI_3_1 = 0x3860_0001
LI_3_2 = 0x3860_0002
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])


def rig_with(engine: type, text: str, at: int = CODE, **registers: int) -> Rig:
    rig = Rig(engine)
    rig.write(at, assemble(text, at))
    rig.set(**({"nia": at} | registers))
    return rig


@ENGINES
def test_store_ahead_in_straight_line_code_is_executed(engine: type) -> None:
    rig = rig_with(engine, "li 3,1; stw 5,8(4); li 3,1; li 6,7", r4=CODE, r5=LI_3_2)
    rig.run(4)
    assert (rig.get("r3"), rig.get("r6")) == (2, 7)


@ENGINES
def test_store_ahead_after_the_code_was_executed_once(engine: type) -> None:
    text = "1: stw 5,4(4); li 3,1; addi 5,5,1; addi 6,6,-1; cmpwi 6,0; bne 1b"
    rig = rig_with(engine, text, r4=CODE, r5=LI_3_1, r6=100)
    rig.run(6 * 100)
    assert rig.get("r3") == 100


@ENGINES
def test_byte_and_half_and_double_stores_change_code(engine: type) -> None:
    text = "stb 5,15(4); sth 6,18(4); stfd 1,20(4); li 3,1; li 7,1; li 8,1; li 9,1"
    rig = rig_with(engine, text, r4=CODE, r5=9, r6=8, f1=0x3900_0005_3920_0006, msr=0x2000)
    for _ in range(2):
        rig.set(nia=CODE)
        rig.run(7)
        assert [rig.get(r) for r in ("r3", "r7", "r8", "r9")] == [9, 8, 5, 6]


@ENGINES
@pytest.mark.parametrize("store", ["stmw 30,8(4)", "stswi 30,10,8", "dcbz 0,4"])
def test_stores_of_several_words_change_code(engine: type, store: str) -> None:
    rig = rig_with(engine, f"{store}; nop; li 3,1; li 3,1; b .", r4=CODE, r10=CODE + 8)
    rig.set(r30=LI_3_2, r31=0x3860_0003)
    rig.run(4)
    if store.startswith("dcbz"):
        assert rig.get("nia") in (PROGRAM, PROGRAM + 4)
        assert rig.word(CODE + 8) == 0
    else:
        assert rig.get("r3") == 3


@ENGINES
def test_write_by_dma_between_instructions_is_seen_at_once(engine: type) -> None:
    rig = rig_with(engine, "li 3,1; li 3,1; li 3,1")
    rig.run(1)
    rig.memory.write(CODE + 4, LI_3_2.to_bytes(4, "big"))
    rig.run(1)
    assert rig.get("r3") == 2


def test_write_by_a_device_during_an_access_is_seen_by_the_next_instruction() -> None:
    rig = rig_with(Tier0, "nop; stw 3,0(4); li 5,1; b .", r4=IO_BASE)
    rig.run(1)
    code = 0x38A0_0009  # li r5,9
    rig.device.write = lambda *a: None  # type: ignore[method-assign]
    region = rig.memory.find(IO_BASE)
    assert region is not None
    target = region[2].target
    assert not isinstance(target, RamBlock)
    target._write = lambda *a: rig.memory.write(CODE + 8, code.to_bytes(4, "big"))  # type: ignore[method-assign]
    rig.run(2)
    assert rig.get("r5") == 9


@pytest.mark.parametrize("writes", [63, PATIENCE - 1, PATIENCE, PATIENCE + 1, 2 * PATIENCE + 5])
def test_page_that_is_written_often_is_dropped_and_still_right(writes: int) -> None:
    text = "1: stw 5,0x20(4); bl 2f; add 6,6,3; addi 5,5,1; bdnz 1b; b .; nop; nop; 2: nop; blr"
    rig = rig_with(Tier0, text, r4=CODE, r5=LI_3_1, r6=0, ctr=writes)
    rig.run(7 * writes)
    expected = sum(range(1, writes + 1)) & 0xFFFF_FFFF
    assert (rig.get("r6"), rig.get("ctr")) == (expected, 0)


@pytest.mark.parametrize("apart", range(6))
def test_page_is_dropped_in_the_middle_of_copied_entries(apart: int) -> None:
    """The last store that is borne is one of `step`'s copies, a later one changes code."""
    text = "stw 3,64(4); stw 5,12(4); nop; li 3,1; b ."
    rig = rig_with(Tier0, text, r4=CODE, r5=LI_3_2)
    rig.run(5)
    rig.words(CODE + 12, LI_3_1)
    rig.set(nia=CODE)
    rig.engine.decoded.code_writes.view[CODE // 4096] = PATIENCE - apart
    rig.run(5)
    assert rig.get("r3") == 2


@pytest.mark.parametrize("has_code", [False, True])
@pytest.mark.parametrize("store", ["stw 3,64(4)", "stmw 31,64(4)", "dcbz 0,5", "stb 3,64(4)"])
def test_whether_a_page_has_code_changes_no_translation(store: str, has_code: bool) -> None:
    """A page's entry is changed without tlbie: stores go on as the TLB says, code or no code."""
    rig = Rig(Tier0)
    table = PageTable()
    page = 0x3_0000
    table.add(0x123, 0, page, R | C | 2)
    rig.write(TABLE, bytes(table.data))
    rig.write(page, assemble("li 7,1; blr", page))
    call = "mtctr 8; bctrl" if has_code else "nop; nop"
    rig.write(CODE, assemble(f"{store}; {call}; {store}; {store}; nop", CODE))
    rig.set(nia=CODE, sdr1=TABLE, sr3=0x123, msr=0x10, r4=0x3000_0000, r5=0x3000_0040, r8=page)
    rig.run(5 if has_code else 3)
    assert rig.memory.arena.code[page // 4096] == has_code
    rig.memory.write(TABLE, bytes(len(table.data)))
    rig.run(2)
    assert rig.get("nia") == CODE + 4 * 5
    assert rig.get("r7") == int(has_code)


@ENGINES
def test_code_falls_from_one_page_into_the_next(engine: type) -> None:
    rig = rig_with(engine, "li 3,1; li 4,2; li 5,3; li 6,4", at=CODE + 0xFF8)
    rig.run(3)
    assert (rig.get("r5"), rig.get("nia")) == (3, CODE + 0x1004)
    rig.run(1)
    assert rig.get("r6") == 4


@ENGINES
def test_branch_out_of_the_page_and_back(engine: type) -> None:
    rig = rig_with(engine, "b .+0x1000; li 3,9", at=CODE + 4)
    rig.write(CODE + 0x1004, assemble("li 4,7; b .-0x1000", CODE + 0x1004))
    rig.run(4)
    assert (rig.get("r3"), rig.get("r4")) == (9, 7)


@ENGINES
def test_code_in_rom_runs_and_stores_to_it_do_nothing(engine: type) -> None:
    rig = rig_with(engine, "stw 3,0(4); lwz 5,0(4); stw 3,8(4); lwz 6,8(4)", at=ROM_BASE)
    rig.set(r4=ROM_BASE, r3=0)
    before = rig.pages()
    rig.run(4)
    assert rig.pages() == before
    assert rig.get("r5") == int.from_bytes(before[RAM_SIZE : RAM_SIZE + 4], "big")


@ENGINES
@pytest.mark.parametrize("where", [0x4000_0000, IO_BASE, RAM_SIZE, 0xFFFF_FFFC])
def test_fetch_where_no_ram_is_is_an_illegal_instruction(engine: type, where: int) -> None:
    rig = rig_with(engine, "nop", nia=where)
    rig.run(1)
    assert (rig.get("nia"), rig.get("srr0"), rig.get("srr1")) == (PROGRAM, where, 0x8_0000)


@ENGINES
def test_fetch_goes_on_from_the_last_word_to_address_zero(engine: type) -> None:
    rig = rig_with(engine, "nop", nia=0xFFFF_FFFC)
    rig.memory.map(rig.arena.blocks[1], 0xFFFF_C000)
    rig.write(0xFFFF_FFFC - 0xFFFF_C000 + ROM_BASE, (LI_3_2).to_bytes(4, "big"))
    rig.words(0, 0x3880_0004)
    rig.run(2)
    assert (rig.get("r3"), rig.get("r4"), rig.get("nia")) == (2, 4, 4)


@ENGINES
def test_illegal_word_made_legal_runs(engine: type) -> None:
    rig = rig_with(engine, "nop", r3=0)
    rig.words(CODE, 0)
    rig.run(1)
    assert rig.get("nia") == PROGRAM
    rig.words(CODE, LI_3_1)
    rig.set(nia=CODE)
    rig.run(1)
    assert rig.get("r3") == 1


@ENGINES
def test_system_call_and_return(engine: type) -> None:
    rig = rig_with(engine, "sc; li 3,1", msr=0x4000 | 0x8000)
    rig.write(0xC00, assemble("rfi", 0xC00))
    rig.run(1)
    assert [rig.get(r) for r in ("nia", "srr0", "srr1", "msr")] == [0xC00, CODE + 4, 0xC000, 0]
    rig.run(2)
    assert (rig.get("r3"), rig.get("msr")) == (1, 0xC000)


@ENGINES
def test_privileged_instruction_in_user_mode(engine: type) -> None:
    rig = rig_with(engine, "mfmsr 3", msr=0x4000)
    rig.run(1)
    assert (rig.get("nia"), rig.get("srr1")) == (PROGRAM, 0x4_4000)


@ENGINES
def test_device_access_across_a_ram_page_is_done_byte_by_byte(engine: type) -> None:
    rig = Rig(engine)
    rig.memory.unmap(rig.memory.find(IO_BASE)[2])  # type: ignore[index]
    rig.memory.map(rig.device.region(), RAM_SIZE)
    rig.write(CODE, assemble("stw 3,-2(4); lwz 5,-2(4)", CODE))
    rig.set(r3=0x1122_3344, r4=RAM_SIZE)
    rig.run(2)
    assert rig.memory.read(RAM_SIZE - 2, 2) == b"\x11\x22"
    assert [(a.offset, a.size, a.value) for a in rig.device.log] == [
        (0, 1, 0x33), (1, 1, 0x44), (0, 1, None), (1, 1, None),
    ]  # fmt: skip
    assert rig.get("r5") >> 16 == 0x1122


@pytest.mark.parametrize("ahead", range(1, 20))
def test_store_ahead_in_a_copied_chunk_is_executed(ahead: int) -> None:
    """Exact steps execute copies of entries: a store into one of them counts at once."""
    nops = "; ".join(["nop"] * (ahead - 1) + ["li 3,1", "nop"])
    rig = rig_with(Tier0, f"stw 5,{4 * ahead}(4); {nops}; b .", r4=CODE, r5=LI_3_1)
    rig.run(ahead + 3)
    assert rig.get("r3") == 1
    rig.set(nia=CODE, r5=LI_3_2, r3=0)
    rig.run(ahead + 1)  # everything is decoded now
    assert (rig.get("r3"), rig.get("nia")) == (2, CODE + 4 * ahead + 4)


def test_exact_steps_never_run_what_is_installed_in_an_entry() -> None:
    rig = rig_with(Tier0, "li 3,1; li 3,2; li 3,3; b .")
    rig.run(4)
    engine = rig.engine
    other = engine.native.address("interrupt")
    entry = ctypes.c_uint64.from_address(engine.entries + CODE // 4096 * 0x8000 + 16)
    kept = entry.value
    entry.value = other
    engine._set64("region_base", other)
    engine._set64("region_size", 16)
    rig.set(nia=CODE)
    rig.run(2)
    assert (rig.get("r3"), rig.get("nia"), entry.value) == (2, CODE + 8, other)
    native = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
    tier0_handler = native(engine.native.address("tier0_handler"))
    assert tier0_handler(engine._address, ctypes.addressof(entry)) == kept
