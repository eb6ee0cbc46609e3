"""A run in a file: replayed to the same hashes; what is no record, or was changed, is refused."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pytest

from gossamer.base.errors import GossamerError
from gossamer.control.timeline.record import read_record, verify, write_record
from gossamer.control.timeline.search import last_write, run_back
from gossamer.control.timeline.timeline import Timeline
from gossamer.control.vm import Vm
from gossamer.engine.processor import Stop
from gossamer.engine.stops import Watch
from gossamer.machines.guests.watcher import DATA
from tests.timeline.test_timeline import make, play


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vm = make()
    vm.run(instructions=200_000)
    timeline = Timeline(vm, every=200_000)
    play(vm, random.Random(7), 12)
    value = vm.state_hash()
    path = tmp_path_factory.mktemp("record") / "run"
    write_record(vm, timeline, path)
    assert vm.state_hash() == value
    return path


def changed(record: Path, path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(record) as old, zipfile.ZipFile(path, "w") as new:
        for one in old.namelist():
            new.writestr(one, content if one == name else old.read(one))
    return path


def test_record_is_replayed_to_the_same_hashes(record: Path) -> None:
    vm, timeline, points = read_record(record)
    assert len(points) == 100
    assert len({value for _, _, value in points}) == 100
    verify(vm, timeline, points)
    timeline.rewind(timeline.begin)
    verify(vm, timeline, points)
    vm.close()


def test_record_with_another_input_comes_to_another_hash(record: Path, tmp_path: Path) -> None:
    rows = json.loads(zipfile.ZipFile(record).read("inputs.json"))
    keys = [row for row in rows if row[1] != "memory"]
    keys[0][-1] = keys[0][-1] ^ 1 if isinstance(keys[0][-1], int) else "ff" * 8
    file = changed(record, tmp_path / "run", "inputs.json", json.dumps(rows).encode())
    vm, timeline, points = read_record(file)
    with pytest.raises(GossamerError, match=r"at point \d+ of 100, .* s, the hash is "):
        verify(vm, timeline, points)
    vm.close()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("inputs.json", b"{", "not JSON"),
        ("inputs.json", b"{}", "expected up to"),
        ("inputs.json", b'[[1, "bomb"]]', "expected a time and one of serial, key"),
        ("inputs.json", b'[[1, "key", "x", 1]]', "these are no values of key"),
        ("inputs.json", b'[[1, ["key"]]]', "expected [ns, kind, values"),
        ("inputs.json", b'[[99999999999, "reset"], [9, "reset"]]', "not in order"),
        ("run.json", b'{"format": 2}', "expected format 1"),
        ("run.json", b'{"format": 1, "begin": [1]}', "expected 2 numbers, got [1]"),
        ("start", b"no save", "start"),
    ],
)
def test_what_is_no_record_is_refused(
    record: Path, tmp_path: Path, name: str, content: bytes, text: str
) -> None:
    with pytest.raises(GossamerError) as fault:
        read_record(changed(record, tmp_path / "run", name, content))
    assert text in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_record_that_is_cut_off_is_refused(record: Path, tmp_path: Path, size: int) -> None:
    file = tmp_path / "run"
    file.write_bytes(record.read_bytes()[:size])
    with pytest.raises(GossamerError, match="no record of a run"):
        read_record(file)
    with pytest.raises(GossamerError, match="No such file"):
        read_record(tmp_path / "none")


# --- who wrote ------------------------------------------------------------------------------------


def forward_writes(vm: Vm, watch: Watch, until: int) -> list[int]:
    """Instruction counts before each write, as a forward run meets them."""
    found = []
    stops = vm.machine.processor.debug()
    stops.set(frozenset(), (watch,))
    while vm.run_to(until) is Stop.BREAK:
        found.append(vm.instructions - 1)
    stops.set(frozenset())
    return found


@pytest.mark.parametrize("cell", range(0, 40, 4))
def test_last_write_is_the_one_that_a_forward_run_meets_last(cell: int) -> None:
    rng = random.Random(cell)
    begin, end = 150_000, 900_000 + rng.randrange(100_000)
    watch = Watch(DATA + cell, 4, False, True)
    plain = make()
    plain.run_to(begin)
    found = forward_writes(plain, watch, end)
    vm = make()
    vm.run_to(begin)
    timeline = Timeline(vm, every=rng.choice((50_000, 200_000)))
    vm.run_to(end)
    value = vm.state_hash()
    write = last_write(timeline, watch.ea)
    assert vm.state_hash() == value == plain.state_hash()
    assert (None if write is None else write.moment.instructions) == (found[-1] if found else None)
    if write is not None:
        assert write.after == vm.read_physical(watch.ea, 4)
        hit = run_back(timeline, frozenset(), (watch,))
        assert hit is not None
        assert (vm.instructions, vm.register("pc")) == (found[-1], write.pc)
