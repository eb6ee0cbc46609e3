"""Which accesses of a block share one look into the data TLB."""

from __future__ import annotations

import struct

from gossamer.cpu.model import find
from gossamer.engine.regions.code import codes_of
from gossamer.engine.regions.groups import groups_of
from gossamer.isa.text import assemble


def groups(text: str) -> list[list[tuple[int, bool, int]]]:
    """(number of the instruction, store, bytes from the group's first) of each group."""
    codes = codes_of(find("750").architecture)
    words = struct.unpack(f">{len(data) // 4}I", data) if (data := assemble(text, 0)) else ()
    found = groups_of([(4 * n, codes[word]) for n, word in enumerate(words)])
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
