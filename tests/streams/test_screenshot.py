"""The picture of a saved machine, which is not started for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gossamer.control.vm import Vm
from gossamer.devices.vga.card import Vga
from gossamer.machines.options import parse
from tests.streams.conftest import Ran


def test_snapshot_is_drawn_without_being_started(
    stream_command: Callable[..., Ran], tmp_path: Path
) -> None:
    vm = Vm(parse(["-M", "g3beige", "-bios", "builtin", "-m", "8", "-nodefaults"]))
    bare = tmp_path / "bare"
    vm.save(bare)
    ran = stream_command("screenshot", bare, tmp_path / "none.png")
    assert "no display" in ran.err
    vm.close()
    vm = Vm(parse(["-M", "g3beige", "-bios", "builtin", "-m", "8", "-nodefaults", "-vga", "std"]))
    vga = vm.machine.display
    assert isinstance(vga, Vga)
    vga.vga.ar_index = 0x20
    for index, value in ((1, 64), (2, 32), (3, 16), (4, 1)):
        vga.vga.write_vbe(index, value)
    vm.machine.memory.write_arena(vga.vram.offset, bytes(range(256)) * 16)
    vga.vga.big_endian_fb = False
    vm.save(tmp_path / "state")
    ran = stream_command("screenshot", tmp_path / "state", tmp_path / "p.ppm")
    assert ran.status == 0, ran.err
    width, height, rgb = vm.screen()
    vm.close()
    assert (tmp_path / "p.ppm").read_bytes() == b"P6\n%d %d\n255\n" % (width, height) + rgb
    ran = stream_command("screenshot", tmp_path / "state", tmp_path / "p.gif")
    assert "ends in .png or .ppm" in ran.err


def test_picture_in_a_stream_of_qemu(
    recorded: Callable[[str], Path], stream_command: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = stream_command("screenshot", recorded("g3beige-run.mig"), tmp_path / "p.ppm")
    assert ran.status == 0, ran.err
    head, pixels = (tmp_path / "p.ppm").read_bytes().split(b"255\n", 1)
    assert head == b"P6\n800 600\n"
    assert pixels.count(b"\xff\xff\xcc") > 400_000  # OpenBIOS writes on cream
