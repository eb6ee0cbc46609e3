"""H_ENTER in native code and in Python: the same answers, the same table."""

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
@pytest.mark.parametrize("offset", [0, 0x7F_F000, 0x80_0000, 0x0ABC_D000])
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
