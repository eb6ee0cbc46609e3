"""The 405's hostile guest: it reaches everything, and what is planted it finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer import cli
from gossamer.base.errors import ConfigError
from gossamer.control.vm import Vm
from gossamer.cpu.cpu_405 import Cpu405
from gossamer.isa.spec import timers_405 as timers
from gossamer.machines.build import build
from gossamer.machines.guests import hostile_405 as program
from gossamer.machines.options import parse
from gossamer.verify.hostile.guest import prepare, scout
from gossamer.verify.hostile.layout import Layout


def verify(*words: object) -> int:
    return cli.main(["verify", "cuts", "-M", "ref405ep", "--guest", "hostile", *map(str, words)])


def test_guest_carries_out_every_record_and_reaches_every_chip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resets: list[int] = []
    taken = Cpu405._start

    def start(cpu: Cpu405, kind: int, by_watchdog: int) -> None:
        resets.append(by_watchdog)
        taken(cpu, kind, by_watchdog)

    monkeypatch.setattr(Cpu405, "_start", start)
    hostile = prepare(program.MACHINE, 3000, 5, 5, tmp_path)
    track = scout(hostile, lambda text: None)
    assert hostile.done(track) == 3000
    begun, read, ordinary, critical, slot = (
        int.from_bytes(track.vm.read_physical(program.STATE + 4 * n, 4), "big") for n in range(5)
    )
    assert begun == 3000
    assert read, "nothing was read"
    assert ordinary, "no interrupt came"
    assert critical, "no critical interrupt came"
    assert slot > 10, "no miss was answered"
    assert any(resets), "the watchdog did not reset the machine"
    layout = Layout(build(parse(["-M", program.MACHINE, "-m", "8", "-nographic"])))
    kinds = {record.kind for record in hostile.records}
    assert kinds >= {*program.KINDS} - {"end", "execute"}
    reached = {
        (name, at)
        for name, places in layout.places.items()
        for at, size in places
        if any(at <= record.at < at + size for record in hostile.records)
    }
    assert reached == {(name, at) for name, places in layout.places.items() for at, _ in places}
    done = {program.INSTRUCTIONS[r.value] for r in hostile.records if r.kind in ("do", "vdo")}
    for spr in (944, 945, 955, 984, 986, 987, 1010):
        assert f"mtspr {spr},8" in done
    assert {"tlbwehi 8,0", "tlbwelo 8,0", "mtdcr 0xc1,8", "mfdcr 8,0xc7", "mtdcr 0x11,8"} <= done
    track.close()


@pytest.mark.slow
def test_a_pit_that_begins_anew_at_each_load_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = Cpu405.post_load

    def anew(cpu: Cpu405, version: int) -> None:
        if cpu.pit_zero and cpu.block.get("tcr") & timers.ARE:
            cpu.set_pit(cpu.block.get("pit_reload"))
        loaded(cpu, version)

    monkeypatch.setattr(Cpu405, "post_load", anew)
    assert verify("--accesses", 1500, "--cuts", 60, "--process-every", 0) == 1
    printed = capsys.readouterr()
    assert "divergent=0" not in printed.out
    assert "pit_zero" in printed.err
    assert "again: gossamer verify cuts --guest hostile -M ref405ep --seed 1" in printed.err


@pytest.mark.slow
def test_nothing_that_changes_is_undeclared(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify("--accesses", 200, "--census") == 0
    assert capsys.readouterr().out.rstrip().endswith("undeclared=0")


def test_a_table_that_the_rom_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--accesses: the ROM of ref405ep holds 160000, got 1"):
        prepare(program.MACHINE, 160_001, 1, 5, tmp_path)


def test_a_board_with_a_rom_of_the_users_is_loaded_from_its_save(tmp_path: Path) -> None:
    rom, saved = tmp_path / "rom", tmp_path / "saved"
    rom.write_bytes(bytes.fromhex("48000000") * 2048)
    options = ["-M", "ref405ep", "-m", "8", "-nographic", "-serial", "null", "-bios", str(rom)]
    vm = Vm(parse([*options, "-icount", "5,sleep=off"]))
    vm.run(instructions=100)
    vm.save(saved)
    rom.unlink()
    again = Vm.load(saved)
    assert again.state_hash() == vm.state_hash()
    again.run(instructions=100)
    again.save(saved)
    assert Vm.load(saved).state_hash() == again.state_hash()
