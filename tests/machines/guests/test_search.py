"""The third built-in guest: assembled as GNU as does, its misses as the 603e's rules want them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control.vm import Vm
from gossamer.isa.text import assemble
from gossamer.machines.build import build
from gossamer.machines.config import Config
from gossamer.machines.guests import search
from gossamer.machines.options import parse
from tests.machines.gnu import gnu_code

COMMON = ["-m", "8", "-nographic", "-serial", "null", "-icount", "5,sleep=off"]


def config(machine: str, *options: str) -> Config:
    return parse(["-M", machine, "-bios", search.NAME, *COMMON, *options])


def test_sources_assemble_as_gnu_as_does(powerpc_gcc: str, tmp_path: Path) -> None:
    symbols = search.symbols("g3beige", 16_600_000)
    for origin, text in search.sources():
        gnu = gnu_code(powerpc_gcc, text, origin, symbols, tmp_path, "-m603")
        assert assemble(text, origin, symbols) == gnu


class Tlbs:
    """Both TLBs, the changed bits and what misses: a model of its own."""

    def __init__(self) -> None:
        self.sets: dict[tuple[int, int], list[tuple[int, bool] | None]] = {}
        self.last: dict[tuple[int, int], int] = {}
        self.changed: set[int] = set()
        self.misses = [0, 0, 0]  # fetches, loads, stores

    def access(self, ea: int, kind: int) -> None:
        page, place = ea >> 12, (int(kind == 0), ea >> 12 & 31)
        entries = self.sets.setdefault(place, [None, None])
        way = self.last.get(place, 0) ^ 1
        for n, entry in enumerate(entries):
            if entry and entry[0] == page:
                if kind != 2 or entry[1]:
                    return
                way = n
        self.misses[kind] += 1
        if kind == 2:
            self.changed.add(page)
        entries[way] = page, page in self.changed
        self.last[place] = way

    def forget(self, ea: int) -> None:
        for fetch in range(2):
            self.sets[fetch, ea >> 12 & 31] = [None, None]


def a_round(tlbs: Tlbs) -> None:
    fetch, load, store = range(3)
    for n in range(12):
        for kind in (load, store):
            tlbs.access(0x3000_0000 + n * 0x40_0000, kind)
    for n in range(0, 40, 2):
        tlbs.access(0x3010_0000 + n * 0x1000, store)
        tlbs.access(0x3010_1000 + n * 0x1000, load)
    for kind in (load, store):
        for ea in (0x3010_4000, 0x3010_5000):
            tlbs.access(ea, kind)
    for n in range(12):
        tlbs.access(0x3020_0000 + n * 0x5000, fetch)
    tlbs.access(0x5000_0000, load)  # the store is refused by the entry
    for kind in range(3):
        tlbs.misses[kind] += 1  # the page that is not there
    tlbs.changed.discard(0x3000_0000 >> 12)
    tlbs.forget(0x3000_0000)
    tlbs.access(0x3000_0000, load)


@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
def test_misses_of_each_round_are_those_of_two_ways(machine: str) -> None:
    vm = Vm(config(machine, "-cpu", "603e"))
    out = bytearray()
    vm.serial_sinks = [out.extend]
    vm.run_to(6_000_000)
    lines = out.decode().split("\r\n")
    assert lines[0] == "gossamer: a page table searched by software"
    rounds = [[int(word) for word in line.replace("sum", "").split()[1:]] for line in lines[1:-1]]
    assert len(rounds) > 10
    tlbs = Tlbs()
    for n, seen in enumerate(rounds, 1):
        a_round(tlbs)
        assert seen[:6] == [n, *tlbs.misses, 3 * n, n]
    # What the pages hold does not depend on how they were found.
    assert [r[7] for r in rounds[:4]] == [78, 168, 359, 753]


def test_other_parts_and_older_machines_have_none() -> None:
    with pytest.raises(ConfigError, match=r"-bios builtin-search: runs on the 603e, got 750"):
        build(config("g3beige"))
    with pytest.raises(ConfigError, match=r"g3beige-1\.0 has no CPU 603e; g3beige-1\.1 has"):
        build(config("g3beige-1.0", "-cpu", "603e"))
