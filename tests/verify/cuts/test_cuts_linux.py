"""`gossamer verify cuts` on Linux: its cuts, its census, on both Macs and every PMU."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from gossamer import cli

# The scenario boots, works on a disk and a CD, and takes too long for a suite of 45 minutes.
pytestmark = [pytest.mark.once, pytest.mark.interop, pytest.mark.timeout(7200)]
MACHINES = ["g3beige", "mac99", "mac99,via=pmu", "mac99,via=pmu-adb"]


@pytest.fixture(scope="module")
def linux(shared: Path, openbios: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that choose the guest."""
    kernel = tmp_path_factory.mktemp("linux") / "vmlinux"
    guests = shared / "guests"
    with gzip.open(guests / "vmlinux.gz") as packed, kernel.open("wb") as out:
        shutil.copyfileobj(packed, out)
    initrd = guests / "initramfs.cpio.gz"
    return ["--guest", "linux", "--kernel", str(kernel), "--initrd", str(initrd)]


@pytest.mark.parametrize("machine", MACHINES)
def test_cut_run_of_linux_is_the_uncut_run(
    machine: str, linux: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "cuts", "-M", machine, *linux, "--cuts", "60"]) == 0
    assert capsys.readouterr().out == "cuts=60 divergent=0\n"


@pytest.mark.parametrize("machine", MACHINES)
def test_linux_changes_nothing_that_is_not_declared(
    machine: str, linux: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "cuts", "-M", machine, *linux, "--census"]) == 0
    assert capsys.readouterr().out.endswith(" undeclared=0\n")
