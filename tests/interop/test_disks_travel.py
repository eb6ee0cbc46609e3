"""Machines with a disk: the image goes along, unlocked and complete; snapshots go both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.base.errors import HostError
from gossamer.block import create, open_image
from gossamer.machines.options import parse
from gossamer.migrate.channels import Limits, Listener
from gossamer.verify.hops.command import COMMON, GossamerStation
from gossamer.verify.hops.qemu import QemuStation
from tests.interop.conftest import MACHINE

Start = Callable[..., QemuStation]
LIMITS = Limits(meet=10.0, stall=10.0, total=60.0)
pytestmark = pytest.mark.usefixtures("openbios")


@pytest.fixture(params=["raw", "qcow2"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk(kind: str, folder: Path) -> tuple[str, ...]:
    """Options for a disk of 8 MiB."""
    create(folder / "d", kind, 8 << 20)
    return ("-drive", f"file={folder}/d,format={kind},index=0,media=disk")


def station(*options: str) -> GossamerStation:
    return GossamerStation(parse([*MACHINE, *COMMON, "-icount", "shift=5,sleep=off", *options]))


@pytest.fixture
def ours(disk: tuple[str, ...]) -> Iterator[GossamerStation]:
    """Our machine with the disk, at the firmware's prompt."""
    made = station(*disk)
    made.expect(b"0 > ", 60.0)
    made.run(1_000_000)
    yield made
    made.vm.close()


def computes(at: GossamerStation | QemuStation) -> None:
    seen = len(at.output)
    at.type(b"2a 3 * .\r")
    at.expect(b"7e  ok", 20.0, seen)


def test_there_and_back(
    ours: GossamerStation, disk: tuple[str, ...], kind: str, start_qemu: Start, folder: Path
) -> None:
    ours.vm.disks.at[0].image.write(3584, b"ours")
    qemu = start_qemu(*disk, "-incoming", f"unix:{folder}/m")
    ours.vm.migrate(f"unix:{folder}/m", profile="qemu-7.2")
    assert qemu.wait_loaded() == "running"
    computes(qemu)
    assert "written" not in qemu.monitor('qemu-io ide0-hd0 "write -P 0x5a 4096 512"')
    back = station(*disk, "-incoming", f"unix:{folder}/n")
    listener = Listener(f"unix:{folder}/n", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    back.vm.incoming(listener)
    qemu.wait_sent()
    qemu.close()
    image = back.vm.disks.at[0].image
    assert (image.read(3584, 4), image.read(4096, 4)) == (b"ours", b"ZZZZ")
    computes(back)
    back.vm.close()
    file = open_image(folder / "d", format=kind)
    assert file.read(4096, 512) == b"Z" * 512
    file.close()


def test_a_failed_transfer_brings_the_disk_back(ours: GossamerStation, folder: Path) -> None:
    ours.vm.disks.at[0].image.write(3584, b"ours")
    with pytest.raises(HostError, match="gone"):
        ours.vm.migrate("exec:exit 1", profile="qemu-7.2")
    image = ours.vm.disks.at[0].image
    assert image.read(3584, 4) == b"ours"
    assert ours.vm.machine.part("macio/ide0").bus.drives[0].media.image is image
    image.write(3584, b"more")
    computes(ours)


@pytest.mark.parametrize("kind", ["qcow2"], indirect=True)
def test_our_snapshot_in_qemu(
    ours: GossamerStation, disk: tuple[str, ...], start_qemu: Start
) -> None:
    ours.vm.wire_profile = "qemu-7.2"
    ours.type(b": twice 2 * ; 15 ")
    ours.vm.savevm("mine")
    ours.vm.close()
    qemu = start_qemu(*disk, "-loadvm", "mine")
    qemu.type(b"twice .\r")
    qemu.expect(b"2a  ok", 20.0)


@pytest.mark.parametrize("kind", ["qcow2"], indirect=True)
def test_qemus_snapshot_here(disk: tuple[str, ...], start_qemu: Start) -> None:
    qemu = start_qemu(*disk)
    qemu.expect(b"0 > ")
    qemu.type(b": twice 2 * ; 15 ")
    qemu.expect(b"15 ")  # what is still in its socket does not travel
    assert qemu.monitor("savevm theirs").strip() == ""
    qemu.close()
    here = station(*disk)
    here.vm.loadvm("theirs")
    assert any("decrementer: not carried" in line for line in here.vm.repairs)
    here.vm.cont()
    here.type(b"twice .\r")
    here.expect(b"2a  ok", 20.0)
    here.vm.close()
