"""DABR, IABR and trace.  Source: MPC750UM 2.1.2.2, 4.5.3, 4.5.11, 4.5.13; on both engines."""

from __future__ import annotations

import pytest

from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble

from .rig import Rig

CODE = 0x1_0000
DSI, TRACE, IABR = 0x300, 0xD00, 0x1300
READ, WRITE = 1, 2
MSR_SE, MSR_BE = 0x400, 0x200
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])


def rig_with(engine: type, text: str, **registers: int) -> Rig:
    rig = Rig(engine)
    rig.write(CODE, assemble(text, CODE))
    rig.set(r4=0x2_0000, **registers)
    return rig


@ENGINES
@pytest.mark.parametrize(
    ("text", "dabr", "dsisr"),
    [
        ("lwz 3,0(4)", 0x2_0000 | READ, 0x0040_0000),
        ("lwz 3,4(4)", 0x2_0000 | READ | WRITE, 0x0040_0000),
        ("stw 3,4(4)", 0x2_0000 | WRITE, 0x0240_0000),
        ("stb 3,7(4)", 0x2_0000 | WRITE, 0x0240_0000),
        ("lwz 3,-2(4)", 0x2_0000 | READ, 0x0040_0000),  # its last bytes
        ("stw 3,6(4)", 0x2_0008 | WRITE, 0x0240_0000),
        ("lmw 20,0(4)", 0x2_0028 | READ, 0x0040_0000),
        ("stmw 20,0(4)", 0x2_0028 | WRITE, 0x0240_0000),
        ("dcbz 0,4", 0x2_0018 | WRITE, 0x0240_0000),
        ("stswi 5,4,9", 0x2_0008 | WRITE, 0x0240_0000),
    ],
)
def test_access_to_the_watched_doubleword_is_a_dsi(
    engine: type, text: str, dabr: int, dsisr: int
) -> None:
    rig = rig_with(engine, text, dabr=dabr)
    before = rig.pages()
    rig.run(1)
    assert (rig.get("nia"), rig.get("dsisr"), rig.get("srr0")) == (DSI, dsisr, CODE)
    assert rig.get("r20") == 0
    assert rig.pages() == before


@ENGINES
@pytest.mark.parametrize(
    ("text", "dabr"),
    [
        ("lwz 3,0(4)", 0x2_0000 | WRITE),
        ("stw 3,0(4)", 0x2_0000 | READ),
        ("lwz 3,8(4)", 0x2_0000 | READ),
        ("lwz 3,-4(4)", 0x2_0000 | READ),
        ("lwz 3,0(4)", 0x2_0000),
        ("lwz 3,0(4)", 0x2_0004 | READ),  # BT set, translation off
        ("stw 3,16(4)", 0x2_0008 | WRITE),
        ("lmw 20,0(4)", 0x2_0030 | READ),
    ],
)
def test_other_accesses_are_not_watched(engine: type, text: str, dabr: int) -> None:
    rig = rig_with(engine, text, dabr=dabr)
    rig.run(1)
    assert rig.get("nia") == CODE + 4


@ENGINES
def test_dabr_set_by_the_guest_acts_on_pages_in_use(engine: type) -> None:
    text = "stw 3,0(4); stw 3,8(4); mtspr 1013,5; stw 3,8(4); stw 3,0(4)"
    rig = rig_with(engine, text, r5=0x2_0000 | WRITE, r3=7)
    rig.run(5)
    assert (rig.get("nia"), rig.get("srr0"), rig.get("dar")) == (DSI, CODE + 16, 0x2_0000)


@ENGINES
def test_dabr_cleared_lets_accesses_go_on(engine: type) -> None:
    rig = rig_with(engine, "mtspr 1013,5; stw 3,0(4); lwz 6,0(4)", dabr=0x2_0000 | 3, r3=7)
    rig.run(3)
    assert (rig.get("nia"), rig.get("r6")) == (CODE + 12, 7)


@ENGINES
@pytest.mark.parametrize(
    ("iabr", "stops"), [(CODE + 8 | 2, True), (CODE + 8, False), (CODE + 8 | 3, False)]
)
def test_iabr_stops_before_its_instruction(engine: type, iabr: int, stops: bool) -> None:
    rig = rig_with(engine, "li 3,1; li 4,2; li 5,3; li 6,4", iabr=iabr)
    rig.run(3)
    if stops:
        assert (rig.get("nia"), rig.get("srr0"), rig.get("r5")) == (IABR, CODE + 8, 0)
    else:
        assert rig.get("nia") == CODE + 12


@ENGINES
def test_iabr_on_its_own_handler_does_not_hang_the_host(engine: type) -> None:
    rig = rig_with(engine, "li 3,1", iabr=IABR | 2, nia=IABR)
    rig.run(10)
    assert (rig.engine.count, rig.get("nia")) == (10, IABR)


@ENGINES
def test_trace_follows_each_instruction_but_rfi_and_what_faults(engine: type) -> None:
    rig = rig_with(engine, "li 3,1; rfi", msr=MSR_SE, srr0=CODE + 4, srr1=MSR_SE)
    rig.run(1)
    assert (rig.get("nia"), rig.get("srr0")) == (TRACE, CODE + 4)
    rig.set(nia=CODE + 4, msr=MSR_SE, srr0=CODE + 0x100, srr1=MSR_SE)
    rig.run(1)
    assert rig.get("nia") == CODE + 0x100
    rig.set(nia=CODE + 0x200, msr=MSR_SE)  # a zero word: illegal
    rig.run(1)
    assert (rig.get("nia"), rig.get("srr0")) == (0x700, CODE + 0x200)


@ENGINES
@pytest.mark.parametrize(
    ("text", "traced"),
    [("b .+8", True), ("bdz .+8", True), ("blr", True), ("bctr", True), ("li 3,1", False),
     ("cror 0,0,0", False)],
)  # fmt: skip
def test_branch_trace_follows_branches_taken_or_not(engine: type, text: str, traced: bool) -> None:
    rig = rig_with(engine, text, msr=MSR_BE, ctr=CODE + 2, lr=CODE + 0x40)
    rig.run(1)
    assert (rig.get("nia") == TRACE) is traced


@ENGINES
def test_a_breakpoint_is_looked_for_after_the_register_was_set_from_outside(engine: type) -> None:
    rig = rig_with(engine, "stw 3,0(4); stw 3,0(4)")
    rig.run(1)
    rig.block.set("dabr", 0x2_0000 | WRITE)  # as a load of a save file does
    rig.run(1)
    assert rig.get("nia") == DSI
