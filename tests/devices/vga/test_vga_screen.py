"""Whole pictures against the screendump of a live QEMU, of noise in video memory."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.devices.pci_rig import PciRig
from tests.devices.qtest import Qtest
from tests.devices.vga.test_vga import (
    MMIO,
    VRAM,
    dispi,
    enable,
    indexed,
    mode,
    picture,
    port,
    set_palette,
    text_mode,
)


class Both:
    """Writes to QEMU and to ours alike; what `test_vga`'s functions take for a rig."""

    def __init__(self, real: Qtest, monitor: socket.socket, folder: Path) -> None:
        self.real, self.rig, self.map = real, PciRig(), self
        self.vga = self.rig.vga
        self.monitor, self.dump = monitor.makefile("rw"), folder / "screen.ppm"
        self.monitor.readline()
        self.ask("qmp_capabilities")
        enable(self)

    def ask(self, command: str, **arguments: str) -> None:
        self.monitor.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.monitor.flush()
        while "return" not in (reply := json.loads(self.monitor.readline())):
            assert "error" not in reply, reply

    def store(self, ra: int, value: int, size: int) -> None:
        self.real.store(ra, value, size)
        self.rig.map.store(ra, value, size)

    def load(self, ra: int, size: int) -> int:
        self.real.load(ra, size)
        return self.rig.map.load(ra, size)

    def write(self, ra: int, data: bytes) -> None:
        self.rig.map.write(ra, data)
        for at in range(0, len(data), 4096):
            part = data[at : at + 4096]
            self.real.ask(f"write {ra + at:#x} {len(part):#x} 0x{part.hex()}")

    def differ(self) -> int:
        """By how much any component of any dot differs."""
        self.ask("screendump", filename=str(self.dump))
        _, size, _, dots = self.dump.read_bytes().split(b"\n", 3)
        width, height = map(int, size.split())
        theirs = np.frombuffer(dots, np.uint8).reshape(height, width, 3)
        ours = picture(self)
        assert ours.shape == theirs.shape
        return int(np.abs(ours.astype(int) - theirs).max())


@pytest.fixture
def both(qemu: Path, tmp_path: Path) -> Iterator[Both]:
    path = tmp_path / "qmp"
    with Qtest(qemu, "-M", "g3beige", "-qmp", f"unix:{path},server=on,wait=off") as real:
        real.load(0, 4)
        with socket.socket(socket.AF_UNIX) as monitor:
            for _ in range(1200):
                if path.exists():
                    break
                time.sleep(0.05)
            monitor.connect(str(path))
            yield Both(real, monitor, tmp_path)


def test_dispi_modes(both: Both):
    rnd = random.Random(1)
    noise = rnd.randbytes(320 * 200 * 4)
    for big in (0xBEBEBEBE, 0x1E1E1E1E):
        both.store(MMIO + 0x604, big, 4)
        for bpp, tolerance in ((4, 0), (8, 0), (15, 7), (16, 7), (24, 0), (32, 0)):
            mode(both, 320, 200, bpp)
            set_palette(both, [tuple(rnd.randbytes(3)) for _ in range(256)])
            both.write(VRAM, noise)
            assert both.differ() <= tolerance, (bpp, hex(big))
    mode(both, 320, 200, 8, 0xE1)
    assert both.differ() == 0, "8-bit DAC"
    mode(both, 320, 200, 32, 0xC1)
    for register, value in ((6, 512), (8, 16), (9, 2)):
        dispi(both, register, value)
    assert both.differ() == 0, "panned"


def test_legacy_modes(both: Both):
    rnd = random.Random(2)
    mode(both, 320, 200, 8)
    both.write(VRAM, rnd.randbytes(1 << 18))
    dispi(both, 4, 0)
    text_mode(both)
    set_palette(both, [tuple(n & 0x3F for n in rnd.randbytes(3)) for _ in range(256)])
    indexed(both, 0x3C4, {1: 1})
    port(both, 0x3DA)
    port(both, 0x3C0, 0x30, 0x04)
    assert both.differ() == 0, "text, 8 dots"
    indexed(both, 0x3C4, {1: 9, 3: 0x26})
    indexed(both, 0x3D4, {0x01: 39, 0x13: 20})
    assert both.differ() == 0, "text, 40 columns, two character maps"
    indexed(both, 0x3D4, {9: 0xC1, 0x13: 20, 0x17: 0x02})
    indexed(both, 0x3CE, {5: 0x20, 6: 0x0F})
    assert both.differ() == 0, "four colours"
    indexed(both, 0x3CE, {5: 0x00, 6: 0x05})
    indexed(both, 0x3D4, {0x17: 0xE3})
    assert both.differ() == 0, "320 x 200, 16 colours"
    indexed(both, 0x3C4, {1: 1})
    indexed(both, 0x3D4, {1: 79, 7: 0x1F, 9: 0x40, 0x12: 0xDF, 0x13: 40})
    assert both.differ() == 0, "640 x 480, 16 colours"
    indexed(both, 0x3CE, {5: 0x40})
    indexed(both, 0x3D4, {9: 0x41, 0x12: 0x8F})
    assert both.differ() == 0, "320 x 200, 256 colours"
