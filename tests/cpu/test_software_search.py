"""Table search by software as programs meet it: misses, loading, what engines keep.  603e.

Source: MPC603eUM chapters 4 (table 4-2: priorities) and 5.  Each case on both engines.
"""

from __future__ import annotations

import pytest

from gossamer.cpu.cpu import Cpu
from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble
from gossamer.state.layout import Nested, View
from tests.engine.rig import Rig

CODE, DSI, ISI, PROGRAM = 0x1_0000, 0x300, 0x400, 0x700
FETCH_MISS, LOAD_MISS, STORE_MISS = 0x1000, 0x1100, 0x1200
EA, RA, TABLE = 0x3000_0000, 0x2_0000, 0x8_0000
IR, DR, PR, TGPR = 0x20, 0x10, 0x4000, 0x2_0000
R, C = 0x100, 0x80
KEY, FETCH, WAY, STORE = 0x8_0000, 0x4_0000, 0x2_0000, 0x1_0000
VSID = 0x123
NEXT_SET = 0x1000
SAME_SET = 0x2_0000
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])


def rig_with(engine: type, text: str, **registers: int) -> Rig:
    """A program in real mode for fetches, in segment 3 for data."""
    rig = Rig(engine, cpu="603e")
    rig.write(CODE, assemble(text, CODE))
    start = {"sdr1": TABLE, "sr3": VSID, "msr": DR, "r4": EA}
    rig.set(**(start | registers))
    return rig


def fill(rig: Rig, ea: int, low: int, *, way: int = 0, fetch: int = 0, vsid: int = VSID) -> None:
    """An entry as tlbld or tlbli would leave it."""
    n = fetch << 6 | way << 5 | ea >> 12 & 31
    rig.block.set("tlb_upper", 0x8000_0000 | vsid << 7 | ea >> 22 & 0x3F, n)
    rig.block.set("tlb_lower", low, n)
    rig.block.set("tlb_page", ea & 0xFFFF_F000, n)
    rig.engine.flush()


def values(rig: Rig, *names: str) -> list[int]:
    return [rig.get(name) for name in names]


@ENGINES
@pytest.mark.parametrize(
    ("text", "vector", "bits"),
    [("lwz 5,0x28(4)", LOAD_MISS, WAY), ("stw 5,0x28(4)", STORE_MISS, WAY | STORE)],
)
def test_data_miss_says_what_to_look_for(engine: type, text: str, vector: int, bits: int) -> None:
    rig = rig_with(engine, text, r4=EA + 0x0042_3000, cr=0xA123_4567, dar=1, dsisr=2, imiss=3)
    rig.run(1)
    ea = EA + 0x0042_3028
    assert values(rig, "nia", "srr0", "srr1", "msr") == [vector, CODE, 0xA000_0010 | bits, TGPR]
    hashed = (VSID ^ ea >> 12) & 0x3FF
    assert values(rig, "dmiss", "dcmp") == [ea, 0x8000_0000 | VSID << 7 | 1]
    assert values(rig, "hash1", "hash2") == [TABLE + hashed * 64, TABLE + (hashed ^ 0x3FF) * 64]
    assert values(rig, "imiss", "icmp", "dar", "dsisr") == [3, 0, 1, 2]


@ENGINES
def test_fetch_miss(engine: type) -> None:
    rig = rig_with(engine, "nop", nia=EA + 4, msr=IR, cr=0x5000_0000, dmiss=7)
    rig.run(1)
    wanted = [FETCH_MISS, EA + 4, 0x5000_0000 | FETCH | WAY | IR, TGPR]
    assert values(rig, "nia", "srr0", "srr1", "msr") == wanted
    assert values(rig, "imiss", "icmp", "dmiss", "dcmp") == [EA + 4, 0x8000_0000 | VSID << 7, 7, 0]


@ENGINES
@pytest.mark.parametrize(("msr", "ks", "kp"), [(DR, 1, 0), (DR | PR, 0, 1)])
def test_key_is_of_the_mode(engine: type, msr: int, ks: int, kp: int) -> None:
    rig = rig_with(engine, "lwz 5,0(4)", msr=msr, sr3=VSID | ks << 30 | kp << 29)
    rig.run(1)
    assert rig.get("srr1") & KEY
    rig = rig_with(engine, "lwz 5,0(4)", msr=msr, sr3=VSID | kp << 30 | ks << 29)
    rig.run(1)
    assert not rig.get("srr1") & KEY


@ENGINES
def test_gprs_0_to_3_are_others_until_the_return(engine: type) -> None:
    rig = rig_with(engine, "lwz 5,0(4)", r0=10, r1=11, r2=12, r3=13, tgpr0=20, tgpr3=23)
    rig.write(LOAD_MISS, assemble("addi 3,3,1; mtspr 982,6; tlbld 4; rfi", LOAD_MISS))
    rig.set(r6=RA | R | C | 2)
    rig.words(RA, 0x1122_3344)
    rig.run(1)
    assert values(rig, "r0", "r1", "r2", "r3", "r4") == [20, 0, 0, 23, EA]
    assert rig.block.all("tgpr") == [10, 11, 12, 13]
    rig.run(4)
    assert values(rig, "r0", "r3", "msr", "nia") == [10, 13, DR, CODE]
    assert rig.block.all("tgpr") == [20, 0, 0, 24]
    rig.run(1)
    assert rig.get("r5") == 0x1122_3344


@ENGINES
def test_mtmsr_changes_them_too(engine: type) -> None:
    rig = rig_with(engine, "mtmsr 3; mtmsr 5; mfmsr 6", msr=0, r3=TGPR | 4, r1=1, tgpr1=2, r5=0)
    rig.run(1)
    assert values(rig, "r1", "msr") == [2, TGPR]  # PM is not there
    rig.run(1)
    assert values(rig, "r1", "msr") == [1, 0]


@ENGINES
def test_exception_in_a_miss_interrupt_has_the_programs_registers(engine: type) -> None:
    rig = rig_with(engine, "sc", msr=TGPR, r1=1, tgpr1=2)
    rig.run(1)
    assert values(rig, "nia", "msr", "r1", "srr1") == [0xC00, 0, 2, 0]
    assert rig.block.get("tgpr", 1) == 1


@ENGINES
def test_rfi_clears_tgpr_and_takes_nothing_from_ways_place(engine: type) -> None:
    rig = rig_with(engine, "rfi", msr=TGPR, srr0=CODE + 16, srr1=WAY | STORE | DR)
    rig.run(1)
    assert values(rig, "msr", "nia") == [DR, CODE + 16]


@ENGINES
@pytest.mark.parametrize(("way", "at"), [(0, 3), (1, 35)])
def test_tlbld_loads_the_way_that_srr1_names(engine: type, way: int, at: int) -> None:
    text = "mtspr 982,5; tlbld 4; lwz 6,0(4); lwz 7,0(8)"
    rig = rig_with(engine, text, r4=EA + 0x3008, srr1=way << 17, r5=RA | R | 2, r8=EA + 0x2_3000)
    rig.set(dcmp=0x8000_0000 | VSID << 7)
    rig.words(RA + 8, 0x1234)
    rig.run(3)
    assert values(rig, "r6", "nia") == [0x1234, CODE + 12]
    entry = [rig.block.get(f"tlb_{n}", at) for n in ("upper", "lower", "page")]
    assert entry == [0x8000_0000 | VSID << 7, RA | R | 2, EA + 0x3000]
    rig.run(1)  # another page of the set: the other way is next
    assert values(rig, "nia", "srr1") == [LOAD_MISS, DR | (0 if way else WAY)]


@ENGINES
def test_tlbli_loads_the_instruction_tlb_only(engine: type) -> None:
    rig = rig_with(engine, "mtspr 982,5; tlbli 4; lwz 6,0(4)", r5=RA | R | 2)
    rig.set(icmp=0x8000_0000 | VSID << 7)
    rig.write(RA, assemble("li 7,7"))
    rig.run(3)
    assert rig.get("nia") == LOAD_MISS
    rig.set(nia=EA, msr=IR)
    rig.run(1)
    assert values(rig, "nia", "r7") == [EA + 4, 7]


@ENGINES
def test_an_entry_that_has_been_replaced_is_not_used_any_more(engine: type) -> None:
    """Also where an engine has kept it for a second segment with the same VSID."""
    text = "lwz 5,0(4); lwz 6,0(7); mtspr 982,8; tlbld 9; lwz 5,0(4); b .; lwz 6,0(7)"
    rig = rig_with(engine, text, sr5=VSID, r7=0x5000_0000, r8=RA | 0x1000 | 2, r9=EA + SAME_SET)
    fill(rig, EA, RA | 2)
    rig.set(dcmp=0x8000_0000 | VSID << 7)
    rig.words(RA, 0x77)
    rig.run(2)
    assert values(rig, "r5", "r6", "nia") == [0x77, 0x77, CODE + 8]
    rig.run(3)
    assert values(rig, "nia", "dmiss") == [LOAD_MISS, EA]
    rig.set(nia=CODE + 24, msr=DR)
    rig.run(1)
    assert values(rig, "nia", "dmiss") == [LOAD_MISS, 0x5000_0000]


@ENGINES
def test_tlbie_invalidates_the_set_in_both_tlbs(engine: type) -> None:
    rig = rig_with(engine, "lwz 5,0(4); lwz 5,0(6); tlbie 7; lwz 5,0(4)")
    for way, fetch in ((0, 0), (1, 0), (0, 1), (1, 1)):
        fill(rig, EA + way * SAME_SET, RA | 2, way=way, fetch=fetch)
        fill(rig, EA + way * SAME_SET + NEXT_SET, RA | 2, way=way, fetch=fetch)
    rig.set(r6=EA + SAME_SET, r7=0x0770_0FFF)
    rig.run(4)
    assert values(rig, "nia", "dmiss") == [LOAD_MISS, EA]
    valid = [n for n, upper in enumerate(rig.block.all("tlb_upper")) if upper >> 31]
    assert valid == [1, 33, 65, 97]


@ENGINES
def test_store_to_an_unchanged_page_misses(engine: type) -> None:
    rig = rig_with(engine, "lwz 5,0(4); stw 5,0(4)", cr=0)
    fill(rig, EA, RA | R | 2)
    rig.run(1)
    assert rig.get("nia") == CODE + 4
    rig.run(1)
    # It is to be loaded over itself: no set has a page twice.
    assert values(rig, "nia", "srr0", "srr1") == [STORE_MISS, CODE + 4, STORE | DR]
    assert rig.memory.read(RA, 4) == bytes(4)


@ENGINES
@pytest.mark.parametrize("changed", [0, C])
def test_protection_comes_before_the_changed_bit(engine: type, changed: int) -> None:
    rig = rig_with(engine, "stw 5,4(4)", sr3=VSID | 1 << 30)
    fill(rig, EA, RA | R | changed | 1)
    rig.run(1)
    assert values(rig, "nia", "dsisr", "dar", "msr") == [DSI, 0x0A00_0000, EA + 4, 0]


@ENGINES
@pytest.mark.parametrize(
    ("segment", "low", "srr1"),
    [
        (VSID, RA | 2 | 8, 0x1000_0000),  # guarded
        (VSID | 0x1000_0000, None, 0x1000_0000),  # no-execute, whether it is there or not
        (VSID | 0x4000_0000, RA, 0x0800_0000),
        (VSID | 0x8000_0000, None, 0x1000_0000),
    ],
)
def test_fetch_that_is_refused_is_an_isi(
    engine: type, segment: int, low: int | None, srr1: int
) -> None:
    rig = rig_with(engine, "nop", sr3=segment, msr=IR, nia=EA)
    if low is not None:
        fill(rig, EA, low, fetch=1)
    rig.run(1)
    assert values(rig, "nia", "srr0", "srr1") == [ISI, EA, srr1 | IR]


@ENGINES
def test_direct_store_segment_is_a_dsi(engine: type) -> None:
    rig = rig_with(engine, "lwz 3,0(4)", sr3=0x8000_0123)
    rig.run(1)
    assert values(rig, "nia", "dsisr") == [DSI, 0x0400_0000]


@ENGINES
def test_block_comes_first(engine: type) -> None:
    rig = rig_with(engine, "lwz 5,0(4)", dbat0=EA | 2, dbat1=RA | 2)
    rig.words(RA, 0x99)
    rig.run(1)
    assert rig.get("r5") == 0x99


@ENGINES
@pytest.mark.parametrize("text", ["stw 3,-2(5)", "stmw 30,-4(5)", "stswi 6,5,31"])
def test_second_page_missing_writes_nothing(engine: type, text: str) -> None:
    at = EA + 0xFF4 if "stswi" in text else EA + 0x1000
    rig = rig_with(engine, text, r3=0x1122_3344, r5=at)
    fill(rig, EA, RA | R | C | 2)
    before = rig.pages()
    rig.run(1)
    assert values(rig, "nia", "dmiss") == [STORE_MISS, EA + 0x1000]
    assert rig.pages() == before


@ENGINES
def test_page_of_the_wrong_index_or_segment_misses(engine: type) -> None:
    for vsid, ea in ((VSID + 1, EA), (VSID, EA + SAME_SET), (VSID, EA + 0x40_0000)):
        rig = rig_with(engine, "lwz 5,0(4)")
        fill(rig, ea, RA | 2, vsid=vsid)
        rig.run(1)
        assert rig.get("nia") == LOAD_MISS


@ENGINES
@pytest.mark.parametrize("text", ["tlbld 3", "tlbli 3"])
def test_others_have_no_such_instructions(engine: type, text: str) -> None:
    rig = Rig(engine)
    rig.write(CODE, assemble(text))
    rig.run(1)
    assert rig.get("nia") == PROGRAM
    rig = Rig(engine, cpu="603e")
    rig.write(CODE, assemble(text))
    rig.set(msr=PR)
    rig.run(1)
    assert values(rig, "nia", "srr1") == [PROGRAM, 0x4_0000 | PR]


def test_streams_give_tlbs_to_this_part_only() -> None:
    layout = Cpu.data_tlb.layout
    assert layout is not None
    entry = next(item for item in layout if isinstance(item, Nested))
    assert entry.layout is not None
    word = entry.layout[0]
    assert isinstance(word, View)
    with pytest.raises(ValueError, match="the 750 has no TLB that software loads"):
        word.put(Rig().cpu, 1)
    rig = Rig(cpu="603e")
    word.put(rig.cpu, 0x8000_0000)
    assert rig.block.get("tlb_upper") == 0x8000_0000
    ways = (Cpu.fetch_tlb.layout or [])[-1]
    assert isinstance(ways, View)
    with pytest.raises(ValueError, match="must be 0 or 1, got 2"):
        ways.put(rig.cpu, [0, 2, *[0] * 62])
