"""The VGA: ports, DISPI, MMIO, the legacy window, and what the screen shows."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from gossamer.base.data import replace
from gossamer.base.wire import WireReader, WireWriter
from gossamer.devices.vga.edid import SIZE, edid
from gossamer.devices.vga.render import render_array, render_packed
from gossamer.state.transfer import load, save
from tests.devices.captures import QEMU
from tests.devices.pci_rig import Access, PciRig, little, set_config
from tests.devices.qtest import Qtest

PORTS = 0xFE000000
VRAM, MMIO = 0x80000000, 0x81000000


def enable(machine: Access) -> None:
    set_config(machine, 1, 0x10, VRAM)
    set_config(machine, 1, 0x18, MMIO)
    set_config(machine, 1, 4, 3, 2)


@pytest.fixture
def rig() -> PciRig:
    rig = PciRig()
    enable(rig.map)
    return rig


def port(rig: PciRig, number: int, *values: int) -> int:
    for value in values:
        rig.map.store(PORTS + number, value, 1)
    return rig.map.load(PORTS + number, 1)


def indexed(rig: PciRig, number: int, registers: dict[int, int]) -> None:
    for index, value in registers.items():
        rig.map.store(PORTS + number, index, 1)
        rig.map.store(PORTS + number + 1, value, 1)


def dispi(rig: PciRig, index: int, value: int | None = None) -> int:
    rig.map.store(PORTS + 0x1CE, little(index, 2), 2)
    if value is not None:
        rig.map.store(PORTS + 0x1D0, little(value, 2), 2)
    return little(rig.map.load(PORTS + 0x1D0, 2), 2)


def mode(rig: PciRig, width: int, height: int, bpp: int, flags: int = 0x41) -> None:
    for index, value in ((4, 0), (1, width), (2, height), (3, bpp), (4, flags)):
        dispi(rig, index, value)
    port(rig, 0x3DA)
    port(rig, 0x3BA)
    port(rig, 0x3C0, 0x20)


def set_palette(rig: PciRig, colours: list[tuple[int, int, int]]) -> None:
    rig.map.store(PORTS + 0x3C8, 0, 1)
    for value in (v for colour in colours for v in colour):
        rig.map.store(PORTS + 0x3C9, value, 1)


def picture(rig: PciRig) -> np.ndarray:
    width, height, data = rig.vga.render()
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


# --- registers ----------------------------------------------------------------------------------


def test_ports_move_with_the_colour_bit(rig: PciRig):
    assert port(rig, 0x3D4) == 0xFF
    assert port(rig, 0x3B4, 7) == 7
    port(rig, 0x3C2, 1)
    assert port(rig, 0x3B4) == 0xFF
    assert port(rig, 0x3D4) == 7


def test_crtc_write_protection(rig: PciRig):
    port(rig, 0x3C2, 1)
    indexed(rig, 0x3D4, {0x00: 0x11, 0x11: 0x80, 0x01: 0x22, 0x07: 0xFF, 0x08: 0x33})
    assert rig.vga.vga.cr[0:2] == b"\x11\x00"
    assert rig.vga.vga.cr[7] == 0x10
    assert rig.vga.vga.cr[8] == 0x33


def test_status_follows_virtual_time(rig: PciRig):
    port(rig, 0x3C2, 1)
    seen = set()
    for at in range(0, 16_666_667, 50_000):
        rig.clock.set(at)
        seen.add((at > 15_166_667, port(rig, 0x3DA)))
    assert seen == {(False, 0), (False, 1), (True, 9)}


def test_extended_registers_set_the_byte_order(rig: PciRig):
    assert rig.map.load(MMIO + 0x600, 4) == 0x08000000
    assert rig.map.load(MMIO + 0x604, 4) == 0xBEBEBEBE
    rig.map.store(MMIO + 0x604, 0x1E1E1E1E, 4)
    assert not rig.vga.vga.big_endian_fb
    body = WireWriter()
    save(rig.vga, body, QEMU)
    assert body.data.endswith(b"\x05\x0avga.endian\0\0\0\x01\0")
    other = PciRig()
    load(other.vga, WireReader(body.data), 2, QEMU)
    assert other.map.load(MMIO + 0x604, 4) == 0x1E1E1E1E


def test_enabling_a_mode_clears_memory_unless_asked_not_to(rig: PciRig):
    rig.map.store(VRAM, 0x01020304, 4)
    mode(rig, 640, 480, 8, 0xC1)
    assert rig.map.load(VRAM, 4) == 0x01020304
    mode(rig, 640, 480, 8, 0x41)
    assert rig.map.load(VRAM, 4) == 0


def test_edid_is_valid_and_prefers_the_size_asked_for():
    block = edid(1280, 800)
    assert len(block) == SIZE
    assert block[:8] == b"\x00\xff\xff\xff\xff\xff\xff\x00"
    assert sum(block[:128]) % 256 == 0
    assert not any(block[126:127] + block[128:])
    timing = block[54:72]
    assert (timing[2] | (timing[4] & 0xF0) << 4, timing[5] | (timing[7] & 0xF0) << 4) == (1280, 800)


@pytest.mark.parametrize("seed", [1, 2])
def test_registers_answer_as_those_of_qemu(qemu: Path, rig: PciRig, seed: int):
    """Random writes to both; every DISPI, sequencer, graphics and CRT register compared."""
    rnd = random.Random(seed)
    with Qtest(qemu, "-M", "g3beige") as real:
        enable(real)

        def store(at: int, value: int, size: int) -> None:
            for machine in (real, rig.map):
                machine.store(at, value, size)

        def compare(at: int, size: int) -> None:
            assert rig.map.load(at, size) == real.load(at, size), hex(at)

        for _ in range(150):
            for _ in range(3):
                index = rnd.randrange(12)
                value = rnd.choice(
                    [rnd.getrandbits(16), rnd.randrange(2048), rnd.choice([4, 8, 15, 24, 32]), 0x81]
                )
                store(PORTS + 0x1CE, little(index, 2), 2)
                store(PORTS + 0x1D0, little(value, 2), 2)
                number = rnd.choice([0x3B4, 0x3B5, 0x3D4, 0x3D5, *range(0x3C0, 0x3D0)])
                store(PORTS + number, rnd.getrandbits(8), 1)
                compare(PORTS + rnd.randrange(0x3C0, 0x3D0), 1)
                compare(MMIO + 0x500 + 2 * rnd.randrange(11), 2)
            for index in range(11):
                store(PORTS + 0x1CE, little(index, 2), 2)
                compare(PORTS + 0x1D0, 2)
            for number, count in ((0x3C4, 8), (0x3CE, 16), (0x3D4, 0x20), (0x3B4, 0x20)):
                for index in range(count):
                    store(PORTS + number, index, 1)
                    compare(PORTS + number + 1, 1)


def test_random_accesses_never_raise_always_save_and_always_render(rig: PciRig):
    rnd = random.Random(4)
    for n in range(10_000):
        base = rnd.choice([PORTS + 0x3B0, PORTS + 0x1C8, MMIO + 0x3F8, MMIO + 0x4F8, MMIO + 0x5F8])
        at, size = base + rnd.randrange(0x38), rnd.choice([1, 2, 4])
        if rnd.random() < 0.3:
            rig.map.load(at, size)
        else:
            value = rnd.choice([rnd.getrandbits(32), 0x41, 0x4100, 0x0400, 8]) & (1 << 8 * size) - 1
            rig.map.store(at, value, size)
        if n % 250 == 0:
            save(rig.vga, WireWriter())
            if rig.vga.vga.vbe_regs[1] * rig.vga.vga.vbe_regs[2] < 1 << 21:
                width, height, data = rig.vga.render()
                assert len(data) == width * height * 3


# --- the screen ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bpp", "raw", "big"),
    [
        (32, "00 80 40 20", True), (32, "20 40 80 00", False),
        (24, "80 40 20", True), (24, "20 40 80", False),
        (16, "82 04", True), (16, "04 82", False),
        (15, "41 04", True), (15, "04 41", False),
    ],
)  # fmt: skip
def test_true_colour(rig: PciRig, bpp: int, raw: str, big: bool):
    rig.vga.vga.big_endian_fb = big
    mode(rig, 640, 480, bpp)
    size, pixel = (bpp + 7) // 8, bytes.fromhex(raw)
    rig.map.write(VRAM + (3 * 640 + 5) * size, pixel)
    shown = picture(rig)
    assert shown.shape == (480, 640, 3)
    assert list(shown[3, 5]) == (
        [0x80, 0x40, 0x20] if bpp > 16 else [132, 66 if bpp == 15 else 65, 33]
    )
    assert shown.sum() == shown[3, 5].sum()


def test_256_colours_with_six_and_eight_bits(rig: PciRig):
    mode(rig, 320, 200, 8)
    set_palette(rig, [(0, 0, 0), (0x3F, 0x20, 0x01)])
    rig.map.write(VRAM + 320 + 7, b"\x01")
    assert list(picture(rig)[1, 7]) == [255, 128, 7]
    mode(rig, 320, 200, 8, 0xE1)
    assert list(picture(rig)[1, 7]) == [0x3F, 0x20, 0x01]


def test_panning(rig: PciRig):
    mode(rig, 640, 480, 32)
    dispi(rig, 6, 1024)
    dispi(rig, 8, 16)
    dispi(rig, 9, 2)
    rig.map.write(VRAM + (2 * 1024 + 16) * 4, b"\0\x11\x22\x33")
    assert list(picture(rig)[0, 0]) == [0x11, 0x22, 0x33]


def text_mode(rig: PciRig) -> None:
    """80 x 25, 9 x 16 dots; attribute colours 0 to 15 are DAC entries 0 to 15."""
    port(rig, 0x3C2, 1)
    indexed(rig, 0x3C4, {1: 0, 2: 3, 3: 0, 4: 2})
    indexed(rig, 0x3CE, {5: 0x10, 6: 0x0E, 8: 0xFF})
    indexed(
        rig, 0x3D4, {0x11: 0, 1: 79, 7: 0x1F, 9: 0x4F, 0x0A: 0x20, 0x0B: 15, 0x12: 0x8F, 0x13: 40}
    )
    port(rig, 0x3DA)
    for index in range(16):
        port(rig, 0x3C0, index, index)
    port(rig, 0x3C0, 0x10, 0x0C)
    port(rig, 0x3C0, 0x12, 0x0F)
    port(rig, 0x3C0, 0x20)
    set_palette(rig, [(n, 2 * n, 3 * n) for n in range(16)])
    for row in range(16):
        rig.map.write(VRAM + (0xC4 * 32 + row) * 4 + 2, b"\x81")


def test_text_shows_glyphs_and_colours(rig: PciRig):
    text_mode(rig)
    rig.map.write(VRAM + (80 + 2) * 4, b"\xc4\x5a")
    shown = picture(rig)
    assert shown.shape == (400, 720, 3)
    cell = shown[16:32, 18:27]
    ink, paper = (40, 80, 120), (23, 40, 63)
    assert [tuple(map(int, dot)) for dot in cell[0]] == [ink, *[paper] * 6, ink, ink]
    assert (shown[:16] == 0).all()


def test_cursor(rig: PciRig):
    text_mode(rig)
    indexed(rig, 0x3D4, {0x0A: 14, 0x0B: 15, 0x0E: 0, 0x0F: 5})
    rig.map.write(VRAM + 5 * 4 + 1, b"\x0f")
    shown = picture(rig)
    assert shown[14:16, 45:53].all(axis=(0, 1)).all()
    assert not shown[:14].any()


def test_blank_screen(rig: PciRig):
    text_mode(rig)
    rig.map.write(VRAM + 1, b"\xff")
    assert picture(rig).any()
    port(rig, 0x3DA)
    port(rig, 0x3C0, 0)
    assert not picture(rig).any()


def test_planar_graphics(rig: PciRig):
    text_mode(rig)
    indexed(rig, 0x3CE, {5: 0, 6: 5})
    indexed(rig, 0x3D4, {7: 0x1F, 9: 0x40, 0x12: 0xDF})
    rig.map.write(VRAM, bytes(160 * 480 * 2))
    rig.map.write(VRAM + 80 * 4 + 4, bytes((0x80, 0x00, 0x80, 0x01)))
    shown = picture(rig)
    assert shown.shape == (480, 640, 3)
    assert list(shown[1, 8]) == [23, 40, 63]
    assert list(shown[1, 15]) == [32, 64, 96]
    assert np.count_nonzero(shown.any(axis=2)) == 2


def test_256_colour_graphics_doubles_dots_and_lines(rig: PciRig):
    text_mode(rig)
    indexed(rig, 0x3CE, {5: 0x40, 6: 5})
    indexed(rig, 0x3D4, {9: 0x41, 0x13: 40})
    rig.map.write(VRAM, bytes(64000))
    rig.map.write(VRAM + 320 * 3 + 4, b"\x09")
    shown = picture(rig)
    assert shown.shape == (400, 640, 3)
    assert shown[6:8, 8:10].all()
    assert np.count_nonzero(shown.any(axis=2)) == 4


def test_cga_graphics_takes_odd_lines_from_behind(rig: PciRig):
    text_mode(rig)
    indexed(rig, 0x3C4, {1: 0x09})
    indexed(rig, 0x3CE, {5: 0x20, 6: 0x0F})
    indexed(rig, 0x3D4, {1: 39, 9: 0xC1, 0x13: 20, 0x17: 0x02})
    rig.map.write(VRAM, bytes(65536))
    rig.map.write(VRAM + (0x2000 << 1), b"\xc0")
    shown = picture(rig)
    assert shown[2:4, 0:2].all()
    assert np.count_nonzero(shown.any(axis=2)) == 4


# --- the legacy window --------------------------------------------------------------------------


def window(rig: PciRig, sr: dict[int, int], gr: dict[int, int]):
    indexed(rig, 0x3C4, sr)
    indexed(rig, 0x3CE, {6: 0x04, 8: 0xFF} | gr)
    return rig.vga.window()


def test_window_write_modes(rig: PciRig):
    w = window(rig, {2: 0x0F, 4: 0x06}, {5: 0})
    w.store(3, 0xA5, 1)
    assert rig.map.read(VRAM + 12, 4) == b"\xa5" * 4
    indexed(rig, 0x3CE, {0: 0x05, 1: 0x0F, 8: 0x0F})
    assert w.load(3, 1) == 0xA5
    w.store(3, 0, 1)
    assert rig.map.read(VRAM + 12, 4) == b"\xaf\xa0\xaf\xa0"
    indexed(rig, 0x3CE, {1: 0, 5: 1})
    w.load(3, 1)
    w.store(9, 0, 1)
    assert rig.map.read(VRAM + 36, 4) == b"\xaf\xa0\xaf\xa0"
    indexed(rig, 0x3CE, {5: 2, 8: 0xFF})
    w.store(1, 0x06, 1)
    assert rig.map.read(VRAM + 4, 4) == b"\x00\xff\xff\x00"
    indexed(rig, 0x3CE, {0: 0x0F, 3: 4, 5: 3})
    w.load(9, 1)
    w.store(2, 0x3C, 1)
    assert rig.map.read(VRAM + 8, 4) == bytes((0xAF | 0xC3, 0xA0 | 0xC3) * 2)


def test_window_logic_and_colour_compare(rig: PciRig):
    w = window(rig, {2: 0x0F, 4: 0x06}, {5: 0})
    w.store(0, 0xF0, 1)
    indexed(rig, 0x3CE, {3: 0x18})
    w.load(0, 1)
    w.store(0, 0xFF, 1)
    assert rig.map.read(VRAM, 1) == b"\x0f"
    indexed(rig, 0x3CE, {5: 8, 2: 0x0F, 7: 0x0F})
    assert w.load(0, 1) == 0x0F


def test_window_chained_and_odd_even(rig: PciRig):
    w = window(rig, {2: 0x0F, 4: 0x0E}, {5: 0})
    w.store(5, 0x77, 1)
    assert rig.map.read(VRAM + 5, 1) == b"\x77"
    assert w.load(5, 1) == 0x77
    w = window(rig, {2: 0x03, 4: 0x02}, {5: 0x10, 6: 0x0E})
    w.store(0x18002, 0x41, 1)
    w.store(0x18003, 0x1F, 1)
    assert rig.map.read(VRAM + 4, 2) == b"\x41\x1f"
    assert w.load(0, 1) == 0xFF, "only the text window is open"


@pytest.mark.parametrize("bpp", [4, 8, 15, 16, 24, 32])
@pytest.mark.parametrize("big", [False, True])
def test_words_of_pixels_are_those_of_the_picture(rig: PciRig, bpp: int, big: bool) -> None:
    random_ = random.Random(bpp)
    for index, value in ((1, 64), (2, 20), (3, bpp), (4, 0x01)):
        rig.vga.vga.write_vbe(index, value)
    rig.vga.vga.ar_index = 0x20
    rig.vga.vga.palette[:] = random_.randbytes(768)
    shown = replace(rig.vga.shown(), big_endian_fb=big)
    memory = np.frombuffer(random_.randbytes(1 << 16), np.uint8)
    rgb = render_array(shown, memory).astype(np.uint32)
    words = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    packed = render_packed(shown, memory)
    assert packed.dtype == np.uint32
    assert (packed == words).all()
