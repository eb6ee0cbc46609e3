"""`gossamer verify cuts`: cut runs are uncut ones, and the check sees when they are not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gossamer import cli
from gossamer.base.data import replace
from gossamer.control.vm import Vm
from gossamer.cpu.cpu import Cpu
from gossamer.devices.console_port import ConsolePort
from gossamer.machines.options import parse
from gossamer.state.layout import View
from gossamer.verify.cuts import drop
from gossamer.verify.cuts.events import EVENTS
from gossamer.verify.cuts.guests import GUESTS, config_for, guest_named, scout
from gossamer.verify.cuts.run import Cutter, Reference
from gossamer.verify.cuts.track import Track

BARE = ["verify", "cuts", "-M", "bare", "--guest", "builtin"]
MAC = ["verify", "cuts", "-M", "g3beige", "--guest", "builtin"]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_cut_run_is_the_uncut_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*BARE, "--cuts", "40", "--process-every", "25"]) == 0
    output = capsys.readouterr()
    assert output.out == "cuts=40 divergent=0\n"
    assert "4 through a file, 1 into a new process" in output.err


@pytest.mark.parametrize(
    ("machine", "guest"),
    [
        ("g3beige", "dma"),
        ("g3beige", "search"),
        ("mac99", "builtin"),
        ("mac99", "openpic"),
        ("mac99,via=pmu", "usb"),
    ],
)
def test_cut_run_of_each_guest_is_the_uncut_run(
    machine: str, guest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-M", machine, "--guest", guest, "--cuts", "12", "--process-every", "0"]
    assert cli.main(["verify", "cuts", *arguments]) == 0
    assert last_line(capsys) == "cuts=12 divergent=0"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("machine", "cuts"), [("g3beige", 60), ("mac99,via=pmu", 30)])
def test_cut_run_of_a_macintosh_is_the_uncut_run(
    machine: str, cuts: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-M", machine, "--guest", "builtin", "--cuts", str(cuts)]
    assert cli.main(["verify", "cuts", *arguments, "--process-every", "50"]) == 0
    assert last_line(capsys) == f"cuts={cuts} divergent=0"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
def test_cut_run_of_a_macintosh_is_the_uncut_run_600_times(
    machine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-M", machine, "--guest", "builtin", "--cuts", "600", "--seed", "2"]
    assert cli.main(["verify", "cuts", *arguments]) == 0
    assert last_line(capsys) == "cuts=600 divergent=0"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", ["g3beige", "mac99", "mac99,via=pmu", "mac99,via=pmu-adb"])
def test_cut_run_of_openbios_is_the_uncut_run(
    machine: str, openbios: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "cuts", "-M", machine, "--cuts", "40", "--tiers", "0"]) == 0
    assert last_line(capsys) == "cuts=40 divergent=0"


@pytest.mark.parametrize("event", ["interrupt", "rfi", "exception"])
def test_windows_around_events_may_be_cut(event: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*BARE, "--around", event, "--window", "10"]) == 0
    assert last_line(capsys) == "events=1 cuts=21 divergent=0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "guest", "event"), [("g3beige", "search", "miss"), ("mac99,via=pmu", "usb", "usb")]
)
def test_windows_around_misses_and_usb_packets_may_be_cut(
    machine: str, guest: str, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-M", machine, "--guest", guest, "--around", event, "--window", "40"]
    assert cli.main(["verify", "cuts", *arguments]) == 0
    assert last_line(capsys) == "events=1 cuts=81 divergent=0"


@pytest.mark.slow
@pytest.mark.parametrize("event", ["openpic", "ipi", "fetch"])
def test_windows_around_interrupts_of_the_openpic_and_dma_may_be_cut(
    event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = ["verify", "cuts", "-M", "mac99", "--guest", "openpic"]
    assert cli.main([*guest, "--around", event, "--window", "8"]) == 0
    assert last_line(capsys) == "events=1 cuts=17 divergent=0"


@pytest.mark.slow
def test_registers_of_a_return_are_no_exception(capsys: pytest.CaptureFixture[str]) -> None:
    """The handlers of this guest put SRR0 and SRR1 back; it has interrupts alone."""
    guest = ["verify", "cuts", "-M", "mac99", "--guest", "openpic"]
    assert cli.main([*guest, "--around", "exception"]) == 2
    assert "guest openpic has none of: exception" in capsys.readouterr().err


def test_guest_of_another_machine_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "cuts", "-M", "g3beige", "--guest", "openpic"]) == 2
    assert "--guest openpic: runs on mac99, got -M g3beige" in capsys.readouterr().err
    for machine in ("mac99", "mac99,via=pmu-adb"):
        assert cli.main(["verify", "cuts", "-M", machine, "--guest", "usb"]) == 2
        message = f"--guest usb: runs on mac99,via=pmu, got -M {machine}"
        assert message in capsys.readouterr().err
    assert cli.main(["verify", "cuts", "--guest", "search", "--cpu", "750"]) == 2
    assert "--guest search: runs on the 603e, got --cpu 750" in capsys.readouterr().err
    assert cli.main(["verify", "cuts", "--guest", "moon"]) == 2
    assert f"expected {', '.join(GUESTS)}; got 'moon'" in capsys.readouterr().err


def test_event_that_the_guest_does_not_have_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([*BARE, "--around", "cuda"]) == 2
    assert "guest builtin has none of: cuda" in capsys.readouterr().err
    assert cli.main([*BARE, "--around", "moon"]) == 2
    assert f"expected all, {', '.join(EVENTS)}; got 'moon'" in capsys.readouterr().err


def test_instruction_breakpoint_is_watched_for_after_a_load() -> None:
    vm = Vm(parse(["-M", "bare", "-serial", "null", "-nographic", "-icount", "5,sleep=off"]))
    vm.run_to(1000)
    loop = vm.machine.cpu.block.get("nia")
    vm.machine.cpu.block.set("iabr", loop | 2)
    fresh = Vm(vm.config)
    fresh.load_bytes(vm.save_bytes())
    seen: list[int] = []
    fresh.machine.engine.deliver = lambda vector, srr1=0: seen.append(vector)  # type: ignore[method-assign]
    fresh.run_to(1100)
    assert 0x1300 in seen


# --- planted faults -------------------------------------------------------------------------------


def test_registers_that_are_not_saved_are_found_by_what_the_guest_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [v for v in Cpu.layouts[""] if not (isinstance(v, View) and v.name == "env.gpr")]
    monkeypatch.setattr(Cpu, "layouts", {"": kept})  # neither saved nor in the hash
    assert cli.main([*BARE, "--cuts", "20", "--process-every", "0"]) == 1
    output = capsys.readouterr()
    assert "divergent=3" in output.out
    assert "first divergent boundary: instruction " in output.err
    assert "cpu env.crf[0]: " in output.err


def test_state_outside_every_save_is_found_at_the_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = ["fifo", "count", "exited"]  # exit_status is missing
    monkeypatch.setattr(ConsolePort, "layouts", {"": layout})
    read = ConsolePort.read

    def scratch(self: ConsolePort, offset: int, size: int) -> int:
        self.exit_status += 1
        return read(self, offset, size)

    monkeypatch.setattr(ConsolePort, "read", scratch)
    assert cli.main([*BARE, "--cuts", "5", "--process-every", "0"]) == 1
    output = capsys.readouterr()
    assert "cut 1 lost state that is declared" in output.err
    assert "console.exit_status: " in output.err


def test_run_that_is_not_deterministic_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    build = Vm._adopt

    def adopt(self: Vm, machine) -> None:
        made.append(machine)
        machine.cpu.block.set("gpr", len(made), 29)
        build(self, machine)

    monkeypatch.setattr(Vm, "_adopt", adopt)
    assert cli.main([*BARE, "--cuts", "5"]) == 2
    assert "two uncut runs differ" in capsys.readouterr().err


# --- dropped fields -------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["cpu.dec_zero", "cpu.tb_offset", "console.fifo", "timer.clock"])
def test_dropped_field_is_noticed(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*BARE, "--drop", field]) == 0
    assert last_line(capsys) == "fields=1 noticed=1 excused=0"


@pytest.mark.slow
def test_one_guest_that_notices_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """The DMA channels' alarm: the first of mac99's guests makes no DMA, the second does."""
    field = "macio/dbdma.channels[[]*].step"
    assert cli.main(["verify", "cuts", "-M", "mac99", "--drop", field]) == 0
    output = capsys.readouterr()
    assert "builtin: 0 of 1 fields noticed" in output.err
    assert "openpic: 1 of 1 fields noticed" in output.err
    assert output.out == "fields=1 noticed=1 excused=0\n"


def test_field_that_no_guest_misses_fails_unless_it_is_excused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "excused.toml"
    file.write_text("")
    monkeypatch.setattr(drop, "excuse_file", lambda: file)
    assert cli.main([*MAC, "--drop", "macio.irq_state"]) == 1
    output = capsys.readouterr()
    assert output.out == "fields=1 noticed=0 excused=0\n"
    assert "not noticed: macio.irq_state" in output.err
    file.write_text('["g3beige"]\n"macio.irq_state" = "QEMU\'s count"\n')
    assert cli.main([*MAC, "--drop", "macio.irq_state"]) == 0
    assert last_line(capsys) == "fields=1 noticed=0 excused=1"


def test_excuse_for_a_field_that_is_noticed_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "excused.toml"
    file.write_text('["bare"]\n"cpu.dec_zero" = "who needs it"\n')
    monkeypatch.setattr(drop, "excuse_file", lambda: file)
    assert cli.main([*BARE, "--drop", "cpu.dec_zero"]) == 1
    assert "excused and yet noticed" in capsys.readouterr().err


def test_excuses_only_become_fewer() -> None:
    """Lower these numbers when an excuse goes; new devices alone are a reason to raise them."""
    most = {
        "g3beige": 16,
        "mac99": 22,
        "mac99,via=pmu": 26,
        "mac99,via=pmu-adb": 22,
        "ref405ep": 1,
        "pseries": 26,
    }
    file = drop.excuse_file()
    assert set(tomllib.loads(file.read_text())) == set(most)
    for machine, count in most.items():
        known = drop.excuses(file, machine)
        assert len(known) <= count
        assert all(known.values()), "an excuse has a reason"


def test_a_guest_that_may_not_switch_itself_off_may_not_behind_a_file_either(
    tmp_path: Path,
) -> None:
    config = config_for(guest_named("builtin", None, None), "bare", "2M", 5)
    track = Track(replace(config, shutdown=False), [])
    track.run_to(1000)
    track.vm.save(tmp_path / "cut")
    track.load_file(tmp_path / "cut")
    assert not track.vm.config.shutdown
    assert track.vm.instructions == 1000


def test_points_that_fall_on_one_boundary_are_all_cut(capsys: pytest.CaptureFixture[str]) -> None:
    guest = guest_named("builtin", None, None)
    plan = scout(guest, config_for(guest, "bare", "2M", 5), lambda text: None)
    at = plan.start_count + 1000
    reference = Reference(plan, [at, at + 50], [32 * at, 32 * at + 1])
    reference.run()
    assert reference.cuts == 4
    cutter = Cutter(plan, reference, print)
    cutter.run()
    assert (cutter.cuts, cutter.divergent) == (4, 0)
