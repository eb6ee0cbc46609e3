"""A real Linux on its way between QEMU 7.2 and gossamer."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.cli import main
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate.channels import Limits, Listener
from gossamer.verify.hops.command import COMMON, GossamerStation
from gossamer.verify.hops.qemu import QemuStation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MACHINE = ("-M", "g3beige", "-m", "256")
LIMITS = Limits(meet=600.0, stall=600.0, total=600.0)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "qemu.md"


@pytest.fixture(scope="module")
def boot(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    kernel = tmp_path_factory.mktemp("guest") / "vmlinux"
    kernel.write_bytes(gzip.decompress((shared / "guests" / "vmlinux.gz").read_bytes()))
    initrd = shared / "guests" / "initramfs.cpio.gz"
    return ("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyPZ0")


def station(boot: tuple[str, ...]) -> GossamerStation:
    return GossamerStation(parse([*MACHINE, *COMMON, "-icount", "shift=5,sleep=off", *boot]))


def test_a_quiet_young_linux_of_qemu_goes_on_here(
    boot: tuple[str, ...], start_qemu: Callable[..., QemuStation], folder: Path
) -> None:
    """QEMU 7.2 hangs with nearly every such stream (its decrementer is lost); here it ticks on.

    The documented look inside is tried on the same guest.
    """
    qemu = start_qemu(*boot, machine=MACHINE)
    qemu.expect(b"guest# ", 60.0)
    seen = len(qemu.output)
    qemu.type(b"ticks > /tmp/t & selfcheck -m 1 > /tmp/s &\r")
    qemu.expect(b"guest# ", 10.0, seen + 30)
    seen = len(qemu.output)
    qemu.type(b"sleep 3; grep -c t= /tmp/t; echo E''0\r")
    qemu.expect(b"E0\r\nguest# ", 10.0, seen)
    (counted,) = re.findall(rb"^(\d+)\r$", bytes(qemu.output[seen:]), re.MULTILINE)
    ours = station(boot)
    listener = Listener(f"unix:{folder}/m", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    ours.vm.incoming(listener)
    qemu.wait_sent()
    ours.run(5 * 31_250_000)
    ours.type(b"cat /tmp/t; grep BAD /tmp/s; echo E''1\r")
    ours.expect(b"E1\r\n", 20.0)
    text = bytes(ours.output).decode("latin-1")
    lines = list(re.finditer(r"^ticks t=\d+ mono=([\d.]+)", text, re.MULTILINE))
    # QEMU's guest goes with the host, which may stand still: from the second line here on.
    mine = lines[int(counted) + 1 :]
    assert len(mine) >= 3, text
    times = [float(line[1]) for line in mine]
    assert all(0.9 < b - a < 1.2 for a, b in itertools.pairwise(times)), times
    gaps = re.findall(r"ticks GAP \w+ ([\d.]+)", text[mine[0].start() :])
    assert all(float(gap) < 300 for gap in gaps), gaps
    assert "ticks BACK" not in text
    assert "selfcheck BAD" not in text
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    found: dict[str, Callable[[Vm], list[str]]] = {}
    exec(code, found)
    names = found["task_names"](ours.vm)
    assert names[:3] == ["swapper", "init", "kthreadd"]
    assert "selfcheck" in names
    assert "ticks" in names


def test_hops(boot: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    guest = ["--guest", "linux", "--kernel", boot[1], "--initrd", boot[3]]
    assert main(["verify", "hops", *guest, "--hops", "6"]) == 0
    printed = capsys.readouterr().out
    assert "6 of 6 hops" in printed
    assert "selfcheck right in all" in printed
