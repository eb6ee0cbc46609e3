"""Case 6: snapshots without a disk belong to their machine; the form of savevm can be chosen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.streams.open import open_input

LINE = ["-nographic", "-serial", "null", "-bios", "builtin", "-icount", "5,sleep=off"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "gossamer"


def machine(*words: str) -> Vm:
    return Vm(parse([*words, *LINE]))


def tags(vm: Vm) -> list[str]:
    return [s.tag for s in vm.snapshots()]


def test_case_6_a_machine_sees_its_own_and_no_other() -> None:
    mine = ["-M", "g3beige", "-m", "8"]
    vm = machine(*mine)
    vm.savevm("one")
    before = vm.state_hash()
    others = [
        ["-M", "g3beige", "-m", "16"], ["-M", "g3beige-1.0", "-m", "8"],
        ["-M", "g3beige", "-m", "8", "-nic", "none"], ["-M", "g3beige", "-m", "8", "-name", "x"],
        ["-M", "mac99", "-m", "8"], ["-M", "g3beige", "-m", "8", "-cpu", "603e"],
    ]  # fmt: skip
    for words in others:
        other = machine(*words)
        assert tags(other) == []
        with pytest.raises(ConfigError, match="no snapshot 'one'"):
            other.loadvm("one")
        other.savevm("one")  # and does not write over it
    again = machine(*mine)
    assert tags(again) == ["one"]
    again.loadvm("one")
    assert again.state_hash() == before


def test_case_6_a_machine_finds_what_was_kept_for_its_kind(home: Path) -> None:
    vm = machine("-M", "g3beige", "-m", "8")
    vm.savevm("old")
    (kept,) = home.glob("*/old.gossamer")
    (home / "g3beige").mkdir()
    kept.rename(home / "g3beige" / "old.gossamer")
    assert tags(machine("-M", "g3beige", "-m", "8")) == ["old"]
    assert tags(machine("-M", "g3beige", "-m", "16")) == []
    again = machine("-M", "g3beige", "-m", "8")
    again.loadvm("old")
    again.savevm("old")
    assert len(list(home.glob("*/old.gossamer"))) == 2
    assert tags(again) == ["old"]


def test_case_6_savevm_in_the_form_of_a_release(qemu_img: str, tmp_path: Path) -> None:
    image = tmp_path / "d.qcow2"
    subprocess.run([qemu_img, "create", "-q", "-f", "qcow2", str(image), "4M"], check=True)
    vm = machine("-M", "g3beige", "-m", "8", "-nic", "none", "-hda", str(image))
    vm.savevm("theirs", "qemu-7.2")
    vm.savevm("ours")
    assert vm.wire_profile == "gossamer-1"
    vm.loadvm("theirs")
    vm.loadvm("ours")
    with pytest.raises(ConfigError, match="unknown profile 'qemu-6'"):
        vm.savevm("x", "qemu-6")
    vm.close()
    with open_input(f"{image}@theirs") as given:
        assert given.file.read(4) == b"QEVM"


def test_case_6_without_an_image_there_is_no_other_form() -> None:
    with pytest.raises(ConfigError, match=r"QEMU 7\.2 reads snapshots out of a qcow2 image"):
        machine("-M", "g3beige", "-m", "8").savevm("x", "qemu-7.2")
