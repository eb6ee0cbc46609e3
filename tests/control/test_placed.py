"""Snapshots with memory at fixed places: what they write, share and show, and what is refused."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gossamer.base.errors import GossamerError, StreamError
from gossamer.block import create
from gossamer.control import hashing, placed, screen
from gossamer.control.timeline import pages
from gossamer.control.vm import Vm
from gossamer.core import mappings
from gossamer.core.memory import Arena
from gossamer.migrate import dirty
from gossamer.migrate.area import PIECE, Area
from gossamer.migrate.container import open_container
from gossamer.streams.open import open_input
from tests.control.disk_images import MiB, disk

Make = Callable[..., Vm]


def fill(vm: Vm, seed: int, size: int = MiB, at: int = 4 * MiB) -> int:
    """Random bytes in memory; the hash of the whole."""
    vm.write_physical(at, random.Random(seed).randbytes(size))
    vm.run(instructions=20_000)
    return vm.state_hash()


def image(tmp_path: Path, cluster_size: int = 65536) -> Path:
    path = tmp_path / "d.qcow2"
    create(path, "qcow2", 2 * MiB, cluster_size=cluster_size)
    return path


@pytest.mark.parametrize("bits", [9, 12, 16, 18, 21])
def test_snapshots_share_what_has_not_changed(bits: int, machine: Make, tmp_path: Path) -> None:
    path = image(tmp_path, 1 << bits)
    vm = machine("-hda", str(path))
    hashes = [fill(vm, 1)]
    vm.savevm("0")
    first = path.stat().st_blocks
    for n in (1, 2, 3):
        hashes.append(fill(vm, n, 4096, at=(4 + n) * MiB))
        vm.savevm(str(n))
    for n in (3, 1, 0, 2):
        vm.loadvm(str(n))
        assert vm.state_hash() == hashes[n]
    if bits == 16:  # 8 MiB of zeros, 1 MiB of bytes, and devices
        assert path.stat().st_blocks - first < first
    hashes.append(fill(vm, 9, 4096))
    vm.savevm("2")  # what it shares most with goes in the same step
    vm.delvm("0")
    vm.delvm("1")
    for n, expected in ((3, hashes[3]), (2, hashes[4])):
        vm.loadvm(str(n))
        assert vm.state_hash() == expected


def test_what_is_shared_is_counted_as_qemu_counts(
    machine: Make, tmp_path: Path, qemu_img: str
) -> None:
    path = image(tmp_path)
    vm = machine("-hda", str(path))
    for n in range(4):
        fill(vm, n, 3 * 65536, at=(4 + n) * MiB)
        disk(vm).write(0, b"%d" % n)
        vm.savevm(f"s{n % 3}")
    vm.loadvm("s1")
    vm.delvm("s2")
    vm.close()
    done = subprocess.run([qemu_img, "check", path], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert b"No errors" in done.stdout


def test_a_page_that_became_zero_is_zero(machine: Make, tmp_path: Path) -> None:
    vm = machine("-hda", str(image(tmp_path)))
    fill(vm, 1)
    vm.savevm("before")
    vm.write_physical(4 * MiB, bytes(MiB))
    expected = vm.state_hash()
    vm.savevm("after")
    vm.loadvm("before")
    assert vm.state_hash() != expected
    vm.loadvm("after")
    assert vm.state_hash() == expected


def test_memory_stays_when_the_snapshot_goes(machine: Make, tmp_path: Path) -> None:
    """Its clusters are written anew at once; the machine does not see that."""
    vm = machine("-hda", str(image(tmp_path)))
    expected = fill(vm, 1)
    vm.savevm("one")
    vm.loadvm("one")
    vm.delvm("one")
    vm.write_physical(6 * MiB, b"x")
    vm.savevm("two")
    vm.write_physical(6 * MiB, b"\0")
    assert vm.state_hash() == expected


def test_memory_that_cannot_be_copied_keeps_the_clusters(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = machine("-hda", str(image(tmp_path)))
    expected = fill(vm, 1)
    vm.savevm("one")
    vm.savevm("two")
    with monkeypatch.context() as patch:
        patch.setattr(Arena, "take_own", lambda _: False)
        vm.loadvm("one")
        with pytest.raises(GossamerError, match="memory still lies in a snapshot"):
            vm.delvm("one")
    assert [s.tag for s in vm.snapshots()] == ["one", "two"]
    vm.loadvm("two")
    vm.delvm("one")
    assert vm.state_hash() == expected


def test_a_host_that_cannot_map_reads(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = machine("-hda", str(image(tmp_path)))
    expected = fill(vm, 1)
    vm.savevm("one")
    monkeypatch.setattr(mappings, "can_map", lambda: False)
    vm.write_physical(4 * MiB, b"else")
    vm.loadvm("one")
    assert vm.state_hash() == expected


def test_each_reader_of_the_dirty_bytes_has_a_bit_of_its_own() -> None:
    bits = [m.DIRTY_BIT for m in (hashing, placed, screen, dirty, pages)]
    assert sum(bits) == np.bitwise_or.reduce(bits) <= 0xFF


def snapshot_file(state_folder: Path) -> Path:
    return next(state_folder.rglob("one.gossamer"))


def test_every_part_of_a_file_is_checked(machine: Make, state_folder: Path) -> None:
    """A flipped bit anywhere that is read, and an end anywhere: refused, the machine as it was."""
    vm = machine()
    fill(vm, 1)
    vm.savevm("one")
    path = snapshot_file(state_folder)
    good = path.read_bytes()
    with open_container(path) as container:
        area = container.area
        assert area is not None
    pieces = np.flatnonzero(area.sums)
    inside = [area.start + int(n) * PIECE for n in pieces]
    chance = random.Random(1)
    head = 8 + 48 + 48 + Area.frame_size(area.length)
    places = [chance.randrange(head) for _ in range(20)]
    places += [place + chance.randrange(PIECE) for place in inside[:-1]]
    places += [chance.randrange(area.end, len(good)) for _ in range(10)]
    fill(vm, 2)
    expected = vm.state_hash()
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(GossamerError):
            vm.loadvm("one")
    for place in [*places[::4], len(good) - 1, area.end, area.start]:
        path.write_bytes(good[:place])
        with pytest.raises(GossamerError):
            vm.loadvm("one")
    assert vm.state_hash() == expected
    path.write_bytes(good)
    vm.loadvm("one")


def test_an_area_that_is_elsewhere_is_refused(machine: Make, state_folder: Path) -> None:
    vm = machine()
    vm.savevm("one")
    with open_container(snapshot_file(state_folder)) as container:
        area = container.area
        assert area is not None
    good = area.pack()
    for at, value, why in (
        (0, 1, "AREA at 0x1"),
        (0, 0, "AREA at 0x0"),
        (8, 0, "AREA of 0 bytes"),
        (8, 1 << 62, "bytes of checksums"),
        (16, 0, "goes on at 0x0"),
        (16, 1 << 62, "goes on at"),
    ):
        bad = good[:at] + value.to_bytes(8, "big") + good[at + 8 :]
        with pytest.raises(StreamError, match=why):
            Area.parse(bad, "file", 100)
    with pytest.raises(StreamError, match="AREA of 3 bytes"):
        Area.parse(b"abc", "file", 0)


def test_the_stream_tools_read_it_where_it_is(machine: Make, state_folder: Path) -> None:
    vm = machine()
    expected = fill(vm, 1)
    vm.savevm("one")
    with open_input(str(snapshot_file(state_folder))) as given:
        data = given.file.read()
    assert data[:4] == b"QEVM"
    there = machine()
    there.load_bytes(data)
    assert there.state_hash() == expected
