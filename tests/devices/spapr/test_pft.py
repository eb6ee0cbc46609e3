"""Hypercalls on the hashed page table, and the table itself."""

from __future__ import annotations

import pytest

from gossamer.core.htab import CHANGED, REFERENCED, HashTable
from gossamer.devices.spapr import pft
from gossamer.devices.spapr.calls import NOT_FOUND, PARAMETER, PRIVILEGE, PTEG_FULL, SUCCESS
from tests.devices.spapr.rig import RAM, Rig

V = 0x400E_A1B2_1700_0301
R = 0x5000 | pft.COHERENT | 2
LAST = (1 << 18) // 16 - 1
HOSTILE = (LAST + 1, 1 << 32, (1 << 64) - 1, 1 << 63)


@pytest.fixture
def table() -> HashTable:
    return HashTable(18)


@pytest.fixture
def rig(table: HashTable) -> Rig:
    made = Rig()
    made.add(pft.PageTableCalls(table, RAM).handlers())
    return made


def test_enter_fills_a_group_then_refuses(rig: Rig, table: HashTable) -> None:
    for n in range(8):
        assert rig.call(pft.H_ENTER, 0, 21, V, R)[0] == SUCCESS
        assert rig.regs.get("gpr", 4) == 16 + n
    assert rig.call(pft.H_ENTER, 0, 16, V, R)[0] == PTEG_FULL
    assert rig.call(pft.H_ENTER, pft.EXACT, 16, V, R)[0] == PTEG_FULL
    assert rig.call(pft.H_ENTER, pft.EXACT, 9, V, R)[0] == SUCCESS
    assert table.read(9) == (V, R)
    assert table.dirty.view[1] == table.dirty.view[2] == 0xFF
    assert table.dirty.view[0] == 0


@pytest.mark.parametrize(
    ("v", "r"),
    [
        (V, 0x5000 | pft.INHIBITED | 2),  # RAM that is not cacheable
        (V, 0x5000 | 2),
        (V, 0x5000 | pft.COHERENT | pft.GUARDED | 2),
        (V, RAM | pft.COHERENT | 2),  # registers that are
        (V | pft.LARGE, 0x5000 | pft.COHERENT),  # a page of an unknown size
    ],
)
def test_enter_refuses_what_no_page_may_be(rig: Rig, v: int, r: int) -> None:
    assert rig.call(pft.H_ENTER, 0, 0, v, r)[0] == PARAMETER


def test_enter_takes_registers_outside_ram(rig: Rig) -> None:
    assert (
        rig.call(pft.H_ENTER, 0, 0, V, 0x2000_8000_0000 | pft.INHIBITED | pft.GUARDED | 2)[0]
        == SUCCESS
    )


@pytest.mark.parametrize("index", HOSTILE)
def test_no_entry_outside_the_table(rig: Rig, table: HashTable, index: int) -> None:
    assert rig.call(pft.H_ENTER, pft.EXACT, index, V, R)[0] == PARAMETER
    for number in (pft.H_REMOVE, pft.H_PROTECT, pft.H_READ):
        assert rig.call(number, 0, index)[0] == PARAMETER
    assert not bytes(table.table.memory).strip(b"\0")


def test_remove_by_avpn_and_by_condition(rig: Rig, table: HashTable) -> None:
    rig.call(pft.H_ENTER, pft.EXACT, 5, V, R)
    gone = []
    table.gone = lambda n, v: gone.append((n, v))
    avpn = V & ~0x7F
    assert rig.call(pft.H_REMOVE, pft.AVPN, 5, avpn ^ 0x80)[0] == NOT_FOUND
    assert rig.call(pft.H_REMOVE, pft.ANDCOND, 5, V)[0] == NOT_FOUND
    assert not gone
    code, found = rig.call(pft.H_REMOVE, pft.AVPN, 5, avpn)
    assert (code, found[:2], gone) == (SUCCESS, [V, R], [(5, V)])
    assert rig.call(pft.H_REMOVE, 0, 5, 0)[0] == NOT_FOUND


def test_bulk_remove_answers_in_place(rig: Rig, table: HashTable) -> None:
    for n in (1, 2):
        table.write(n, V, R | REFERENCED | (CHANGED if n == 2 else 0))
    avpn = V & ~0x7F
    request = pft.REQUEST | pft.BULK_AVPN
    code, found = rig.call(
        pft.H_BULK_REMOVE, *(request | 1, avpn, request | 2, avpn, request | 3, avpn, pft.END, 0)
    )
    assert code == SUCCESS
    assert [word >> 56 for word in found[::2]] == [0x80 | 2, 0x80 | 2, 0x92, 0xC0]
    assert [word >> 48 & 0xFF for word in found[:4:2]] == [0x08, 0x0C]
    assert rig.call(pft.H_BULK_REMOVE, 1, 0)[0] == PARAMETER
    assert rig.call(pft.H_BULK_REMOVE, request | pft.BULK_ANDCOND, 0)[0] == PARAMETER
    code, found = rig.call(pft.H_BULK_REMOVE, request | LAST + 1, 0)
    assert (code, found[0] >> 56) == (PARAMETER, 0xA2)


def test_protect(rig: Rig, table: HashTable) -> None:
    table.write(7, V, R | REFERENCED | CHANGED)
    flags = pft.AVPN | 1 << 8 | 3 | pft.N
    assert rig.call(pft.H_PROTECT, flags, 7, V & ~0x7F)[0] == SUCCESS
    assert table.read(7)[1] == pft.PP0 | 0x5000 | pft.COHERENT | REFERENCED | CHANGED | 3 | pft.N


def test_read_gives_one_or_four(rig: Rig, table: HashTable) -> None:
    for n in range(4, 8):
        table.write(n, V, 0x1000 * n | pft.COHERENT)
    assert rig.call(pft.H_READ, 0, 6)[1][:3] == [V, 0x6000 | pft.COHERENT, 0]
    assert rig.call(pft.H_READ, pft.READ_4, 6)[1][1::2] == [
        0x1000 * n | pft.COHERENT for n in range(4, 8)
    ]


def test_unknown_numbers_and_problem_state(rig: Rig) -> None:
    assert rig.call(0x5555)[0] == -2
    rig.regs.set("msr", 1 << 14)
    assert rig.call(pft.H_READ, 0, 0)[0] == PRIVILEGE


def test_chunks_are_runs_of_entries_that_hold_something(table: HashTable) -> None:
    """One that a guest entered without its valid bit can be read back, so it travels, too."""
    for n in (0, 1, 9, 10, 11, LAST):
        table.write(n, V & ~1 if n == 10 else V, 0x1000 * n)
    chunks = list(table.chunks())
    assert [(first, len(data) // 16) for first, data in chunks] == [(0, 2), (9, 3), (LAST, 1)]
    other = HashTable(18)
    other.write(12, V, 0)
    for first, data in chunks:
        other.take(first, data, 1 if first == 9 else 0)
    assert bytes(other.table.memory) == bytes(table.table.memory)
    with pytest.raises(ValueError, match="the table has 16384"):
        other.take(LAST, bytes(16), 1)
