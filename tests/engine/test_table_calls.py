"""Hypercalls on the table in native code and in Python: the same answers, the same table."""

from __future__ import annotations

import random

import pytest

from gossamer.core.htab import HashTable
from gossamer.devices.spapr.calls import Hypercalls
from gossamer.devices.spapr.pft import PageTableCalls
from gossamer.engine.tier0 import Tier0

from .programs_64 import CPU, MSR_SF
from .rig import RAM_SIZE, Rig, difference

SC_1 = 0x4400_0022
CODE = 0x1_0000


def rig_with(*, native: bool) -> tuple[Rig, list[int]]:
    """A CPU below such a hypervisor, and the numbers that Python was asked for."""
    rig = Rig(Tier0, cpu=CPU)
    table = rig.memory.hash_table
    assert isinstance(table, HashTable)
    calls, asked = Hypercalls(), []
    calls.add(PageTableCalls(table, RAM_SIZE).handlers())

    def hypercall() -> None:
        asked.append(rig.get("r3"))
        calls(rig.block)

    rig.cpu.hypercall = hypercall
    rig.words(CODE, SC_1)
    if native:
        rig.engine.answer_calls(RAM_SIZE)
    return rig, asked


def request(rng: random.Random, count: int) -> tuple[int, ...]:
    """Flags, index, V, R: mostly what a guest asks for, and now and then each other thing."""

    def but(usual: int, *others: int) -> int:
        return usual if rng.random() < 0.85 else rng.choice(others)

    flags = but(0, 1 << 39, 1 << 15, rng.getrandbits(64))
    index = but(rng.randrange(64), count - 1, count, count + 7, (1 << 64) - 1)
    v = rng.getrandbits(40) << 12 | but(1, 5, 0, 0x63, 3)
    ra = but(rng.randrange(RAM_SIZE) & ~0xFFF, RAM_SIZE, 1 << 45, 1 << 63)
    return flags, index, v, ra | but(0x10, 0, 0x30, 0x20, 0x18) | rng.choice((0, 2, 0x190))


def test_native_code_answers_as_the_machine_does() -> None:
    (a, asked), (b, all_asked) = rig_with(native=True), rig_with(native=False)
    rng = random.Random(3)
    for n in range(600):
        given = request(rng, b.memory.hash_table.count)  # type: ignore[union-attr]
        number = 8 if rng.random() < 0.97 else rng.choice((4, 0xC, 0x18, 0x123))
        user = 0x4000 if rng.random() < 0.03 else 0
        for rig in (a, b):
            rig.set(nia=CODE, msr=MSR_SF | user, r3=number)
            for k, value in enumerate(given):
                rig.block.set("gpr", value, 4 + k)
            rig.run(1)
        assert not (d := difference(a, b)), (n, number, given, d)
    assert len(all_asked) == 600
    assert 100 < len(asked) < 400


def test_a_program_asks_and_goes_on() -> None:
    rig, asked = rig_with(native=True)
    rig.words(CODE, SC_1, 0x3860_0001, SC_1, 0x3880_0002)  # sc 1; li r3,1; sc 1; li r4,2
    rig.set(nia=CODE, msr=MSR_SF, r3=8, r4=0, r5=9, r6=0x5001, r7=0x2012)
    rig.run(1)
    assert (rig.get("r3"), rig.get("r4"), asked) == (0, 8, [])
    rig.run(3)
    assert (rig.get("nia"), rig.get("r4"), asked) == (CODE + 16, 2, [1])


# --- calls that take entries away -----------------------------------------------------------------

REMOVE, PROTECT, BULK = 4, 0x18, 0x124
AVPN, ANDCOND = 1 << 31, 1 << 30
ENTRIES = 24


def filled(rng: random.Random, table: HashTable) -> None:
    """Let the first entries be of all kinds: valid, large, of the second group, not valid."""
    for n in range(ENTRIES):
        v = rng.getrandbits(50) << 12 | rng.choice((1, 1, 1, 3, 5, 0, 2, 0x41))
        table.write(n, v, rng.getrandbits(64))


def taken(rng: random.Random, table: HashTable) -> tuple[int, list[int]]:
    """A call: its number, r4 to r11."""
    one, unusual = rng.randrange(ENTRIES), (1 << 55, table.count, (1 << 64) - 1)

    def avpn(index: int) -> int:
        v = table.read(index)[0] & ~0x7F if index < ENTRIES else 0
        return rng.choice((v, v, v ^ 1 << rng.randrange(64), 0, rng.getrandbits(64)))

    number = rng.choice((REMOVE, PROTECT, BULK))
    if number != BULK:
        index = one if rng.random() < 0.9 else rng.choice(unusual)
        flags = rng.choice((0, AVPN, ANDCOND, AVPN | ANDCOND)) | rng.getrandbits(64) & ~(3 << 30)
        return number, [flags, index, avpn(index), 0, 0, 0, 0, 0]
    given = []
    for _ in range(4):
        index = rng.randrange(ENTRIES)
        kind = rng.choice((1, 1, 1, 1, 1, 1, 1, 1, 3, 0, 2)) << 62
        if rng.random() < 0.05:
            index = unusual[0]
        flags = rng.choice((0, 2, 2, 2, 1, 3 if rng.random() < 0.2 else 0)) << 56
        noise = rng.getrandbits(3) << 58
        given += [kind | flags | noise | index, avpn(index)]
    return number, given


def test_entries_that_go_and_change_are_answered_alike() -> None:
    (a, asked), (b, _) = rig_with(native=True), rig_with(native=False)
    rng = random.Random(5)
    tables = [rig.memory.hash_table for rig in (a, b)]
    calls = 0
    for n in range(900):
        if n % 12 == 0:
            seed = rng.random()
            for table in tables:
                assert isinstance(table, HashTable)
                filled(random.Random(seed), table)
                table.dirty.fill(0)
        assert isinstance(tables[0], HashTable)
        number, given = taken(rng, tables[0])
        user = 0x4000 if rng.random() < 0.03 else 0
        before = len(asked)
        for rig in (a, b):
            rig.set(nia=CODE, msr=MSR_SF | user, r3=number)
            for k, value in enumerate(given):
                rig.block.set("gpr", value, 4 + k)
            rig.run(1)
        calls += len(asked) == before
        assert not (d := difference(a, b)), (n, number, given, d)
    assert 300 < calls < 800


# --- an entry that goes is forgotten, and no other ------------------------------------------------


def entry_of(table: HashTable, vsid: int, offset: int, *, large: bool, second: bool) -> int:
    """The number and V of the entry for a page: by the book's hash, not by `page_of`."""
    page = offset >> 12
    hashed = vsid ^ page ^ (vsid << 25 if large else 0)
    group = (~hashed if second else hashed) % (table.count // 8)
    v = vsid << (24 if large else 12) | offset >> 16 & ~0x7F | second << 1 | 1
    table.write(8 * group + 5, v | (1 << 62 if large else 0), 0)
    return 8 * group + 5


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("offset", [0, 0x7F_F000, 0x80_0000, 0x0100_0000, 0x0ABC_D000])
def test_an_entry_that_goes_is_forgotten(offset: int, second: bool, large: bool) -> None:
    rig = Rig(Tier0, cpu=CPU)
    table = rig.memory.hash_table
    assert isinstance(table, HashTable)
    vsid, base = (0x2_4687_BCDF, 0x1234 << 40) if large else (0x5_5AAA_5555_1, 0xC << 60)
    n = entry_of(table, vsid, offset, large=large, second=second)
    v, _ = table.read(n)
    table.write(n, v, 0x2_0012)
    assert HashTable.page_of(n, v) == offset >> 12 & 0xFFF
    rig.block.set("slb_esid", base | 0x0800_0000, 3)
    rig.block.set("slb_vsid", vsid << 24 | 1 << 62 if large else vsid << 12, 3)
    rig.write(0x2_0000, bytes([1] * 8))
    rig.write(0x3_0000, bytes([2] * 8))

    def hypercall() -> None:
        table.write(n, v, 0x3_0012)
        table.gone(n, v)

    rig.cpu.hypercall = hypercall
    ld_3, ld_4 = 0xE865_0000, 0xE885_0000
    rig.words(CODE, ld_3, SC_1, ld_4)
    rig.set(nia=CODE, msr=MSR_SF | 0x10, r5=base + offset)
    rig.run(3)
    assert (rig.get("r3"), rig.get("r4")) == (0x0101010101010101, 0x0202020202020202)


def mapped(rig: Rig, *, second: bool) -> tuple[HashTable, int, int]:
    """Map a page of ones at 0xc000000000001000: the table, and number and V of its entry."""
    table = rig.memory.hash_table
    assert isinstance(table, HashTable)
    n = entry_of(table, 0x5_5AAA_5555_1, 0x1000, large=False, second=second)
    v, _ = table.read(n)
    table.write(n, v, 0x2_0012)
    rig.block.set("slb_esid", 0xC << 60 | 0x0800_0000, 3)
    rig.block.set("slb_vsid", 0x5_5AAA_5555_1 << 12, 3)
    rig.write(0x2_0000, bytes([1] * 8))
    return table, n, v


@pytest.mark.parametrize("bulk", [False, True])
def test_a_page_that_native_code_takes_away_is_gone(bulk: bool) -> None:
    rig, asked = rig_with(native=True)
    table, n, _ = mapped(rig, second=False)
    ld_9, ld_10 = 0xE92C_0000, 0xE94C_0000
    rig.words(CODE, ld_9, SC_1, ld_10)
    rig.set(nia=CODE, msr=MSR_SF | 0x10, r12=(0xC << 60) + 0x1000, r3=BULK if bulk else REMOVE)
    rig.set(r4=1 << 62 | n if bulk else 0, r5=0 if bulk else n, r6=3 << 62 if bulk else 0)
    rig.run(3)
    assert (rig.get("r9"), rig.get("nia"), asked) == (0x0101010101010101, 0x300, [])
    assert table.read(n) == (0, 0)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_an_entry_before_one_that_was_used_counts_at_once(second: bool, native: bool) -> None:
    """Of several entries for one page the first counts, whenever it came."""
    rig, asked = rig_with(native=native)
    table, n, v = mapped(rig, second=second)
    rig.write(0x3_0000, bytes([2] * 8))
    ld_9, ld_10 = 0xE92C_0000, 0xE94C_0000
    rig.words(CODE, ld_9, SC_1, ld_10)
    rig.set(nia=CODE, msr=MSR_SF | 0x10, r12=(0xC << 60) + 0x1000)
    first = ~n % table.count if second else n
    rig.set(r3=8, r4=0, r5=first, r6=v & ~2, r7=0x3_0012)
    rig.run(3)
    assert (rig.get("r9"), rig.get("r10")) == (0x0101010101010101, 0x0202020202020202)
    assert asked == ([] if native else [8])
