"""The hostile guest and the chips alone: they find nothing, and what is planted they find."""

from __future__ import annotations

import mmap
import random
from pathlib import Path

import pytest

from gossamer import cli
from gossamer.devices.ide.cell import IdeBus, MacioIde
from gossamer.devices.ide.drive import BSY, SEEK, THEN_NOTHING, IdeDrive
from gossamer.machines.build import build
from gossamer.machines.guests import hostile as program
from gossamer.machines.options import parse
from gossamer.verify.hostile.alone import Lane, Pair, layout_for
from gossamer.verify.hostile.guest import prepare, scout
from gossamer.verify.hostile.layout import Layout
from gossamer.verify.hostile.records import Record, table
from gossamer.verify.hostile.rigs import RIGS
from gossamer.verify.hostile.scripts import chips, run_script

MACHINES = ("g3beige", "mac99", "mac99,via=pmu", "mac99,via=pmu-adb", "ref405ep")


def verify(*words: object) -> int:
    return cli.main(["verify", "cuts", "--guest", "hostile", *map(str, words)])


def halt_as_before(drive: IdeDrive) -> None:
    """What SRST did to a drive when case 15 was there: its status stayed as it was."""
    drive.timer.cancel()
    drive.stage, drive.stalled = 0, False
    drive.cur_io_buffer_len, drive.end_transfer_fn_idx = 0, THEN_NOTHING


# --- case 15 --------------------------------------------------------------------------------------


def test_case_15_a_save_while_reset_is_held_behind_a_busy_command_loses_nothing() -> None:
    pair = Pair("ide", layout_for("ide"))
    at = pair.uncut.rig.at("pmac-ide")
    writes = ((0x60, 0xE0), (0x20, 1), (0x70, 0x20), (0x160, 0x04), (0x50, 0x77))
    for offset, value in writes:
        assert pair.carry_out(Record("store1", at + offset, value)), pair.different
    for offset in (0x10, 0x50, 0x70, 0x160):
        assert pair.carry_out(Record("load1", at + offset)), pair.different
    for lane in pair.lanes:
        (bus,) = (p.device.bus for p in lane.rig.parts if p.path == "ide0")
        assert bus.drives[0].status == BSY | SEEK
        assert bus.drives[0].hcyl == 0  # a busy drive takes no write


def undo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the mending of case 15 back, both halves of it."""
    mended = IdeDrive.post_load

    def post_load(drive: IdeDrive, version: int) -> None:
        cmd, drive.bus.cmd = drive.bus.cmd, 0
        mended(drive, version)
        drive.bus.cmd = cmd

    monkeypatch.setattr(IdeDrive, "halt", halt_as_before)
    monkeypatch.setattr(IdeDrive, "post_load", post_load)


def test_chip_alone_finds_case_15_when_its_mending_is_undone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undo(monkeypatch)
    assert verify("--chip", "ide-true-rate", "--accesses", 70, "--seed", 14) == 1
    printed = capsys.readouterr()
    assert "divergent=1" in printed.out
    assert "seed 14" in printed.err
    assert "again: gossamer verify cuts" in printed.err
    assert "status: 0xd0 uncut, 0x41 cut" in printed.err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hostile_guest_finds_case_15_when_its_mending_is_undone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undo(monkeypatch)
    words = ("--true-rates", "--accesses", 5000, "--cuts", 300, "--process-every", 0)
    assert verify(*words) == 1
    printed = capsys.readouterr()
    assert "ide" in printed.err
    assert "seed 1, access" in printed.err


# --- nothing is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("chip", RIGS)
def test_chip_alone_goes_on_as_if_never_cut(chip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify("--chip", chip, "--accesses", 60, "--seed", 1) == 0
    assert "divergent=0" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("chip", RIGS)
def test_chip_alone_goes_on_as_if_never_cut_for_long(chip: str) -> None:
    assert verify("--chip", chip, "--accesses", 300, "--seed", 7) == 0


@pytest.mark.parametrize("machine", MACHINES)
def test_hostile_guest_goes_on_as_if_never_cut(
    machine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify("-M", machine, "--accesses", 400, "--cuts", 12, "--process-every", 0) == 0
    assert "cuts=12 divergent=0" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rates", [(), ("--true-rates",)])
@pytest.mark.parametrize("machine", MACHINES)
def test_hostile_guest_goes_on_as_if_never_cut_for_long(
    machine: str, rates: tuple[str, ...]
) -> None:
    assert verify("-M", machine, *rates, "--accesses", 1500, "--cuts", 24, "--seed", 11) == 0


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["g3beige", "mac99,via=pmu-adb"])
def test_nothing_that_the_hostile_guest_does_makes_the_host_grow(
    machine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify("-M", machine, "--flood", "--accesses", 2000) == 0
    assert "accesses=2000 grown=" in capsys.readouterr().out


def test_flood_finds_what_grows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held: list[mmap.mmap] = []
    read = IdeBus.read_status

    def kept(bus: IdeBus) -> int:
        # Pages of its own: what the heap has free from other tests would take in a plain object.
        held.append(mmap.mmap(-1, 1 << 20))
        held[-1].write(bytes(1 << 20))
        return read(bus)

    monkeypatch.setattr(IdeBus, "read_status", kept)
    assert verify("--flood", "--accesses", 3000) == 1


# --- the guest ------------------------------------------------------------------------------------


def test_guest_carries_out_every_record_and_reaches_every_chip(tmp_path: Path) -> None:
    hostile = prepare("mac99,via=pmu", 3000, 5, 5, tmp_path)
    track = scout(hostile, lambda text: None)
    assert hostile.done(track) == 3000
    folded = track.vm.read_physical(program.STATE + 4, 8)
    assert folded[:4] != bytes(4), "nothing was read"
    assert folded[4:] != bytes(4), "no interrupt came"
    layout = Layout(build(parse(["-M", "mac99,via=pmu", "-m", "8", "-bios", "builtin"])))
    kinds = {record.kind for record in hostile.records}
    assert kinds >= {"store1", "store4", "load1", "load4", "poll", "execute", "msr", "wait", "nap"}
    reached = {
        name
        for name, places in layout.places.items()
        for at, size in places
        if any(at <= record.at < at + size for record in hostile.records)
    }
    assert set(layout.places) - reached <= {"timer", "uninorth"}
    track.close()


def test_scripts_are_the_seeds(tmp_path: Path) -> None:
    config = parse(["-M", "g3beige", "-m", "8", "-bios", "builtin"])
    layout = Layout(build(config))
    one, same, other = (run_script(layout, seed, 500) for seed in (1, 1, 2))
    assert one == same != other
    assert len(table(one)) == 16 + 12 * 500
    assert {"ide", "dbdma", "cuda", "escc", "heathrow", "ne2000", "vga"} <= set(chips(layout))


def test_accesses_and_chips_that_there_are_none_of_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert verify("--chip", "piano") != 0
    assert "--chip: expected all, ide" in capsys.readouterr().err
    assert verify("--accesses", 0) != 0
    assert "--accesses: expected 1 or more, got 0" in capsys.readouterr().err
    assert verify("-M", "bare") != 0
    assert "runs on g3beige, mac99 and ref405ep" in capsys.readouterr().err


def test_idle_drive_keeps_nothing_of_its_last_command() -> None:
    """So that an idle drive's save is whole without what only a command in progress needs."""
    rng = random.Random(1)
    layout = layout_for("ide")
    lane = Lane("ide", layout)
    ide = next(p.device for p in lane.rig.parts if p.path == "ide0")
    assert isinstance(ide, MacioIde)
    drive = ide.bus.drives[0]
    for command in (0xEC, 0x20, 0x10, 0xE7):
        ide.write(0x20, 1, 1)
        ide.write(0x70, 1, command)
        lane.rig.clock.advance(int(lane.rig.clock.now) + 10_000_000)
        while drive.status & 0x08:
            ide.read(0, rng.choice((2, 4)))
        assert (drive.op, drive.left, drive.req_nb_sectors) == (0, 0, 0)
        assert not any(drive.io_buffer)


def test_every_chip_page_says_what_a_guest_can_flood() -> None:
    pages = sorted((Path(__file__).parents[3] / "docs" / "chips").glob("*.md"))
    assert len(pages) > 20
    heading = "## What a guest can flood, and what bounds it\n\n| what | bound |\n|---|---|\n| "
    without = [page.name for page in pages if heading not in page.read_text(encoding="utf-8")]
    assert without == []
