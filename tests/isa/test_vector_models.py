"""The table of CPU models: PVRs as QEMU 7.2 lists them; what is not here is refused by name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.cpu.model import MODELS, find


@pytest.mark.interop
def test_pvrs_are_qemus(qemu: str) -> None:
    every = Path(qemu).with_name("qemu-system-ppc64")  # lists the 32-bit parts, too
    if not every.exists():
        pytest.skip("qemu-system-ppc64 is not installed")
    command = [str(every), "-cpu", "help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout
    pvr, alias = {}, {}
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["PowerPC"] and "PVR" in words:
            pvr[words[1]] = int(words[-1], 16)
        elif words[:1] == ["PowerPC"] and "alias" in line:
            alias[words[1]] = words[-1].rstrip(")")
    for name, model in MODELS.items():
        full = alias.get(name, name)
        assert pvr[full] == model.pvr, name
        assert full.partition("_")[2] in model.title, name


def test_what_runs_is_listed() -> None:
    with pytest.raises(
        ConfigError,
        match=r"unknown CPU '601' \(there is: 405cra, .*, 603e, .*, 970mp_v1.1, power8_v2.0\)",
    ):
        find("601")
    assert find("7400").features == {"7400"}
