"""An xHCI here and in QEMU 7.2: one driver on both, and one that moves in the middle."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.devices.spapr.fdt import unflatten
from gossamer.machines.build import build
from gossamer.machines.options import parse
from tests.devices.pci_rig import get_config, set_config
from tests.devices.qtest import Qtest
from tests.devices.usb.test_xhci import RECORDED
from tests.devices.usb.xhci_scenarios import SCENARIOS
from tests.interop.test_pseries import CALLER, OURS, QEMU, kernel, qemu64

__all__ = ["qemu64"]

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
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    theirs, _ = unflatten(blob.read_bytes())
    m = build(parse([*OURS, *devices, "-kernel", str(path)]))
    bridge = "/pci@800000020000000"
    want = theirs.find(bridge)
    got = m.part("spapr").firmware.root.find(bridge)  # type: ignore[attr-defined]
    assert want is not None
    assert [one.name for one in want.children] == [one.name for one in got.children]
    for a, b in zip(want.children, got.children, strict=True):
        assert list(a.properties.items()) == list(b.properties.items()), a.name
