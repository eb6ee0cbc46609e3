"""Code that changes under a region, pages that move under it, and debuggers: as on tier 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.engine.regions.forming import Limits
from gossamer.engine.regions.pauses import Pauses
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
    assert regions_of(rigs[0]).counts.changed_words
    assert regions_of(rigs[0]).executed()


def test_data_beside_the_code_of_a_region_do_not_drop_it() -> None:
    """In its page, and in the very line that its last words lie in."""
    text = "1: addi 3,3,1; stw 3,28(9); stwx 3,10,11; addi 11,11,4; clrlwi 11,11,21; b 1b"
    rig = both(text, lambda rig: None, r9=CODE, r10=CODE + 0x400)
    counts = regions_of(rig).counts
    assert rig.word(CODE + 28) == rig.get("r3")
    assert (counts.dropped, counts.changed_words) == (0, 0)


def test_regions_of_a_page_that_became_data_go_and_those_that_run_stay() -> None:
    """Stores beside the code of two pages for long: one of them is executed no more."""
    text = "1: addi 3,3,1; stw 3,64(9); stw 3,64(10); bdnz 1b; mtctr 5; b 1b"
    rigs = [Rig(Eager), Rig(Tier0)]
    for rig in rigs:
        for at in (CODE, CODE + 0x2000):
            rig.write(at, assemble(text, at))
        rig.set(r5=40, ctr=40, r9=CODE, r10=CODE + 0x2000)
    regions = regions_of(rigs[0])
    for at in (CODE + 0x2000, CODE):
        for rig in rigs:
            rig.set(nia=at)
            rig.run(LONG)
        assert len(regions.installed)
    runs = 0
    while not regions.counts.busy_pages and runs < 20:
        for rig in rigs:
            rig.run(200_000)
        runs += 1
    for rig in rigs:
        rig.run(100_000)
    assert not (d := difference(*rigs)), d
    assert regions.counts.busy_pages == 1
    assert not regions.counts.changed_words
    pages = {page for made in regions.installed.made for page in made.region.pages.values()}
    assert pages == {CODE // 4096}
    assert not rigs[0].memory.arena.code[CODE // 4096 + 2]


def test_only_regions_with_the_changed_word_are_dropped() -> None:
    text = "1: addi 3,3,1; bdnz 1b; mtctr 5; 2: addi 4,4,1; bdnz 2b; mtctr 5; b 1b"
    rig = Rig(Eager)
    rig.write(CODE, assemble(text, CODE))
    rig.set(nia=CODE, r5=40, ctr=40)
    rig.run(LONG)
    regions = regions_of(rig)
    regions.drop_all()
    regions.limits = Limits(2, 2)
    assert regions.make(CODE)
    assert regions.make(CODE + 12)
    rig.words(CODE + 12, 0x3884_0001)
    assert [made.region.head for made in regions.installed.made] == [CODE % 4096]


def test_code_that_changes_again_and_again_is_left_alone_for_longer_each_time() -> None:
    pauses = Pauses(100)
    assert pauses.begin(7, 1000)
    assert pauses.holds(7, 1099)
    assert not pauses.begin(7, 1099), "what belongs together counts once"
    assert not pauses.holds(7, 1100)
    assert pauses.begin(7, 1150)
    assert pauses.holds(7, 1349)
    assert not pauses.holds(7, 1350)
    assert not pauses.holds(8, 1100)
    assert pauses.begin(7, 5000), "a calm time"
    assert not pauses.holds(7, 5100)
    for n in range(10_000):
        pauses.begin(n, 6000)
    assert len(pauses._of) <= 4096
