"""Which accesses of a block share one look into the data TLB."""

from __future__ import annotations

import struct

import pytest

from gossamer.cpu.model import find
from gossamer.engine.regions.code import Code, codes_of
from gossamer.engine.regions.groups import Part, groups_of, supplied
from gossamer.isa.text import assemble


def block(text: str) -> list[tuple[int, Code]]:
    codes = codes_of(find("750").architecture)
    words = struct.unpack(f">{len(data) // 4}I", data) if (data := assemble(text, 0)) else ()
    return [(4 * n, codes[word]) for n, word in enumerate(words)]


def groups(text: str) -> list[list[tuple[int, bool, int]]]:
    """(number of the instruction, store, bytes from the group's first) of each group."""
    found = groups_of(block(text))
    by_group: dict[int, list[tuple[int, bool, int]]] = {}
    for (n, store), member in found.items():
        place = n, store, member.offset - member.group.low
        by_group.setdefault(id(member.group), []).append(place)
    return list(by_group.values())


def test_sums_of_one_value_share_whatever_registers_hold_them() -> None:
    assert groups("addi 9,8,4; stw 6,0(9); mr 10,9; addi 9,9,8; stw 6,4(10); stw 6,-4(9)") == [
        [(1, True, 0), (4, True, 4), (5, True, 4)]
    ]
    assert groups("lwzu 5,4(3); lwzu 6,4(3); lwz 7,-8(3)") == [
        [(0, False, 4), (1, False, 8), (2, False, 0)]
    ]


def test_another_value_begins_another_group() -> None:
    assert groups("lwz 5,0(3); lwz 6,4(3); lwz 3,8(3); lwz 7,0(3); lwz 8,4(3)") == [
        [(0, False, 0), (1, False, 4), (2, False, 8)],
        [(3, False, 0), (4, False, 4)],
    ]
    assert groups("lwz 5,0(3); add 3,3,4; lwz 6,0(3)") == []
    assert groups("or 9,8,7; lwz 5,0(8); lwz 6,0(9)") == []


def test_loads_and_stores_are_apart_and_long_distances_too() -> None:
    assert groups("lwz 5,0(3); stw 5,4(3)") == []
    assert groups("lwz 5,0(3); lwz 6,512(3)") == []


def test_a_load_takes_what_stores_before_it_stored() -> None:
    two_words = "stw 6,0(3); addi 4,3,8; stw 7,-4(4); lfd 1,0(3)"
    assert supplied(block(two_words)) == {3: [Part(0, 0, 4, 0), Part(2, 4, 4, 0)]}
    assert supplied(block("stfd 1,8(3); lhz 5,14(3)")) == {1: [Part(0, 0, 2, 6)]}
    assert supplied(block("stw 6,0(3); sth 7,2(3); lwz 5,0(3)")) == {
        2: [Part(0, 0, 2, 0), Part(1, 2, 2, 0)]
    }


@pytest.mark.parametrize(
    "text",
    [
        "stw 6,0(3); lfd 1,0(3)",
        "stw 6,0(3); stw 7,0(4); lwz 5,0(3)",
        "stw 6,0(3); stwx 7,4,5; lwz 5,0(3)",
        "stw 6,0(3); stwcx. 7,0,4; lwz 5,0(3)",
        "stw 6,0(3); stmw 30,0(4); lwz 5,0(3)",
        "stw 6,0(3); dcbz 0,4; lwz 5,0(3)",
        "stw 6,0(3); dcbz 0,3; lwz 5,0(3)",
        "stw 6,0(3); addi 3,4,0; lwz 5,0(3)",
        "stw 6,0(3); stw 7,4096(3); lwz 5,0(3)",
    ],
)
def test_a_load_takes_nothing_that_may_have_changed(text: str) -> None:
    """By another value, an instruction of several stores, or a page that is mapped twice."""
    assert supplied(block(text)) == {}
