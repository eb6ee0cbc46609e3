"""B5: what a receiver does not know is declared where the state is, and cannot be forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.control.handover import cut_for
from gossamer.control.losses import losses
from gossamer.control.vm import Vm
from gossamer.core.device import Device
from gossamer.machines.options import parse
from gossamer.migrate import releases
from gossamer.migrate.inspect import open_stream
from gossamer.state.declare import u8
from gossamer.state.layout import NOTHING, Loss, subsection
from gossamer.streams import command as tool
from gossamer.streams.refusals import refusals
from gossamer.streams.show import RamSum

QEMU = sorted(releases.QEMU)


def machine() -> Vm:
    line = ["-M", "g3beige", "-m", "8", "-nographic", "-serial", "null", "-bios", "builtin"]
    return Vm(parse([*line, "-icount", "5,sleep=off", "-nic", "none"]))


class NewChip(Device):
    """A chip that no QEMU has; its author did not think of streams for QEMU."""

    vmsd = "new-chip"
    level: int = u8(3)


class DeclaredChip(NewChip):
    """The same, with a word on it."""

    vmsd = "declared-chip"
    lost = "its level"


class Extended(Device):
    """A chip with a subsection that is not marked as ours."""

    vmsd = "cuda"
    more = subsection("cuda/more", lost="more of it")
    level: int = u8(3, within=more)


@pytest.mark.parametrize("release", QEMU)
@pytest.mark.parametrize("chip", [NewChip, DeclaredChip])
def test_a_section_that_qemu_has_not_is_named_and_stays_here(
    chip: type[NewChip], release: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vm, to = machine(), releases.release(release)
    before = {loss.text for loss in losses(vm.machine, to)}
    device = vm.machine.add("new", chip(vm.machine.clock), idstr="new-chip")
    device.reset()
    said = "its level" if chip is DeclaredChip else "all of its state"
    (line,) = {loss.text for loss in losses(vm.machine, to)} - before
    assert line == f"new: {to.title} has no section new-chip: {said}"
    sent = vm.migrate(f"file:{tmp_path / 'm'}", profile=release)
    assert line in sent.lost
    with (tmp_path / "m").open("rb") as file:
        assert open_stream(file).find("new-chip") is None
    # Our own stream has it; check and doctor name it, convert refuses.
    vm.run_state = "paused"
    (tmp_path / "ours").write_bytes(vm.save_bytes())
    counted = RamSum()
    with (tmp_path / "ours").open("rb") as file:
        against = refusals(open_stream(file, on_ram=counted), counted, to)
    assert any(r.where == "new-chip" and "section is unknown" in r.why for r in against)
    assert tool.main(["check", str(tmp_path / "ours"), release]) == 1
    assert "new-chip" in capsys.readouterr().out
    out = str(tmp_path / "out")
    assert tool.main(["convert", str(tmp_path / "ours"), out, "--to", release]) == 1
    assert f"new-chip: {to.title} has no such section" in capsys.readouterr().out


@pytest.mark.parametrize("release", QEMU)
def test_a_subsection_that_is_not_marked_is_named_and_stays_here(release: str) -> None:
    vm, to = machine(), releases.release(release)
    device = vm.machine.add("new", Extended(vm.machine.clock), idstr="cuda", instance=7)
    device.reset()
    assert "new: more of it" in {loss.text for loss in losses(vm.machine, to)}
    assert cut_for(vm.machine, to).profile.known is not None


def test_a_class_that_does_not_say_what_is_lost_does_not_come_into_being() -> None:
    with pytest.raises(TypeError, match="say what is lost without"):

        class Mute(Device):
            vmsd = "mute"
            extra = subsection("mute/gossamer", ours=True)
            level: int = u8(within=extra)


@pytest.mark.parametrize("lost", ["a word", Loss("a word", passes=True), NOTHING])
def test_what_is_declared_is_what_is_named(lost: str | Loss) -> None:
    one = subsection("x/gossamer", ours=True, lost=lost)
    passes = isinstance(lost, Loss)
    assert one.losses(object()) == ([Loss("a word", passes)] if lost != NOTHING else [])


def test_every_class_of_the_machines_is_judged() -> None:
    """With every machine at power on, and what each of its subsections says."""
    for name in ("g3beige", "mac99", "mac99,via=pmu", "mac99,via=pmu-adb"):
        vm = Vm(parse(["-M", name, "-m", "8", "-nographic", "-serial", "null", "-bios", "builtin"]))
        for part in vm.machine.sections:
            for sub in part.device.subsections:
                assert not sub.ours or sub.is_judged, (part.path, sub.name)
        for release in QEMU:
            assert part_unknown(vm, release) == []


def part_unknown(vm: Vm, release: str) -> list[str]:
    known = releases.release(release).known
    return [p.idstr for p in vm.machine.sections if p.device.vmsd not in known]
