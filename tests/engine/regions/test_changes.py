"""Code that changes under a region, pages that move under it, and debuggers: as on tier 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble
from tests.engine.regions.rigs import Eager, regions_of
from tests.engine.rig import Rig, difference

CODE: Final = 0x1_0000
LONG: Final = 6000

Change = Callable[[Rig], None]


def both(text: str, *changes: Change, heads: tuple[int, ...] = (CODE,), **registers: int) -> Rig:
    """Run a program on regions and on tier 0, with changes in between; the rig with regions.

    The states must agree after each part, and regions must have executed some of it.
    """
    rigs = [Rig(Eager), Rig(Tier0)]
    for rig in rigs:
        rig.write(CODE, assemble(text, CODE))
        rig.set(nia=CODE, **registers)
    for change in (*changes, lambda rig: None):
        for rig in rigs:
            rig.run(LONG)
        assert not (d := difference(*rigs)), d
        for head in heads:
            regions_of(rigs[0]).make(head)
        for rig in rigs:
            rig.run(LONG)
        assert not (d := difference(*rigs)), d
        assert regions_of(rigs[0]).executed() > LONG // 4, "the regions did not run"
        for rig in rigs:
            change(rig)
    return rigs[0]


LOOP: Final = "1: addi 3,3,1; xor 4,4,3; bdnz 1b; mtctr 5; b 1b"


def test_debugger_changes_a_word_of_a_running_region() -> None:
    def change(rig: Rig) -> None:
        rig.words(CODE, 0x3863_0007)  # addi r3,r3,7

    rig = both(LOOP, change, change, r5=40, ctr=40)
    assert regions_of(rig).counts.dropped


def test_dma_changes_a_page_of_a_region() -> None:
    page = assemble(LOOP.replace("addi 3,3,1", "addi 3,3,9"), CODE)

    def change(rig: Rig) -> None:
        rig.memory.write(CODE - 0x100, bytes(0x100) + page + bytes(0x200))

    rig = both(LOOP, change, r5=40, ctr=40)
    assert regions_of(rig).counts.dropped


def test_region_that_changes_itself() -> None:
    text = """
1:  nop
    addi    3,3,1
    add     4,4,3
    andi.   6,4,255
    bne     2f
    xor     8,8,7
    stw     8,4(9)
    dcbst   0,9
    sync
    icbi    0,9
    isync
2:  b       1b
"""
    # r8 alternates between addi r3,r3,1 and addi r3,r3,3
    rig = both(text, r8=0x3863_0001, r7=2, r9=CODE)
    assert regions_of(rig).counts.dropped


def test_region_that_changes_its_second_page() -> None:
    far = 0x1_1000

    text = f"""
1:  addi    3,3,1
    bl      {far:#x}
    andi.   6,3,63
    bne     1b
    xor     8,8,7
    stw     8,0(9)
    b       1b
"""
    rigs = [Rig(Eager), Rig(Tier0)]
    for rig in rigs:
        rig.write(CODE, assemble(text, CODE))
        rig.write(far, assemble("addi 4,4,1; blr", far))
        rig.set(nia=CODE, r8=0x3884_0001, r7=6, r9=far)
    for _ in range(4):
        for rig in rigs:
            rig.run(LONG)
        assert not (d := difference(*rigs)), d
        regions_of(rigs[0]).drop_all()  # those made before the second page was known
        regions_of(rigs[0]).make(CODE)
    assert regions_of(rigs[0]).counts.changed_pages
    assert regions_of(rigs[0]).executed()
