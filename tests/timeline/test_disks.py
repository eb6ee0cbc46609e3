"""Disks go back with the machine; what they hold at the latest moment stays in their images."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.base.errors import GossamerError
from gossamer.block import ImageError, create, open_image
from gossamer.control.timeline.record import read_record, verify, write_record
from gossamer.control.timeline.search import last_write
from gossamer.control.timeline.timeline import Timeline
from gossamer.control.vm import Vm
from gossamer.isa.text import assemble_program
from gossamer.verify.hostile.layout import Layout
from tests.timeline.test_timeline import make

SIZE, SECTORS = 1 << 20, 48
PROGRAM = 0x8000
COUNTER = 0x7000
#: Sector n % 48 gets 256 halfwords of n, by programmed I/O; every fourth time the cache is flushed;
#: then the sector is read back, and added up in r20.
WRITER = """\
start:  li      5,0
next:   addi    5,5,1
        stw     5,0x7000(0)
        li      6,48
        divwu   7,5,6
        mullw   7,7,6
        subf    7,7,5
        li      8,0x30
        bl      command
        bl      data
        li      6,256
        mtctr   6
1:      sthbrx  5,0,4
        bdnz    1b
        bl      idle
        andi.   0,5,3
        bne     2f
        li      8,0xE7
        bl      command
        bl      idle
2:      li      8,0x20
        bl      command
        bl      data
        li      6,256
        mtctr   6
3:      lhbrx   9,0,4
        add     20,20,9
        bdnz    3b
        b       next
command:
        li      6,0xE0
        stb     6,0x60(4)
        li      6,1
        stb     6,0x20(4)
        stb     7,0x30(4)
        li      6,0
        stb     6,0x40(4)
        stb     6,0x50(4)
        stb     8,0x70(4)
        blr
idle:   lbz     6,0x160(4)
        andi.   6,6,0x80
        bne     idle
        blr
data:   lbz     6,0x160(4)
        andi.   6,6,0x88
        cmpwi   6,8
        bne     data
        blr
"""


@pytest.fixture(params=["raw", "qcow2", "snapshot"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def path(tmp_path: Path, kind: str) -> Path:
    place = tmp_path / "disk"
    form = "raw" if kind == "snapshot" else kind
    create(place, form, SIZE)
    image = open_image(place, format=form)
    for n in range(0, SIZE, 4096):
        image.write(n, n.to_bytes(4, "big") * 1024)
    image.close()
    return place


@pytest.fixture
def vm(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vm]:
    monkeypatch.setenv("XDG_STATE_HOME", str(path.parent / "state"))
    form = "raw" if kind == "snapshot" else kind
    made = start(path, form, "snapshot=on" if kind == "snapshot" else "snapshot=off")
    yield made
    made.close()


def start(path: Path, form: str, *more: str) -> Vm:
    """A machine whose guest writes to its disk for ever."""
    vm = make("-drive", ",".join([f"file={path}", f"format={form}", "if=ide", "index=0", *more]))
    vm.run(instructions=100)
    cell = Layout(vm.machine).at("pmac-ide", 0)
    vm.write_physical(PROGRAM, assemble_program(WRITER, PROGRAM).code)
    for name, value in (("msr", 0), ("r4", cell), ("r20", 0), ("pc", PROGRAM)):
        vm.put_register(name, value)
    return vm


def content(vm: Vm) -> bytes:
    """What the image of the first disk holds."""
    return vm.disks.at[0].image.read(0, SIZE)


def played(vm: Vm, rounds: int = 8) -> list[tuple[int, int, bytes]]:
    """(instructions, hash, content of the disk) on the way."""
    out = []
    for _ in range(rounds):
        vm.run(instructions=20_000)
        out.append((vm.instructions, vm.state_hash(), content(vm)))
    return out


def test_guest_sees_the_disk_of_then_and_the_image_keeps_the_latest(vm: Vm) -> None:
    vm.run(instructions=30_000)
    timeline = Timeline(vm, every=50_000)
    seen = played(vm)
    assert len({disk for _, _, disk in seen}) == len(seen)
    for count, value, _ in random.Random(20).sample(seen, 5):
        timeline.go_to_count(count)
        assert vm.state_hash() == value
        assert content(vm) == seen[-1][2], "what was flushed stays"
    timeline.go(timeline.end)
    assert vm.state_hash() == seen[-1][1]
    timeline.rewind(instructions=90_000)
    vm.run_to(seen[-1][0])  # the same future, up to its end and on
    assert vm.state_hash() == seen[-1][1]
    vm.run(instructions=20_000)
    assert content(vm) != seen[-1][2]
    timeline.rewind(instructions=20_000)
    assert vm.state_hash() == seen[-1][1]


def test_run_with_disk_and_timeline_is_the_run_without(path: Path, tmp_path: Path) -> None:
    import shutil

    other = Path(shutil.copy(path, tmp_path / "other"))
    form = "qcow2" if path.read_bytes()[:4] == b"QFI\xfb" else "raw"
    hashes = []
    for place in (path, other):
        vm = start(place, form)
        if place is other:
            Timeline(vm, every=30_000)
        hashes.append([value for _, value, _ in played(vm, 4)])
        vm.close()
    assert hashes[0] == hashes[1]


def test_another_future_puts_the_disk_back(vm: Vm, path: Path, kind: str) -> None:
    timeline = Timeline(vm, every=50_000)
    seen = played(vm, 6)
    count, value, disk = seen[2]
    timeline.go_to_count(count)
    vm.put_register("r20", vm.register("r20"))  # an input: what was is forgotten
    assert content(vm) == disk
    assert vm.state_hash() == value
    vm.run_to(seen[3][0])
    assert (vm.state_hash(), content(vm)) == seen[3][1:]
    vm.close()
    image = open_image(path, format="raw" if kind == "snapshot" else kind)
    assert (image.read(0, SIZE) == seen[3][2]) == (kind != "snapshot")
    image.close()


def test_marks_speculation_and_who_wrote(vm: Vm) -> None:
    timeline = Timeline(vm, every=50_000)
    played(vm, 3)
    value, disk = vm.state_hash(), content(vm)
    mark = timeline.mark("here")
    with timeline.speculate():
        vm.run(instructions=50_000)
        vm.put_register("r20", 1)
        vm.run(instructions=50_000)
        assert content(vm) == disk, "nothing of it reaches the image"
    assert (vm.state_hash(), content(vm)) == (value, disk)
    for _ in range(3):
        vm.run(instructions=30_000)
        assert content(vm) != disk
        timeline.go_back(mark)
        assert (vm.state_hash(), content(vm)) == (value, disk)
    write = last_write(timeline, COUNTER)
    assert write is not None
    assert write.pc == PROGRAM + 8
    assert (vm.state_hash(), content(vm)) == (value, disk)


def test_save_in_the_past_holds_the_disk_of_then(vm: Vm, tmp_path: Path) -> None:
    timeline = Timeline(vm, every=50_000)
    seen = played(vm, 5)
    timeline.go_to_count(seen[1][0])
    vm.savevm("then")
    assert content(vm) == seen[1][2]
    timeline.go(timeline.end)
    assert (vm.state_hash(), content(vm)) == seen[4][1:]
    vm.loadvm("then")
    assert (vm.state_hash(), content(vm)) == seen[1][1:]
    vm.run_to(seen[3][0])
    assert (vm.state_hash(), content(vm)) == seen[3][1:]
    timeline.go_to_count(seen[2][0])  # it began anew at the load
    assert vm.state_hash() == seen[2][1]
    timeline.close()
    assert content(vm) == seen[2][2], "without a past the image is the guest's"


def test_record_holds_what_an_overlay_holds(tmp_path: Path, path: Path, kind: str) -> None:
    if kind != "snapshot":
        vm = start(path, kind)
        timeline = Timeline(vm)
        vm.run(instructions=1000)
        with pytest.raises(GossamerError, match=r"ide0-hd0 .* snapshot=on"):
            write_record(vm, timeline, tmp_path / "run")
        vm.close()
        return
    vm = start(path, "raw", "snapshot=on")
    vm.run(instructions=50_000)
    timeline = Timeline(vm, every=50_000)
    vm.run(instructions=100_000)
    value = vm.state_hash()
    write_record(vm, timeline, tmp_path / "run", 5)
    assert vm.state_hash() == value
    vm.close()
    again, past, points = read_record(tmp_path / "run", {"drive0": path})
    verify(again, past, points)
    assert again.state_hash() == value
    again.close()


def failing(vm: Vm, call: str, code: int = errno.EIO) -> Callable[[], None]:
    """The image of the first disk refuses `call` until what is returned is called."""
    image = vm.disks.at[0].image

    def fail(*given: object) -> None:
        raise ImageError(image.path, "cannot: planted", code)

    setattr(image, call, fail)
    return lambda: delattr(image, call)


@pytest.mark.parametrize("policy", ["stop", "report"])
def test_error_of_the_host_comes_again_with_its_request(tmp_path: Path, policy: str) -> None:
    place = tmp_path / "disk"
    create(place, "raw", SIZE)
    vm = start(place, "raw", f"werror={policy},rerror={policy}")
    timeline = Timeline(vm, every=30_000)
    vm.run(instructions=50_000)
    mend = failing(vm, "write")
    vm.run(instructions=20_000)
    mend()
    vm.cont()
    vm.run(instructions=70_000)
    count, value = vm.instructions, vm.state_hash()
    timeline.go(timeline.begin)
    timeline.go(timeline.end)
    assert (vm.instructions, vm.state_hash()) == (count, value)
    timeline.rewind(instructions=40_000)
    here = vm.state_hash()
    timeline.rewind(instructions=5_000)
    vm.run(instructions=5_000)
    assert vm.state_hash() == here
    vm.close()


def test_host_that_refuses_in_the_past_leaves_the_guest_whole(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    create(place, "raw", SIZE)
    vm = start(place, "raw")
    timeline = Timeline(vm, every=30_000)
    seen = played(vm, 5)
    timeline.go_to_count(seen[2][0])
    mend = failing(vm, "read")
    with pytest.raises(GossamerError, match=r"timeline: .*planted"):
        timeline.go_to_count(seen[1][0] + 10_000)
    assert vm.instructions == seen[2][0]
    mend()
    assert vm.state_hash() == seen[2][1]
    timeline.go_to_count(seen[1][0])
    assert vm.state_hash() == seen[1][1]
    mend = failing(vm, "write")
    vm.disks.at[0].image.replace = vm.disks.at[0].image.write  # type: ignore[attr-defined]
    with pytest.raises(GossamerError, match="planted"):
        vm.put_register("r20", 0)
    mend()
    del vm.disks.at[0].image.replace  # type: ignore[attr-defined]
    assert vm.state_hash() == seen[1][1]
    timeline.go(timeline.end)
    assert (vm.state_hash(), content(vm)) == seen[-1][1:]
    vm.close()


def test_more_than_the_ring_holds_ends_the_past_and_not_the_guest(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.write_bytes(random.Random(1).randbytes(4 << 20))
    vm = start(place, "raw")
    timeline = Timeline(vm, limit=1 << 20)
    blocks = timeline.ring.disks[0]
    for n in range(300):
        blocks.write(n * 4096, bytes(4096))
    vm.run(instructions=1000)
    with pytest.raises(GossamerError, match="takes more than 1 MiB between two checkpoints"):
        timeline.rewind(instructions=10)
    with pytest.raises(GossamerError, match="takes more than"):
        timeline.mark()
    vm.run(instructions=50_000)
    assert content(vm)[512:514] == b"\1\0", "the first sector that it writes"
    timeline.close()
    vm.close()
