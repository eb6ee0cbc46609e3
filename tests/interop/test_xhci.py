"""An xHCI here and in QEMU 7.2: one driver on both, and one that moves in the middle."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from gossamer.base.errors import HostError
from gossamer.control.losses import losses
from gossamer.control.vm import Vm
from gossamer.devices.spapr.fdt import unflatten
from gossamer.devices.usb.xhci import Xhci
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.migrate.releases import release
from gossamer.verify.hops.command import COMMON
from gossamer.verify.hops.qemu import QemuStation
from tests.devices.pci_rig import get_config, set_config
from tests.devices.qtest import Qtest
from tests.devices.usb.test_xhci import RECORDED
from tests.devices.usb.xhci_rig import EVENTS, words
from tests.devices.usb.xhci_scenarios import MS, SCENARIOS, configured
from tests.interop.pseries import CAPS
from tests.interop.test_pseries import CALLER, OURS, QEMU, kernel, qemu64, start

__all__ = ["qemu64", "start"]

pytestmark = pytest.mark.interop
SLOT, AT = 5, 0x8010_0000


class Real:
    """The controller of a QEMU whose CPU turns in a circle, so that time passes."""

    def __init__(self, qemu: Path, loop: Path, *more: str) -> None:
        options = ("-M", "g3beige", "-nodefaults", "-bios", str(loop))
        card = ("-device", f"nec-usb-xhci,id=xhci,addr=0{SLOT}.0")
        devices = ("-device", "usb-kbd", "-device", "usb-mouse", "-device", "usb-hub,port=4")
        self.q = Qtest(qemu, *options, *card, *devices, *more, runs=True)
        set_config(self.q, SLOT, 0x10, AT)
        set_config(self.q, SLOT, 4, 6, 2)
        assert get_config(self.q, SLOT, 0) == 0x0194_1033

    def reg(self, offset: int) -> int:
        return int.from_bytes(self.q.load(AT + offset, 4).to_bytes(4, "big"), "little")

    def set_reg(self, offset: int, value: int) -> None:
        self.q.store(AT + offset, int.from_bytes(value.to_bytes(4, "little"), "big"), 4)

    def bytes(self, at: int, size: int) -> bytes:
        return bytes.fromhex(self.q.ask(f"read {at:#x} {size:#x}")[0][2:]) if size else b""

    def set_bytes(self, at: int, data: bytes) -> None:
        if data:
            self.q.ask(f"write {at:#x} {len(data):#x} 0x{data.hex()}")

    def step(self, ns: int) -> None:
        time.sleep(2 * ns / 1e9)
        for _ in range(3):  # each lets QEMU's loop turn once: timers that are due come in it
            self.reg(0)


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    path = tmp_path / "loop"
    path.write_bytes(bytes.fromhex("48000000") * (1 << 18))
    return path


@pytest.fixture
def real(qemu: Path, loop: Path) -> Iterator[Real]:
    made = Real(qemu, loop)
    with made.q:
        yield made


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_was_recorded_is_what_qemu_answers(real: Real, name: str) -> None:
    assert json.loads(json.dumps(SCENARIOS[name](real))) == RECORDED[name]


def test_the_nodes_of_controllers_are_qemus(tmp_path: Path, qemu64: Path) -> None:
    path, blob = kernel(tmp_path, CALLER), tmp_path / "blob"
    devices = ["-device", "nec-usb-xhci,id=a", "-device", "usb-kbd", "-device", "qemu-xhci,id=b"]
    devices += ["-device", "nec-usb-xhci,msi=off", "-device", "nec-usb-xhci,msix=off,p2=2,p3=1"]
    options = (*QEMU, "-nodefaults", "-nographic", "-serial", "null", "-monitor", "none")
    command = [str(qemu64), *options, *devices, "-kernel", str(path)]
    command += ["-machine", f"dumpdtb={blob}"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    theirs, _ = unflatten(blob.read_bytes())
    m = build(parse([*OURS, *devices, "-kernel", str(path)]))
    bridge = "/pci@800000020000000"
    want = theirs.find(bridge)
    got = m.part("spapr").firmware.root.find(bridge)  # type: ignore[attr-defined]
    assert want is not None
    assert [one.name for one in want.children] == [one.name for one in got.children]
    for a, b in zip(want.children, got.children, strict=True):
        assert list(a.properties.items()) == list(b.properties.items()), a.name


# --- in the middle of it --------------------------------------------------------------------------

SHIFTED: Final = 0x800_0000
"""Where the bus's first two megabytes are in memory."""
PSERIES = ("-device", "nec-usb-xhci,id=xhci", "-device", "usb-kbd,bus=xhci.0")


class Ours:
    """The same controller here, behind the bridge's translation."""

    def __init__(self, vm: Vm) -> None:
        self.vm, self.memory = vm, vm.machine.memory
        found = vm.machine.part("pci/xhci")
        assert isinstance(found, Xhci)
        self.xhci = found

    def reg(self, offset: int) -> int:
        return self.xhci.read(offset, 4)

    def set_reg(self, offset: int, value: int) -> None:
        self.xhci.write(offset, 4, value)

    def bytes(self, at: int, size: int) -> bytes:
        return self.memory.read(SHIFTED + at, size)

    def set_bytes(self, at: int, data: bytes) -> None:
        self.memory.write(SHIFTED + at, data)

    def step(self, ns: int) -> None:
        self.vm.machine.clock.advance(self.vm.machine.clock.now + ns)


def test_a_keyboard_that_is_asked_goes_to_qemu_and_comes_back(
    tmp_path: Path, start: Callable[..., QemuStation]
) -> None:
    path = kernel(tmp_path, bytes.fromhex("48000000"))
    ours = [*OURS, "-icount", "3,sleep=off", *PSERIES]
    vm = Vm(parse([*ours, "-kernel", str(path)]))
    window = vm.machine.part("phb/dma0")
    for n in range(0x200):
        window.entries[n] = SHIFTED + 0x1000 * n | 3  # type: ignore[attr-defined]
    here = Ours(vm)
    here.xhci.write_config(4, 2, 6)
    d, slot = configured(here)
    for _ in range(8):
        d.queue_in(slot, 3, 8)
    d.kick(slot, 3)
    vm.machine.keyboard.key(0x00, True)  # type: ignore[union-attr]
    here.step(8 * MS)
    assert len(d.events()) == 1
    vm.migrate(f"file:{tmp_path}/there", profile="qemu-7.2")
    machine = f"pseries-7.2,x-vof=on,{CAPS['970mp_v1.1']}"
    station = start("-M", machine, "-incoming", f"exec:cat {tmp_path}/there", *PSERIES)
    station.wait_loaded()
    if station.status != "running":
        station.command("cont")
    station.monitor("sendkey b")
    end = time.monotonic() + 600
    seen: list[int] = []
    while len(seen) < 2 and time.monotonic() < end:
        time.sleep(0.05)
        events = tmp_path / "events"
        station.command("pmemsave", val=SHIFTED + EVENTS, size=0x400, filename=str(events))
        seen = [w for w in words(events.read_bytes())[3::4] if w == 0x0103_8001][1:]
    assert len(seen) == 2  # down and up
    station.command("stop")
    station.migrate(f"exec:cat > {tmp_path}/back")
    station.close()
    back = Vm(parse(ours))
    back.incoming(f"file:{tmp_path}/back")
    back.cont()
    d.a = there = Ours(back)
    assert len(d.events()) == 2
    back.machine.keyboard.key(0x00, False)  # type: ignore[union-attr]
    there.step(8 * MS)
    assert len(d.events()) == 1
    back.close()


def test_qemu_ends_at_a_controller_without_msix_and_a_move_says_so(
    loop: Path, start_qemu: Callable[..., QemuStation], folder: Path
) -> None:
    options = ("-M", "g3beige", "-m", "64", "-nodefaults", "-bios", str(loop))
    card = ("-device", "nec-usb-xhci,addr=5")
    qemu = start_qemu("-S", machine=(*options, *card))
    qemu.migrate(f"exec:cat > {folder}/m")
    with pytest.raises(HostError):  # it may be gone before it answers at all
        start_qemu("-incoming", f"exec:cat {folder}/m", machine=(*options, *card)).wait_loaded()
    vm = Vm(parse([*options, *card, *COMMON]))
    said = [loss.text for loss in losses(vm.machine, release("qemu-7.2"))]
    assert "pci/xhci: QEMU 7.2 ends when it loads an xHCI without MSI-X" in said
    vm.close()
