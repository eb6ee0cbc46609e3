"""When regions are made: in a thread, from disk, in a full arena; what fails stays small."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from gossamer.base.errors import HostError
from gossamer.engine.regions import compiling
from gossamer.engine.regions import regions as making
from gossamer.engine.regions.forming import Limits
from gossamer.engine.regions.put_by import MOST, Found, PutBy
from gossamer.engine.regions.regions import Regions
from gossamer.engine.regions.store import RegionStore
from gossamer.engine.regions.view import Fetches
from gossamer.engine.tier0 import Sample, Tier0
from gossamer.isa.text import assemble
from tests.engine.rig import Rig, difference

CODE = 0x1_0000
LOOP = "1: addi 3,3,1; xor 4,4,3; bdnz 1b; mtctr 5; b 1b"


def rig(text: str = LOOP, **options: Any) -> tuple[Rig, Regions]:
    made = Rig(Tier0)
    made.write(CODE, assemble(text, CODE))
    made.set(nia=CODE, r5=1000, ctr=1000)
    architecture = made.cpu.model.architecture
    assert isinstance(made.engine, Tier0)
    options.setdefault("after_blocks", 1)
    return made, Regions(made.engine, architecture, threshold=2, interval=1024, **options)


def run_until(made: Rig, done: Any, most: int = 12_000) -> None:
    for _ in range(most):
        if done():
            return
        made.run(20_000)
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def compiled_and_equal(made: Rig, regions: Regions) -> None:
    """The loop's region comes, most is executed in it, and the state is tier 0's."""
    run_until(made, lambda: len(regions.installed))
    made.run(100_000)
    assert regions.executed() > 50_000
    plain = Rig(Tier0)
    plain.write(CODE, assemble(LOOP, CODE))
    plain.set(nia=CODE, r5=1000, ctr=1000)
    plain.run(made.engine.count)
    assert not (d := difference(made, plain)), d
    regions.close()


def test_thread_compiles_and_the_state_is_the_same() -> None:
    made, regions = rig(threaded=True)
    compiled_and_equal(made, regions)


def test_region_comes_from_disk_the_second_time(tmp_path: Path) -> None:
    made, regions = rig(store=RegionStore(tmp_path / "cache"))
    made.run(200_000)
    assert regions.counts.made
    regions.close()
    made, regions = rig(store=RegionStore(tmp_path / "cache"))
    made.run(200_000)
    assert regions.counts.found
    assert not regions.counts.made
    assert regions.executed() > 50_000


def test_report_says_what_each_tier_executed() -> None:
    made, regions = rig()
    assert "0.0 % of 1 instructions in regions" in regions.report()
    made.run(400_000)
    share = 100 * regions.executed() / 400_000
    assert share > 50
    assert f"{share:.1f} % of 400000 instructions in regions, {100 - share:.1f}" in regions.report()
    regions.close()


def test_a_slice_that_ends_in_an_inner_loop_does_not_end_the_region() -> None:
    """Tier 0 would go on to the next time round the outer loop, where the region is entered."""
    nested = "1: addi 7,7,1; mtctr 5; 2: addi 3,3,1; xor 4,4,3; bdnz 2b; b 1b"
    rigs = [Rig(Tier0), Rig(Tier0)]
    for one in rigs:
        one.write(CODE, assemble(nested, CODE))
        one.set(nia=CODE, r5=5000)
        one.run(20)
    engine = rigs[0].engine
    assert isinstance(engine, Tier0)
    regions = Regions(
        engine, rigs[0].cpu.model.architecture, threshold=1 << 20, interval=1024, blocks=False
    )
    regions.make(CODE)
    assert len(regions.installed) == 1
    for one in rigs:
        one.run(400_000)
    assert not (d := difference(*rigs)), d
    assert 350_000 < regions.executed() <= 400_000
    regions.close()


STORED: Final = """
    lis 8,0x2; addi 9,8,0; lis 10,0x3; li 5,100
1:  addi 5,5,12345; stw 5,8(8); rotlwi 6,5,13; stw 6,12(8); lfd 1,8(8); lhz 7,14(8); add 20,20,7
    stfd 1,24(8); lwz 11,28(8); sth 5,26(8); lwz 12,24(8); lbz 13,27(8); lfd 2,24(8)
    add 20,20,11; rotlwi 20,20,1; add 20,20,12; rotlwi 20,20,1; add 20,20,13; rotlwi 20,20,1
    stw 7,32(8); stb 11,32(9); lwz 14,32(8); stw 12,36(8); stb 5,37(8); lhz 15,36(8); lha 16,38(8)
    add 20,20,14; rotlwi 20,20,1; add 20,20,15; rotlwi 20,20,1; add 20,20,16; rotlwi 20,20,1
    stwu 5,4(10); stw 6,4(10); lwz 17,0(10); lwz 18,4(10); addi 10,10,-4; add 20,20,17
    xor 20,20,18; lfs 3,8(8); stfs 3,40(8); lwz 19,40(8); stw 19,44(8); lfs 4,44(8); add 20,20,19
    stfd 2,48(8); lwz 21,48(8); lwz 22,52(8); stfd 4,56(8); lwz 23,56(8); add 20,20,21
    xor 20,20,22; rotlwi 20,20,1; add 20,20,23; b 1b
"""


@pytest.mark.parametrize(("cpu", "msr"), [("750", 0x2000), ("970mp_v1.1", 1 << 63 | 0x2000)])
def test_a_load_of_what_the_block_stored_gives_the_same(cpu: str, msr: int) -> None:
    """Of two words, parts of one, what another register's store changed, singles and doubles.

    All that is loaded goes into one sum: a run ends with a page of single steps.
    """
    rigs = [Rig(Tier0, cpu=cpu), Rig(Tier0, cpu=cpu)]
    for one in rigs:
        one.write(CODE, assemble(STORED, CODE))
        one.set(nia=CODE, msr=msr)
        one.run(100)
    engine = rigs[0].engine
    assert isinstance(engine, Tier0)
    regions = Regions(
        engine, rigs[0].cpu.model.architecture, threshold=1 << 20, interval=1024, blocks=False
    )
    regions.make(CODE + 16)
    for _ in range(20):
        for one in rigs:
            one.run(4999)
        assert not (d := difference(*rigs)), d
    assert regions.executed() > 60_000
    regions.close()


def test_straight_code_behind_a_region_that_grew_no_longer_becomes_one_too() -> None:
    """No branch leads there: the sampler finds it where the region before it is left."""
    body = "; ".join(["addi 3,3,1; xor 4,4,3"] * 60)
    made, regions = rig(text=f"1: {body}; b 1b", limits=Limits(instructions=40, in_line=40))
    made.run(2_000_000)
    assert len(regions.installed) == 3
    before = regions.executed()
    made.run(200_000)
    assert regions.executed() - before > 195_000
    plain = Rig(Tier0)
    plain.write(CODE, assemble(f"1: {body}; b 1b", CODE))
    plain.set(nia=CODE, r5=1000, ctr=1000)
    plain.run(made.engine.count)
    assert not (d := difference(made, plain)), d
    regions.close()


def test_big_region_waits_longer_and_what_a_region_contains_longer_still() -> None:
    """What compiling costs grows with the region; slices end inside of regions, too."""
    text = "1: addi 3,3,1; " + "; ".join(["xor 4,4,3"] * 20) + "; b 1b"
    made, regions = rig(unit=4)
    made.write(CODE, assemble(text, CODE))
    made.run(6 * 1024)
    assert (regions.counts.made, len(regions._sizes)) == (0, 1)
    made.run(40 * 1024)
    assert regions.counts.made == 1
    assert not regions.installed.made[0].region.blocks, "the graph takes memory"
    made.write(CODE + 0x100, assemble(f"b {CODE + 8:#x}", CODE + 0x100))
    sample = Sample(regions.view.entry(CODE // 4096, 8), 0, 16, CODE)
    regions.found([sample])
    assert regions.counts.made == 1, "inside of the other"
    regions.found([replace(sample, count=16 * 8)])
    assert regions.counts.made == 2


def test_what_an_indirect_branch_goes_to_is_no_part_of_another_region() -> None:
    made, regions = rig()
    made.write(CODE, assemble("1: addi 3,3,1; xor 4,4,3; xor 4,4,3; b 1b", CODE))
    made.run(6 * 1024)
    assert regions.counts.made == 1
    sample = Sample(regions.view.entry(CODE // 4096, 8), 0, 4, CODE)
    regions.found([sample])
    assert regions.counts.made == 1
    regions.found([replace(sample, source=regions.view.entry(CODE // 4096, 0x200)), sample])
    assert regions.counts.made == 2


def test_return_out_of_a_region_ends_it() -> None:
    made, regions = rig()
    made.write(CODE, assemble("1: bl 2f; addi 4,4,1; b 1b; 2: addi 3,3,1; blr", CODE))
    made.run(6 * 1024)
    behind, function = (regions.view.entry(CODE // 4096, n) for n in (4, 12))
    regions.found([Sample(behind, regions.view.entry(CODE // 4096, 16), 2, CODE)])
    regions.drop_all()
    regions.make(CODE + 12)
    regions.make(CODE + 4)
    counts = {e: m.region.count for e, m in regions.installed._by_entry.items()}
    # Behind the call: the loop with the function in it.
    assert counts == {function: 2, behind: 5}


def test_place_that_was_hot_in_an_earlier_process_is_compiled_sooner(tmp_path: Path) -> None:
    for made_then in (0, 1):
        made, regions = rig(store=RegionStore(tmp_path / "cache"))
        made.run(10)
        regions.threshold = 16
        sample = Sample(regions.view.entry(CODE // 4096, 0), 0, 2, CODE)
        regions.found([sample])
        assert regions.counts.made == 0
        regions.found([replace(sample, count=8)])
        assert regions.counts.made == made_then
        regions.close()


def test_stored_region_of_other_words_is_not_used(tmp_path: Path) -> None:
    made, regions = rig(store=RegionStore(tmp_path / "cache"))
    made.run(200_000)
    regions.close()
    made, regions = rig(store=RegionStore(tmp_path / "cache"))
    made.words(CODE + 12, 0x7CA9_03A6 + (1 << 21))  # mtctr 6
    made.set(r6=77)
    made.run(200_000)
    assert not regions.counts.found or regions.counts.made
    plain = Rig(Tier0)
    plain.write(CODE, assemble(LOOP.replace("mtctr 5", "mtctr 6"), CODE))
    plain.set(nia=CODE, r5=1000, r6=77, ctr=1000)
    plain.run(200_000)
    assert not (d := difference(made, plain)), d


def test_full_arena_is_emptied_and_used_again() -> None:
    made, regions = rig(size=4096)

    def cleared() -> int:
        regions.drop_all()
        regions.make(CODE)
        return regions.counts.cleared

    run_until(made, cleared)
    made.run(20_000)
    assert regions.executed()


def test_compiler_that_fails_leaves_the_code_to_tier_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("LLVM says no")

    monkeypatch.setattr(compiling, "compile_text", fail)
    made, regions = rig(threaded=True)
    run_until(made, lambda: regions.counts.failed)
    assert "LLVM says no" in regions.report()
    assert not len(regions.installed)
    regions.close()


def test_host_without_memory_for_code_leaves_it_to_tier_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(size: int) -> None:
        raise HostError("memory for code: refused")

    monkeypatch.setattr(making, "CodeArena", fail)
    made, regions = rig()
    made.run(100_000)
    assert made.engine.count == 100_000
    assert "refused" in regions.report()


def test_what_is_under_way_when_the_machine_ends_is_stored(tmp_path: Path) -> None:
    store = RegionStore(tmp_path / "cache")
    made, regions = rig(threaded=True, store=store)
    made.run(10)
    assert regions.make(CODE)
    assert not len(regions.installed)
    regions.leave(ends=True)
    assert store.pending == 0
    made, regions = rig(store=RegionStore(tmp_path / "cache"))
    made.run(200_000)
    assert (regions.counts.found, regions.counts.made) == (1, 0)
    regions.close()


def test_function_that_has_a_region_is_no_part_of_its_callers_regions() -> None:
    function = "; ".join(["addi 3,3,1"] * 20)
    made, regions = rig()
    made.write(CODE, assemble(f"1: bl 2f; addi 4,4,1; b 1b; 2: {function}; blr", CODE))
    for heads, counts in (((0, 12), {0: 24, 12: 21}), ((12, 0), {12: 21, 0: 1})):
        made.run(1024)
        regions.drop_all()
        for head in heads:
            regions.make(CODE + head)
        assert {m.region.head: m.region.count for m in regions.installed.made} == counts


def resting(**options: Any) -> tuple[Rig, Regions]:
    """A loop that is hot, but not enough to be compiled while it runs."""
    made, regions = rig(threaded=True, **options)
    regions.threshold = 1 << 20
    made.run(1024 * making.PUT_BY * 3)
    assert len(regions._put_by)
    assert not regions._asked
    return made, regions


def test_what_is_hot_is_compiled_when_the_guest_rests() -> None:
    """With the pages that it had then: where the guest waits there may be others."""
    made, regions = resting()
    assert isinstance(made.engine, Tier0)
    made.engine.flush()
    assert regions.view.page(CODE) is None
    regions.rest()
    assert len(regions._asked) == 1
    regions.rest()
    compiled_and_equal(made, regions)


def test_what_rests_take_is_a_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    _, regions = resting()
    monkeypatch.setattr(making.host, "process_cpu_ns", lambda: 1000)
    regions.rest()
    assert not regions._asked
    monkeypatch.undo()
    regions.rest()
    assert regions._asked
    regions.close()


def test_code_that_changed_since_is_compiled_as_it_is_now() -> None:
    made, regions = resting()
    made.write(CODE, assemble("1: addi 3,3,7; xor 4,4,3; bdnz 1b; mtctr 5; b 1b", CODE))
    regions.rest()
    assert not regions._asked, "not decoded yet"
    regions.close()


def test_the_hottest_is_taken_first_and_the_least_hot_gives_way() -> None:
    kept = PutBy()
    for n in range(MOST + 2):
        kept.put(n, Found((n + 7) % (MOST + 2), n, Fetches(b"", narrow=False)))
    assert len(kept) == MOST
    taken = [found.looks for _, found in iter(kept.take, None)]
    assert taken == sorted(taken, reverse=True)
    assert min(taken) == 2
