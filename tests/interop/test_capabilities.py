"""Case 25 with a real QEMU: streams in a file with each capability of the sender switched on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from gossamer.base.errors import GossamerError, HostError
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate import releases
from gossamer.migrate.inspect import open_stream
from gossamer.streams import command as tool
from gossamer.streams.refusals import refusals
from gossamer.streams.show import RamSum
from gossamer.verify.hops.qemu import QemuStation
from tests.waiting import until

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CAPABILITIES = (
    "none", "xbzrle", "rdma-pin-all", "auto-converge", "zero-blocks", "compress", "events",
    "postcopy-ram", "x-colo", "release-ram", "return-path", "pause-before-switchover",
    "dirty-bitmaps", "postcopy-blocktime", "late-block-activate", "x-ignore-shared",
    "validate-uuid", "background-snapshot",
)  # fmt: skip
MACHINE = ("-M", "g3beige", "-m", "16", "-nic", "none", "-vga", "none", "-nographic")
#: What neither side takes on by itself.
REFUSED = {"x-colo": "capability x-colo"}


def saved(folder: Path, capability: str) -> Path:
    """A file that QEMU wrote at the prompt of its firmware."""
    path = folder / "m"
    uuid = ("-uuid", "00112233-4455-6677-8899-aabbccddeeff")
    with QemuStation(folder, *MACHINE, "-prom-env", "auto-boot?=false", *uuid) as qemu:
        qemu.expect(b"0 > ", 60)
        if capability != "none":
            on = [{"capability": capability, "state": True}]
            qemu.command("migrate-set-capabilities", capabilities=on)
        qemu.command("migrate", uri=f"exec:cat > {path}")

        def sent() -> bool:
            status = qemu.command("query-migrate").get("status")
            if status == "pre-switchover":
                qemu.command("migrate-continue", state="pre-switchover")
            # With a return path in a file it waits for ever.
            return status in ("completed", "colo") or whole(path)

        until(sent, saw=lambda: qemu.command("query-migrate"), pause=0.2)
    return path


def whole(path: Path) -> bool:
    """Whether the description, which is the last of a stream, is in the file."""
    data = path.read_bytes() if path.exists() else b""
    at = data.rfind(b'{"page_size"')
    return at > 0 and len(data) >= at + int.from_bytes(data[at - 4 : at], "big")


def loads_in_qemu(folder: Path, path: Path) -> bool:
    folder.mkdir()
    try:
        with QemuStation(folder, *MACHINE, "-S", "-incoming", f"exec:cat {path}") as qemu:
            return qemu.wait_loaded() in ("paused", "colo", "prelaunch")
    except HostError:
        return False


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_case_25_every_capability_of_qemu_7_2(
    capability: str, tmp_path: Path, qemu: Path, openbios: Path
) -> None:
    path = saved(tmp_path, capability)
    vm = Vm(parse([*MACHINE, "-serial", "null", "-icount", "5,sleep=off"]))
    if capability in REFUSED:
        with pytest.raises(GossamerError, match=REFUSED[capability]):
            vm.incoming(f"file:{path}")
    else:
        vm.incoming(f"file:{path}")
        vm.run(instructions=1_000_000)
    counted = RamSum()
    stream = open_stream(io.BytesIO(path.read_bytes()), on_ram=counted)
    against = refusals(stream, counted, releases.release("qemu-7.2"))
    assert loads_in_qemu(tmp_path / "1", path) == (not against), against
    out = tmp_path / "out"
    assert tool.main(["convert", "--to", "qemu-7.2", str(path), str(out)]) == 0
    assert loads_in_qemu(tmp_path / "2", out)
