"""A pseries under hostile calls and rings: no traceback, and no difference to one that is moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer import cli
from gossamer.devices.pci import PciDevice
from gossamer.devices.spapr.llan import Pool
from gossamer.devices.spapr.rtas import TOKENS
from gossamer.devices.spapr.spapr import Rtc
from gossamer.devices.usb.xhci import Xhci
from gossamer.devices.vga.card import Vga
from gossamer.machines.usb_attach import CONTROLLERS
from gossamer.verify.hostile.server import CALLS
from gossamer.verify.hostile.server_run import prepare, run_server

COMMAND = ["verify", "cuts", "-M", "pseries", "--guest", "hostile"]


@pytest.mark.parametrize(
    ("seed", "cuts", "steps"),
    [(3, 2, 2600), *(pytest.param(n, 4, 12_000, marks=pytest.mark.slow) for n in (4, 5))],
)
def test_nothing_breaks_and_a_cut_changes_nothing(
    tmp_path: Path, seed: int, cuts: int, steps: int
) -> None:
    said: list[str] = []
    run = prepare("pseries", steps, cuts, seed, tmp_path, cpus=2)
    done, divergent, uncut = run_server(run, said.append)
    assert (done, divergent) == (cuts, 0), said
    answers = uncut.guest.answers
    assert {name for name, code in answers if name in TOKENS} == {*TOKENS}
    assert {name for name, _ in answers} >= {hex(number) for number in CALLS}
    good = {name for name, code in answers if code == 0}
    assert good >= {"0x4", "0x8", "0x20", "H_RTAS", "ibm,write-pci-config", "0xf005"}
    assert good >= {"0xfc", "0x108", "0x114", "0x118", "0x11c", "0x120"}


def test_state_that_a_save_leaves_out_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Rtc, "layouts", {"": []})  # what set-time-of-day has set is missing
    assert cli.main([*COMMAND, "--accesses", "500", "--cuts", "2", "--seed", "4"]) == 1
    output = capsys.readouterr()
    assert output.out.startswith("cuts=2 divergent=")
    assert "rtc.ns_offset: " in output.err
    assert f"again: gossamer {' '.join(COMMAND)} --accesses 500 --cuts 2" in output.err


def test_buffers_of_a_card_that_a_save_leaves_out_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "set_buffers", lambda pool, data: None)
    said: list[str] = []
    assert run_server(prepare("pseries", 2, 1, 3, tmp_path), said.append)[1] > 0


@pytest.mark.parametrize("version", ["pseries", "pseries-2.5"])
def test_display_and_usb_answer_and_a_cut_changes_nothing(tmp_path: Path, version: str) -> None:
    said: list[str] = []
    run = prepare(version, 1500, 3, 9, tmp_path)
    done, divergent, uncut = run_server(run, said.append)
    assert (done, divergent) == (3, 0), said
    assert any(" x " in name for name, _ in uncut.guest.answers)  # a picture
    controllers = {p.device.vmsd for p in uncut.track.vm.machine.parts} & {*CONTROLLERS}
    assert controllers == {"ohci" if version == "pseries-2.5" else "xhci"}


@pytest.mark.parametrize(
    ("chip", "hook", "parts", "lost"),
    [
        (Xhci, "resume", "core", "config"),
        (Xhci, "resume", "core", "dcbaap_low"),
        (Vga, "post_load", "vga", "vbe_index"),
    ],
)
def test_state_of_display_and_usb_that_a_save_leaves_out_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chip: type[PciDevice],
    hook: str,
    parts: str,
    lost: str,
) -> None:
    loads = getattr(chip, hook)

    def forgets(device: PciDevice, *given: int) -> None:
        loads(device, *given)
        setattr(getattr(device, parts), lost, 0)

    monkeypatch.setattr(chip, hook, forgets)
    said: list[str] = []
    assert run_server(prepare("pseries", 600, 20, 8, tmp_path), said.append)[1] > 0
    assert any(f".{lost}" in line for line in said), said


def test_what_does_not_go_together_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*COMMAND, "--census"]) == 2
    assert "goes without --around and --census" in capsys.readouterr().err
    assert cli.main([*COMMAND, "--accesses", "5", "--cuts", "6"]) == 2
    assert "--accesses: expected at least as many as --cuts (6), got 5" in capsys.readouterr().err
