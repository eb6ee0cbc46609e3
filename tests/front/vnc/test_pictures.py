"""What viewers see is what the screen shows: every mode, depth and encoding; only what changes."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

from gossamer.control.screen import Screen
from gossamer.control.vm import Vm
from gossamer.devices.vga.card import Vga
from gossamer.front.vnc.picture import BAND, Picture, cells, rectangles
from gossamer.machines.options import parse
from tests.front.vnc.rfb import HEXTILE, RAW, TIGHT, ZLIB, ZRLE, Shown

Make = Callable[..., Shown]
RESIZE, EXTENDED_SIZE = -223, -308


def test_every_depth_and_encoding_equals_the_screen(shown: Make) -> None:
    host = shown()
    viewers = [host.rfb(kind, RESIZE) for kind in (RAW, HEXTILE, ZLIB, TIGHT, ZRLE)]
    for bpp in (4, 8, 15, 16, 24, 32):
        host.mode(200 + 8 * bpp, 150, bpp)
        expected = host.screen()
        assert expected.shape == (150, 200 + 8 * bpp)
        for viewer in viewers:
            viewer.full()
            assert viewer.picture.shape == expected.shape
            assert (viewer.picture == expected).all(), bpp


def test_text_mode_and_a_blank_screen(shown: Make) -> None:
    host = shown()
    viewer = host.rfb(ZRLE, EXTENDED_SIZE)

    def text() -> None:
        vga = host.vga.vga
        vga.ar_index, vga.cr[1], vga.cr[9], vga.cr[0x12], vga.cr[0x13] = 0x20, 79, 15, 0x8F, 40
        vga.cr[7], vga.ar[0:2], vga.palette[3:6] = 0x02, b"\0\1", b"\x3f\x20\x10"
        host.write(0, bytes(range(256)) * 512)

    host.do(text)
    assert (viewer.full() == host.screen()).all()
    assert viewer.picture.shape == (400, 720)
    assert viewer.picture.any()
    host.do(lambda: setattr(host.vga.vga, "ar_index", 0))
    assert not viewer.full().any()


def test_only_what_changes_is_sent(shown: Make) -> None:
    host = shown()
    host.mode(640, 480, 32)
    viewer = host.rfb(RAW)
    viewer.full()
    viewer.seen.clear()
    viewer.ask(incremental=True)
    # One pixel: line 100, column 300.
    host.do(lambda: host.write(4 * (640 * 100 + 300), b"\0\x12\x34\x56"))
    assert viewer.message() == 0
    assert viewer.seen == [(256, 96, 64, 16, RAW)]
    assert viewer.picture[100, 300] == 0x123456
    assert (viewer.picture == host.screen()).all()


def test_other_forms_of_pixels(shown: Make) -> None:
    host = shown()
    host.mode(64, 16, 32)
    host.do(lambda: host.write(0, bytes.fromhex("00ff8040") * 64 * 16))
    forms = {
        (16, 16, 1, 31, 63, 31, 11, 5, 0): "fc08",
        (16, 15, 0, 31, 31, 31, 10, 5, 0): "087e",
        (8, 8, 0, 7, 7, 3, 0, 3, 6): "67",
        (32, 24, 0, 255, 255, 255, 0, 8, 16): "ff804000",
        (32, 24, 1, 255, 255, 255, 24, 16, 8): "ff804000",
    }
    for (bits, depth, big, *rest), pixel in forms.items():
        viewer = host.rfb(RAW)
        viewer.peer.sendall(struct.pack(">BxxxBBBBHHHBBBxxx", 0, bits, depth, big, 1, *rest))
        viewer.ask()
        assert viewer.take(16) == struct.pack(">BxHHHHHi", 0, 1, 0, 0, 64, 16, RAW)
        assert viewer.take(bits // 8 * 64 * 16) == bytes.fromhex(pixel) * 64 * 16


def test_viewer_that_knows_no_other_size_sees_what_fits(shown: Make) -> None:
    host = shown()
    host.mode(320, 200, 32)
    viewer = host.rfb(RAW)
    viewer.full()
    host.mode(160, 300, 32)
    viewer.full()
    expected = np.zeros((200, 320), np.uint32)
    expected[:, :160] = host.screen()[:200]
    assert (viewer.picture == expected).all()


@pytest.mark.parametrize("icount", [False, True])
def test_looks_are_whole_or_lines_and_leave_no_mark_on_the_machine(icount: bool) -> None:
    timed = ["-icount", "5,sleep=off"] if icount else []
    vm = Vm(parse(["-M", "g3beige", "-bios", "builtin", "-m", "8", "-serial", "null", *timed]))
    screen, picture = Screen(vm), Picture()
    vga = vm.machine.display
    assert isinstance(vga, Vga)
    vga.vga.ar_index = 0x20
    for index, value in ((1, 800), (2, 600), (3, 8), (4, 1), (6, 1024), (9, 5)):
        vga.vga.write_vbe(index, value)
    before = vm.state_hash()
    look = screen.look()
    assert look is not None
    assert look.whole
    picture.apply(look)
    assert screen.look() is None
    vga.vga.palette[30:33] = b"\x3f\x3f\x3f"
    look = screen.look()
    assert look is not None
    assert look.whole
    picture.apply(look)
    start = vga.vga.vbe_start_addr * 4
    vm.machine.memory.write_arena(vga.vram.offset + start + 1024 * 77 + 3, b"\x0a")
    look = screen.look()
    assert look is not None
    assert not look.whole
    assert look.first in range(73, 78)
    marks = picture.apply(look)
    assert marks is not None
    assert np.argwhere(marks).tolist() == [[77 // 16, 0]]
    assert picture.pixels[77, 3] == 0xFFFFFF
    # Below the picture nothing is seen.
    vm.machine.memory.write_arena(vga.vram.offset + (1 << 20), b"\x0a")
    assert screen.look() is None
    vga.vga.palette[30:33] = bytes(3)
    for at in (start + 1024 * 77 + 3, 1 << 20):
        vm.machine.memory.write_arena(vga.vram.offset + at, b"\0")
    assert vm.state_hash() == before
    vm.close()


def test_rectangles_cover_what_is_marked_once_and_stay_small() -> None:
    marks = cells(1000, 300)
    rng = np.random.default_rng(1)
    for share in (0.0, 0.1, 0.5, 1.0):
        marks[:] = rng.random(marks.shape) < share
        covered = np.zeros((300, 1000), np.int64)
        for x, y, width, height in rectangles(marks, (1000, 300), 512):
            assert width <= 512
            assert width * height <= BAND
            covered[y : y + height, x : x + width] += 1
        wide = np.repeat(np.repeat(marks, 16, axis=0), 64, axis=1)[:300, :1000]
        assert (covered == wide).all()
    tall = rectangles(cells(16, 60000, True), (16, 60000), 512)
    assert sum(r[3] for r in tall) == 60000
