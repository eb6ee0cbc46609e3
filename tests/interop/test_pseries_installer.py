"""Debian's installer on a POWER8: from its kernel's first instruction to its first question."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.machines.options import parse

FOLDER = Path("/usr/lib/debian-installer/images/12/ppc64el/text/debian-installer/ppc64el")
PACKAGE = "debian-installer-12-netboot-ppc64el"
MOST = 12_000_000_000


@pytest.mark.once
@pytest.mark.interop
@pytest.mark.timeout(3600)
def test_debians_installer_asks_for_a_language() -> None:
    kernel, initrd = FOLDER / "vmlinux", FOLDER / "initrd.gz"
    if not kernel.is_file():
        pytest.skip(f"package {PACKAGE} is not installed")
    line = ("-M", "pseries", "-cpu", "power8", "-m", "1024", "-nodefaults", "-nographic")
    files = ("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=hvc0")
    vm = Vm(parse([*line, "-serial", "null", "-icount", "1,sleep=off", *files]))
    said = bytearray()
    vm.machine.serials[0].transmit = said.extend
    while b"Select a language" not in said and vm.instructions < MOST:
        vm.run(instructions=50_000_000)
    text = said.decode("utf-8", "replace")
    assert "POWER8 (architected)" in text
    assert "Select a language" in text
