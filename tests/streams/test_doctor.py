"""`stream doctor`: findings on recorded streams, each planted fault found, mends tried on QEMU."""

from __future__ import annotations

import gzip
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.migrate.inspect import open_stream
from gossamer.streams.patient import Patient, integer, shift_clock
from tests.migrate.streams import small_stream
from tests.streams.qemu_run import Qemu
from tests.streams.test_diff import changed
from tests.waiting import until

Run = Callable[..., Any]
Recorded = Callable[[str], Path]


def findings(ran: Any) -> dict[str, Any]:
    return {f["name"]: f for f in ran.json}


def test_hpend_has_an_interrupt_without_a_line(stream_command: Run, recorded: Recorded) -> None:
    ran = stream_command("doctor", recorded("hpend.mig"), "--json")
    assert ran.status == 1
    found = findings(ran)
    assert found["interrupt"]["grade"] == "loss"
    assert found["interrupt"]["what"] == (
        "pending with no line to the CPU: VIA (MSR[EE] is 0, so it was not taken)"
    )
    assert "a driver that waits for it hangs" in found["interrupt"]["guest"]
    ours = findings(stream_command("doctor", recorded("hpend.mig"), "--json", "--for", "gossamer"))
    assert ours["interrupt"]["grade"] == "note"


@pytest.mark.parametrize(("machine", "stall"), [("g3beige", "251 s"), ("mac99", "35 s")])
def test_decr_streams_stall_on_7_2(
    stream_command: Run, recorded: Recorded, machine: str, stall: str
) -> None:
    path = recorded(f"decr-{machine}.mig")
    found = findings(stream_command("doctor", path, "--json"))
    assert found["decrementer"]["grade"] == "loss"
    assert f"no decrementer interrupt for {stall}" in found["decrementer"]["guest"]
    assert found["timebase"]["what"].endswith("is not carried by any QEMU")
    newer = findings(stream_command("doctor", path, "--json", "--for", "qemu-10"))
    assert "almost at once" in newer["decrementer"]["guest"]
    assert newer["decrementer"]["fix"] is None


PLANTED = {
    "stale timer": ("mac99-pmu-run.mig", {"mos6522:timers[0].timer": 5}, "before the save"),
    "clock": ("mac99-run.mig", {"cuda:sr_delay_timer": 1 << 60}, "out of step"),
    "6522 twice": ("mac99-run.mig", {"mos6522:latch": 0}, "cuda is loaded last"),
    "VIA line": ("hpend.mig", {"cuda:mos6522_cuda.parent_obj.ifr": 0}, "VIA does not request"),
    "DMA in flight": ("g3-disk-run.mig", {"dbdma:channels[3].io.processing": 1}, "channels[3]"),
    "IDE busy": ("g3-disk-run.mig", {"ide:bus.ifs[0].status": 0xD0}, "ide.bus.ifs[0]"),
    "asleep": ("mac99-run.mig", {"cpu_common:halted": 1}, "it never wakes"),
    "decrementer pending": ("mac99-run.mig", {"cpu:env.spr[22]": (1 << 32) - 1499}, "14.99 µs"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found(
    stream_command: Run, recorded: Recorded, tmp_path: Path, name: str
) -> None:
    stream, changes, text = PLANTED[name]
    if name == "6522 twice":
        changes = {"mos6522:timers[0].latch": 7}
    clean = findings(stream_command("doctor", recorded(stream), "--json"))
    assert name not in clean
    sick = changed(recorded(stream), tmp_path / "sick", changes)
    found = findings(stream_command("doctor", sick, "--json"))
    assert name in found
    assert text in str(found[name])


def test_usb_without_its_frame_timer_is_mended(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    # Never run: the controller is not operational and has no timer.  Make it operational.
    sick = changed(recorded("mac99-S.mig"), tmp_path / "sick", {"pci.2:0d.0/ohci:state.ctl": 0x84})
    assert "USB frames" in findings(stream_command("doctor", sick, "--json"))
    stream_command("doctor", sick, "--fix", tmp_path / "well")
    assert "USB frames" not in findings(stream_command("doctor", tmp_path / "well", "--json"))
    with (tmp_path / "well").open("rb") as file:
        tree = open_stream(file).values(open_stream(file).find("pci.2:0d.0/ohci"))  # type: ignore[arg-type]
    assert tree is not None


def test_two_6522_copies_are_made_equal(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    sick = changed(recorded("mac99-run.mig"), tmp_path / "sick", {"mos6522:b": 7})
    stream_command("doctor", sick, "--fix", tmp_path / "well", "--for", "gossamer")
    ran = stream_command("diff", recorded("mac99-run.mig"), tmp_path / "well")
    assert ran.status == 0, ran.out


def test_shift_moves_every_clock_alike(recorded: Recorded) -> None:
    with recorded("mac99-pmu-run.mig").open("rb") as file:
        patient = Patient.of(open_stream(file))
        before = {p: leaf.value for p, _, leaf in patient.clock_leaves()}
        date = integer(patient.tree("pmu"), "tick_offset")
        shift_clock(patient, 10**10)
        after = {p: leaf.value for p, _, leaf in patient.clock_leaves()}
    moved = {p: after[p] - before[p] for p in before if after[p] != before[p]}  # type: ignore[operator]
    assert set(moved.values()) == {10**10}
    assert {"pmu.one_sec_timer", "pci.2:0d.0/ohci.state.sof_time"} <= set(moved)
    assert "mos6522.timers[0].timer" not in moved, "a timer that is not armed stays so"
    assert date is not None
    assert integer(patient.tree("pmu"), "tick_offset") == date - 10


def test_doctor_refuses_other_machines(stream_command: Run, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(small_stream(machine="pc"))
    ran = stream_command("doctor", path)
    assert ran.status == 2
    assert "machine 'pc'; the doctor knows g3beige, mac99, pseries" in ran.err


def test_fix_does_not_write_over_its_source(stream_command: Run, recorded: Recorded) -> None:
    path = recorded("hpend.mig")
    before = path.read_bytes()
    ran = stream_command("doctor", path, "--fix", path)
    assert ran.status == 2
    assert "is the stream that is read" in ran.err
    assert path.read_bytes() == before


@pytest.mark.parametrize("mended", [False, True])
def test_pending_interrupt_on_a_real_qemu_7_2(
    stream_command: Run, recorded: Recorded, qemu: Path, tmp_path: Path, mended: bool
) -> None:
    """The guest counts down, sets MSR[EE] and waits: its handler writes 0x5a to 0x2000."""
    soon = changed(
        recorded("hpend.mig"), tmp_path / "soon", {"cpu:env.gpr[8]": 1, "cpu:env.spr[9]": 1}
    )
    stream = tmp_path / "stream"
    if mended:
        assert stream_command("doctor", soon, "--fix", stream).status == 1
        left = findings(stream_command("doctor", stream, "--json"))
        assert left["interrupt"]["grade"] == "note"
    else:
        shutil.copy(soon, stream)
    options = ("-M", "g3beige", "-m", "64", "-nic", "none", "-incoming", f"exec:cat {stream}")
    with Qemu(qemu, *options) as guest:
        release = guest.command("query-version")["qemu"]
        if (release["major"], release["minor"]) != (7, 2):
            pytest.skip("this QEMU is not 7.2")
        guest.loaded()
        guest.command("cont")
        enabled = "0x00000011"

        def come() -> bool:
            words = guest.monitor("xp /2wx 0x2000").split(":")[1].split()
            return words[1] == enabled and (not mended or words[0] != "0x00000000")

        until(come, saw=lambda: guest.monitor("xp /2wx 0x2000"))
        time.sleep(0.3)
        words = guest.monitor("xp /2wx 0x2000").split(":")[1].split()
    assert words == ["0x0000005a" if mended else "0x00000000", enabled]


@pytest.mark.parametrize("mended", [False, True])
def test_lost_decrementer_on_a_real_qemu_7_2(
    stream_command: Run, shared: Path, qemu: Path, tmp_path: Path, mended: bool
) -> None:
    """The guest sets DEC to 21 s and MSR[EE]; its decrementer handler writes 0x5a to 0x2000."""
    rom = tmp_path / "rom"
    rom.write_bytes(gzip.decompress((shared / "streams" / "roms" / "rom4.bin.gz").read_bytes()))
    machine = ("-M", "mac99", "-m", "64", "-nic", "none")
    with Qemu(qemu, *machine, "-bios", str(rom)) as guest:
        release = guest.command("query-version")["qemu"]
        if (release["major"], release["minor"]) != (7, 2):
            pytest.skip("this QEMU is not 7.2")
        # DEC is set, and then MSR[EE].
        until(
            lambda: int(guest.monitor("info registers").partition("MSR ")[2][:8], 16) & 0x8000,
            saw=lambda: guest.monitor("info registers"),
        )
        guest.save(tmp_path / "sick")
    stream = tmp_path / "sick"
    if mended:
        ran = stream_command("doctor", stream, "--fix", tmp_path / "well")
        assert "no decrementer interrupt for 4" in ran.out
        stream = tmp_path / "well"
    with Qemu(qemu, *machine, "-incoming", f"exec:cat {stream}") as guest:
        guest.loaded()

        def word() -> str:
            return guest.monitor("xp /1wx 0x2000").split(":")[1].strip()

        if mended:
            until(lambda: word() != "0x00000000")
        else:
            time.sleep(2)
        words = word()
    assert words == ("0x0000005a" if mended else "0x00000000")
