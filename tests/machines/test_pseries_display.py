"""The display of a pseries: where it is, what a guest learns of it, what it shows, its stream."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from struct import pack

import pytest

from gossamer.base.errors import ConfigError, StreamError
from gossamer.base.units import MiB
from gossamer.control.globalstate import GlobalState
from gossamer.control.hashing import StateHash
from gossamer.control.profiles import READING, profile_of
from gossamer.control.stream_in import load_stream, read_stream
from gossamer.control.stream_out import Extra, save_stream
from gossamer.devices.pci import BAR0, COMMAND, ROM_BAR
from gossamer.devices.vga.card import Vga
from gossamer.devices.vga.core import BPP, ENABLE, ENABLED, XRES, YRES
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.machines.pseries_versions import ERAS
from gossamer.migrate.releases import release
from tests.machines.test_pseries import make

__all__ = ["make"]

QEMU = profile_of(release("qemu-7.2"))
PLACE = "pci@800000020000000:00.0"
#: Bus addresses, and where the bridge shows the first.
VIDEO, REGISTERS, OPTION_ROM = 0x8100_0000, 0x8200_0000, 0x8210_0000
SHOWN = 0x2000_0000_0000 + VIDEO
EA = 0xD000_0000_0000_0000
#: stw r4,0(r3); addi r3,r3,4; bdnz .-8; b .
DRAWS = pack(">4I", 0x9083_0000, 0x3863_0004, 0x4200_FFF8, 0x4800_0000)


def options(*more: str, version: str = "7.2") -> Machine:
    usual = ("-nodefaults", "-serial", "null", "-rtc", "base=2020-01-01")
    return build(parse(["-M", f"pseries-{version}", "-m", "256", *usual, *more]))


def display_of(m: Machine) -> Vga:
    found = m.part("pci/vga")
    assert isinstance(found, Vga)
    assert m.display is found
    return found


def chosen(m: Machine) -> dict[str, bytes]:
    root = m.part("spapr").firmware.root  # type: ignore[attr-defined]
    return dict(root.find("/chosen").properties)


def set_up(m: Machine) -> None:
    """As a guest's driver does it: addresses, decoding, 64 x 2 pixels of 32 bits."""
    vga = display_of(m)
    for at, value in ((BAR0, VIDEO), (BAR0 + 8, REGISTERS), (ROM_BAR, OPTION_ROM | 1)):
        vga.write_config(at, 4, value)
    vga.write_config(COMMAND, 2, 2)
    for index, value in ((XRES, 64), (YRES, 2), (BPP, 32), (ENABLE, ENABLED)):
        vga.write_mmio(0x500 + 2 * index, 2, value)
    vga.write_mmio(0x400, 1, 0x20)  # the palette is the screen's again: it is shown


def drawing(m: Machine) -> None:
    """The CPU at a program that fills the first line, by a page that the page table maps."""
    m.memory.write(0x1000, DRAWS)
    assert m.hash_table is not None
    vsid = 0x77
    # Page 0 of the segment: group `vsid`; there and back, cache inhibited and guarded.
    m.hash_table.write(8 * vsid, vsid << 12 | 1, SHOWN | 0x180 | 0x28 | 2)
    block = m.cpu.block
    block.set("slb_esid", EA | 0x0800_0000, 0)
    block.set("slb_vsid", vsid << 12, 0)
    block.set("gpr", EA, 3)
    block.set("gpr", 0x00FF_8001, 4)
    block.set("ctr", 64)
    block.set("nia", 0x1000)
    block.set("msr", 1 << 63 | 0x10)


def test_there_is_one_where_it_is_asked_for() -> None:
    m = options("-vga", "std")
    vga = display_of(m)
    assert vga.idstr == f"{PLACE}/vga"
    assert vga.devfn == 0
    assert {b.name: b.size for b in m.arena.blocks if "vga" in b.name} == {
        f"{PLACE}/vga.vram": 16 * MiB,
        f"{PLACE}/vga.rom": 0x1_0000,
    }
    sections = [part.idstr for part in m.sections]
    assert sections.index(f"{PLACE}/vga") == sections.index("spapr") - 1
    assert options("-vga", "none").display is None
    assert options().display is None


def test_one_of_device_stands_behind_all_that_the_machine_has() -> None:
    m = options("-device", "VGA,vgamem_mb=32")
    sections = [part.idstr for part in m.sections]
    assert sections.index(f"{PLACE}/vga") > sections.index("spapr")
    assert m.block(f"{PLACE}/vga.vram").size == 32 * MiB
    placed = options("-device", "VGA,addr=03.0")
    assert display_of(placed).idstr == "pci@800000020000000:03.0/vga"
    with pytest.raises(ConfigError, match="there is a display already; -vga none leaves it out"):
        options("-vga", "std", "-device", "VGA")


def test_the_tree_has_its_node() -> None:
    m = options("-vga", "std")
    root = m.part("spapr").firmware.root  # type: ignore[attr-defined]
    node = root.find("/pci@800000020000000/vga@0")
    assert node.cells("class-code") == [0x3_0000]
    assert node.properties["ibm,loc-code"] == b"qemu_VGA:0000:00:00.0\0"
    bars = [node.cells("reg")[n : n + 5] for n in range(0, 20, 5)]
    assert bars == [
        [0, 0, 0, 0, 0],
        [0x0200_0010, 0, 0, 0, 16 * MiB],
        [0x0200_0018, 0, 0, 0, 0x1000],
        [0x0200_0030, 0, 0, 0, 0x1_0000],
    ]
    for absent in ("interrupts", "ibm,req#msi", "ibm,pci-config-space-type"):
        assert absent not in node.properties


@pytest.mark.parametrize(
    ("line", "console"),
    [
        ("-vga std", False),
        ("-vga std -nographic", True),
        ("-vga std -M graphics=off", True),
        ("-vga std -display none", False),
        ("-device VGA", False),
        ("-vga none -device VGA", True),
        ("-vga none", True),
        ("", True),
    ],
)
def test_the_terminal_is_the_console_where_there_is_no_display(line: str, console: bool) -> None:
    """As QEMU 7.2 says it, all these lines."""
    found = chosen(options(*line.split()))
    for name in ("stdout-path", "linux,stdout-path"):
        assert (name in found) is console


@pytest.mark.parametrize("version", [one.name for one in ERAS])
def test_versions(version: str) -> None:
    """Its memory's name up to 2.12, its monitor from 4.1 on: as `info qtree` has it."""
    place = [one.name for one in ERAS].index(version)
    early = place < [one.name for one in ERAS].index("3.0")
    known = place >= [one.name for one in ERAS].index("4.1")
    m = options("-vga", "std", version=version)
    assert ("vga.vram" in {b.name for b in m.arena.blocks}) is early
    assert m.block(f"{PLACE}/vga.rom")
    assert (display_of(m).read_mmio(0, 4) == 0xFFFF_FF00) is known
    other = "off" if known else "on"
    for line in (["-vga", "std", "-global", f"VGA.edid={other}"], ["-device", f"VGA,edid={other}"]):
        asked = options(*line, version=version)
        assert (display_of(asked).read_mmio(0, 4) == 0xFFFF_FF00) is not known


def test_21_has_no_registers_beyond_a_pcs() -> None:
    early, later = (display_of(options("-vga", "std", version=one)) for one in ("2.1", "2.2"))
    assert (early.read_mmio(0x600, 4), early.read_mmio(0x604, 4)) == (0xFFFF_FFFF, 0xFFFF_FFFF)
    assert (later.read_mmio(0x600, 4) & 0xFFFF_FFFF, later.read_mmio(0x604, 4)) == (8, 0xBEBE_BEBE)
    assert [one.read_config(8, 1) for one in (early, later)] == [0, 2]
    for one, order in ((early, True), (later, False)):
        one.write_mmio(0x604, 4, 0x1E1E_1E1E)
        assert one.vga.big_endian_fb is order
    asked = options("-vga", "none", "-device", "VGA,qemu-extended-regs=off")
    assert display_of(asked).read_mmio(0x600, 4) == 0xFFFF_FFFF


@pytest.mark.parametrize("version", ["2.1", "7.2"])
def test_pixels_are_in_the_order_that_h_set_mode_says(version: str) -> None:
    """As QEMU 7.2 does it: a little-endian Linux without a driver for the display."""
    m = options("-vga", "std", "-cpu", "power8", version=version)
    for cpu_order, big in ((1, False), (0, True)):
        for number, value in enumerate((0x31C, cpu_order, 4, 0, 0)):
            m.cpu.block.set("gpr", value, 3 + number)
        m.cpu.block.set("msr", 0)
        m.cpu.hypercall()
        assert m.cpu.block.get("gpr", 3) == 0
        assert display_of(m).vga.big_endian_fb is big


def test_a_guest_draws_and_the_screen_shows_it() -> None:
    m = options("-vga", "std")
    set_up(m)
    drawing(m)
    m.processor.run(3 * 64 + 2)
    width, height, rgb = display_of(m).render()
    assert (width, height) == (64, 2)
    assert rgb[: 64 * 3] == bytes((0xFF, 0x80, 0x01)) * 64
    assert rgb[64 * 3 :] == bytes(64 * 3)


@pytest.mark.parametrize("version", ["2.9", "7.2"])
def test_it_goes_over(version: str) -> None:
    """To ours with all of its state, to QEMU and back in QEMU's form."""
    m = options("-vga", "std", version=version)
    set_up(m)
    drawing(m)
    m.processor.run(50)
    for how in ({}, {"profile": QEMU}):
        out = BytesIO()
        save_stream(m, out, Extra("globalstate", GlobalState()), **how)  # type: ignore[arg-type]
        fresh = options("-vga", "std", version=version)
        read = read_stream if how else load_stream
        where = (READING,) if how else ()
        read(fresh, BytesIO(out.getvalue()), Extra("globalstate", GlobalState()), *where)
        mine, its = (StateHash(one).sections() for one in (m, fresh))
        for lost in (
            ("spapr", "timer") if how else ()
        ):  # the firmware's; ours is not at an instruction
            del mine[lost], its[lost]
        assert its == mine
        fresh.processor.run(200)
        assert display_of(fresh).render()[2][: 64 * 3] == bytes((0xFF, 0x80, 0x01)) * 64
    without = options("-vga", "none", version=version)
    with pytest.raises(StreamError, match=r"unknown RAM block .*vga"):
        read_stream(without, BytesIO(out.getvalue()), Extra("globalstate", GlobalState()), READING)


def test_a_reset_takes_its_addresses_away(make: Callable[..., Machine]) -> None:
    m = make(vga="std")
    set_up(m)
    assert m.memory.read(SHOWN, 4) == bytes(4)
    m.reset()
    vga = display_of(m)
    assert vga.mapped == [None] * 7
    assert not vga.shown().vbe_on
