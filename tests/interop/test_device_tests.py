"""The two device tests of QEMU's that boot a firmware, in one boot for each machine.

The firmware names the CPU on the serial port (boot-serial-test), and a script in its NVRAM writes a
word that the test reads by qtest while the guest runs (prom-env-test).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.front.test_device_tests import Started
from tests.waiting import until

pytestmark = [pytest.mark.interop, pytest.mark.slow]


@pytest.mark.parametrize(("machine", "text"), [("g3beige", "PowerPC,750"), ("mac99", "PowerPC,G4")])
def test_firmware_names_the_cpu_and_runs_nvramrc(
    openbios: Path, tmp_path: Path, machine: str, text: str
) -> None:
    log = tmp_path / "serial"
    one = Started(
        tmp_path, "-M", machine, "-no-shutdown", "-bios", str(openbios), "-nodefaults",
        "-chardev", f"file,id=serial0,path={log}", "-serial", "chardev:serial0",
        "-prom-env", "use-nvramrc?=true", "-prom-env", "nvramrc=cafec0de 4000 l!", "-m", "32",
        accel="tcg",
    )  # fmt: skip
    try:
        until(lambda: int(one.ask("readl 0x4000"), 16) == 0xCAFEC0DE)
        until(lambda: text in log.read_text(errors="replace"))
    finally:
        one.end()
