"""Segments, the hypervisor's hash table and interrupts of a 970MP, on the reference engine.

Where a page lies and what a walk answers follows from Power ISA 2.03 Book III-S 4.5 to 4.8; fault
bits and vectors from 4.5 and 6.5.
"""

from __future__ import annotations

from typing import Final

import pytest

from gossamer.core.htab import CHANGED, REFERENCED, SECONDARY, VALID, HashTable
from gossamer.core.memory import AddressMap, Arena
from gossamer.cpu.model import find
from gossamer.engine.reference import Reference
from gossamer.isa.architecture import MSR_SF
from gossamer.isa.text import assemble

RAM: Final = 0x20_0000
CODE: Final = 0x1000
MSR: Final = MSR_SF | 0x1000  # ME
DR, IR, PR, EE = 0x10, 0x20, 0x4000, 0x8000
VSID: Final = 0x12345
KP, KS, NX = 0x400, 0x800, 0x200
ESID: Final = 0xC000_0000_0000_0000
V: Final = 0x0800_0000
NOT_FOUND, PROTECTED, NO_EXECUTE, STORE = 0x4000_0000, 0x0800_0000, 0x1000_0000, 0x0200_0000


class Rig:
    """A CPU with one segment at `ESID`, in real mode for fetches."""

    def __init__(self, model: str = "970mp_v1.1", vsid: int = VSID << 12) -> None:
        arena = Arena(RAM)
        memory = AddressMap(arena)
        memory.map(arena.add("ram", RAM), 0)
        self.table = memory.hash_table = HashTable(18)
        self.cpu = Reference(memory, find(model).architecture)
        self.block, self.memory = self.cpu.block, memory
        self.block.set("slb_esid", ESID | V, 3)
        self.block.set("slb_vsid", vsid, 3)
        self.block.set("msr", MSR | DR)

    def enter(self, page: int, real: int, flags: int = 0, *, second: bool = False) -> int:
        """Put page `page` (4 KiB) of the segment into its group; the entry's number."""
        hashed = (VSID ^ page) & (1 << 11) - 1
        group = hashed ^ (1 << 11) - 1 if second else hashed
        n = 8 * group + 5
        avpn = VSID << 12 | (page << 12 >> 16 & ~0x7F)
        self.table.write(n, avpn | VALID | (SECONDARY if second else 0), real | flags)
        return n

    def run(self, source: str, nia: int = CODE, **registers: int) -> Rig:
        code = assemble(source, CODE)
        self.memory.write(CODE, code)
        self.block.set("nia", nia)
        for name, value in registers.items():
            number = name.lstrip("r")
            if number.isdigit():
                self.block.set("gpr", value, int(number))
            else:
                self.block.set(name, value)
        for _ in range(len(code) // 4):
            self.cpu.run(1)
        return self

    def get(self, name: str, n: int = 0) -> int:
        return self.block.get(name, n)


@pytest.mark.parametrize("second", [False, True])
def test_a_page_is_found_in_either_group(second: bool) -> None:
    rig = Rig()
    n = rig.enter(0x1234, 0x5000, second=second)
    rig.memory.write(0x5678, bytes(range(8)))
    rig.run("ld 3,0x678(4)", r4=ESID + (0x1234 << 12))
    assert rig.get("gpr", 3) == 0x0001_0203_0405_0607
    assert rig.table.read(n)[1] == 0x5000 | REFERENCED
    rig.run("std 3,0(4)", r3=7)
    assert rig.table.read(n)[1] == 0x5000 | REFERENCED | CHANGED
    assert rig.memory.read(0x5007, 1) == b"\7"


def test_a_page_of_another_group_of_the_same_name_is_none() -> None:
    rig = Rig()
    rig.enter(0x1234, 0x5000)
    rig.run("ld 3,0(4)", r4=ESID + (0x1235 << 12) + 8)
    assert (rig.get("nia"), rig.get("srr0"), rig.get("dar")) == (0x300, CODE, ESID + 0x123_5008)
    assert rig.get("dsisr") == NOT_FOUND


@pytest.mark.parametrize(
    ("key", "pp", "reads", "writes"),
    [(0, 0, 1, 1), (0, 3, 1, 0), (1, 0, 0, 0), (1, 1, 1, 0), (1, 2, 1, 1), (1, 3, 1, 0)],
)  # fmt: skip
def test_protection_is_the_keys_and_the_pages(key: int, pp: int, reads: int, writes: int) -> None:
    for source, allowed, bits in (("lbz 3,0(4)", reads, 0), ("stb 3,0(4)", writes, STORE)):
        rig = Rig(vsid=VSID << 12 | (KS if key else KP))
        n = rig.enter(1, 0x5000, pp)
        rig.run(source, r4=ESID + 0x1000)
        if allowed:
            assert rig.get("nia") == CODE + 4
        else:
            assert (rig.get("nia"), rig.get("dsisr")) == (0x300, PROTECTED | bits)
            assert rig.table.read(n)[1] == 0x5000 | pp  # R and C are those of allowed accesses


def test_a_segment_that_is_in_no_entry_is_asked_for() -> None:
    rig = Rig().run("lwz 3,0(4)", r4=0x1000_0000)
    assert (rig.get("nia"), rig.get("dar"), rig.get("srr0")) == (0x380, 0x1000_0000, CODE)
    assert rig.get("srr1") == MSR | DR
    assert rig.get("msr") == MSR
    rig.block.set("msr", MSR | IR)
    rig.block.set("nia", 0x2000_0004)
    rig.cpu.run(1)
    assert (rig.get("nia"), rig.get("srr0"), rig.get("srr1")) == (0x480, 0x2000_0004, MSR | IR)
    assert rig.get("dar") == 0x1000_0000


@pytest.mark.parametrize(
    ("vsid", "flags", "bits"),
    [(0, 4, NO_EXECUTE), (0, 8, NO_EXECUTE), (NX, 0, NO_EXECUTE), (KS, 0, PROTECTED)],
)
def test_fetches_that_are_barred(vsid: int, flags: int, bits: int) -> None:
    rig = Rig(vsid=VSID << 12 | vsid)
    rig.enter(1, 0x5000, flags)
    rig.block.set("msr", MSR | IR)
    rig.block.set("nia", ESID + 0x1000)
    rig.cpu.run(1)
    assert (rig.get("nia"), rig.get("srr1")) == (0x400, MSR | IR | bits)


def test_a_large_page_and_a_segment_of_a_terabyte() -> None:
    """POWER8: L || LP 64 KiB, B = 1: the hash has the VSID twice, 25 bits apart."""
    vsid, page = 0x7_1234, 0x321
    rig = Rig("power8_v2.0", vsid=1 << 62 | vsid << 24 | 0x110)
    hashed = (vsid ^ vsid << 25 ^ page) & (1 << 11) - 1
    v = 1 << 62 | vsid << 24 | (page << 16 >> 16 & ~0x7F) | 4 | VALID
    rig.table.write(8 * hashed, v, 0x1_0000 | 1 << 12)  # 64 KiB: LP = 1
    rig.memory.write(0x1_ABC8, bytes(range(8)))
    rig.run("ld 3,0(4)", r4=ESID + (page << 16) + 0xABC8)
    assert rig.get("gpr", 3) == 0x0001_0203_0405_0607


def test_real_mode_ignores_the_four_highest_bits() -> None:
    rig = Rig()
    rig.memory.write(0x8000, b"\x12\x34")
    rig.run("lhz 3,0(4)", msr=MSR, r4=0xF000_0000_0000_8000)
    assert rig.get("gpr", 3) == 0x1234


def test_entries_are_made_found_and_taken_away() -> None:
    rig = Rig()
    esid, vsid = 0xB000_0000_1000_0000 | V, 0xABC_D000 | KP
    rig.run("slbmte 3,4; slbmfee 5,6; slbmfev 7,6", r3=vsid, r4=esid | 9, r6=9, msr=MSR)
    assert (rig.get("gpr", 5), rig.get("gpr", 7)) == (esid, vsid)
    rig.run("slbie 4; slbmfee 5,6", msr=MSR)
    assert rig.get("gpr", 5) == esid & ~V
    assert rig.get("slb_esid", 3) == ESID | V
    rig.block.set("slb_esid", V, 0)
    rig.run("slbia", msr=MSR)
    assert [n for n in range(64) if rig.get("slb_esid", n) & V] == [0]


@pytest.mark.parametrize(
    ("rs", "rb"), [(0, 64), (0x110, 1), (1 << 62, 1), (1 << 63, 1), (0, 0x1001), (0x120, 1)]
)
def test_an_entry_that_the_part_has_not_is_illegal(rs: int, rb: int) -> None:
    rig = Rig().run("slbmte 3,4", r3=rs, r4=rb | V, msr=MSR)
    assert (rig.get("nia"), rig.get("srr1")) == (0x700, MSR | 0x8_0000)


@pytest.mark.parametrize("source", ["mtmsrd 3,0", "rfid", "slbia", "slbmte 3,4", "slbmfee 3,4"])
def test_programs_may_not(source: str) -> None:
    rig = Rig().run(source, msr=MSR | PR | EE)
    assert (rig.get("nia"), rig.get("srr1") & 0x783F_0000) == (0x700, 0x4_0000)


@pytest.mark.parametrize(
    ("source", "bits"),
    [("hrfid", 0x8_0000), ("mtspr 1013,3", 0x4_0000), ("mfspr 3,318", 0x4_0000)],
)
def test_a_hypervisors_instructions_are_not_the_guests(source: str, bits: int) -> None:
    rig = Rig("power8_v2.0").run(source, msr=MSR)
    assert (rig.get("nia"), rig.get("srr1") & 0x783F_0000) == (0x700, bits)


def test_sdr1_is_kept_and_means_nothing() -> None:
    """As QEMU 7.2 has it on a pseries, tlbie too."""
    rig = Rig().run("mtspr 25,3; mfspr 4,25; tlbie 3", r3=0x1234_5678, msr=MSR)
    assert (rig.get("gpr", 4), rig.get("nia")) == (0x1234_0018, CODE + 12)


def test_a_hypercall_finds_what_is_behind_it() -> None:
    rig, seen = Rig(), []
    rig.cpu.effect = lambda code, argument: seen.append((code, rig.get("gpr", 3)))
    rig.run(".long 0x44000022", r3=0x58, msr=MSR)
    assert seen == [(7, 0x58)]
    assert (rig.get("nia"), rig.get("srr0")) == (CODE + 4, 0)


def test_a_system_call_and_the_way_back() -> None:
    rig = Rig().run("sc", msr=MSR | PR | EE | DR)
    assert (rig.get("nia"), rig.get("srr0")) == (0xC00, CODE + 4)
    assert (rig.get("srr1"), rig.get("msr")) == (MSR | PR | EE | DR, MSR)
    rig.run("rfid", srr0=0x1_0000_2003, srr1=MSR | PR)
    assert (rig.get("nia"), rig.get("msr")) == (0x1_0000_2000, MSR | PR | EE | IR | DR)


def test_mtmsrd_with_l_sets_two_bits() -> None:
    rig = Rig().run("mtmsrd 3,1", r3=0x8002, msr=MSR | DR)
    assert rig.get("msr") == MSR | DR | 0x8002
    rig.run("mtmsrd 3,0", r3=0, msr=MSR)
    assert rig.get("msr") == 0x1000  # ME stays


def test_interrupts_of_a_power8_enter_with_translation_where_lpcr_says_so() -> None:
    rig = Rig("power8_v2.0")
    rig.run("sc", msr=MSR | IR | DR, nia=CODE)  # nothing translates CODE: a fetch interrupt first
    assert rig.get("nia") == 0x480
    rig.block.set("lpcr", 3 << 23)
    for msr, nia, after in (
        (MSR | IR | DR, 0xC000_0000_0000_4900, MSR | IR | DR),
        (MSR | DR, 0x900, MSR),
    ):
        rig.block.set("msr", msr)
        rig.cpu.deliver(0x900)
        assert (rig.get("nia"), rig.get("msr")) == (nia, after)


# --- 32-bit mode ----------------------------------------------------------------------------------

NARROW: Final = 0x1000


def test_32_bit_mode_looks_at_the_low_words() -> None:
    rig = Rig().run("addco. 3,4,5", r4=0x1_7FFF_FFFF, r5=0x1_0000_0001, msr=NARROW)
    assert rig.get("gpr", 3) == 0x2_8000_0000
    assert (rig.get("crf", 0), rig.get("ov"), rig.get("ca")) == (0b1001, 1, 0)
    rig.run("adde. 3,4,5", r4=0x5_FFFF_FFFF, r5=0, ca=1, so=0, msr=NARROW)
    assert (rig.get("crf", 0), rig.get("ca")) == (0b0010, 1)


def test_32_bit_mode_has_addresses_of_32_bits() -> None:
    rig = Rig()
    rig.memory.write(0x8000, b"\x12\x34")
    rig.run("lhzu 3,16(4)", r4=0x7_FFFF_FFFF_0000_7FF0, msr=NARROW)
    assert (rig.get("gpr", 3), rig.get("gpr", 4)) == (0x1234, 0x8000)
    rig.run("blr", lr=0x9_0000_2000)
    assert rig.get("nia") == 0x2000
    rig.run("bdnz .+8", ctr=0x1_0000_0001)
    assert (rig.get("nia"), rig.get("ctr")) == (CODE + 4, 0x1_0000_0000)
    rig.run("rfid", srr0=0x5_0000_2000, srr1=MSR_SF)
    assert (rig.get("nia"), rig.get("msr")) == (0x5_0000_2000, MSR_SF)


def test_an_interrupt_in_32_bit_mode_enters_in_64() -> None:
    rig = Rig().run("sc", msr=NARROW)
    assert (rig.get("nia"), rig.get("msr"), rig.get("srr1")) == (0xC00, MSR, NARROW)
