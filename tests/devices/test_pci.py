"""PCI configuration space, BARs and interrupt lines, behind a Grackle."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, StreamError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.devices.pci import PciBus, PciDevice
from gossamer.state.describe import describe
from gossamer.state.transfer import OURS, load, save
from tests.devices.captures import QEMU, load_body, named, save_body
from tests.devices.pci_rig import PciRig
from tests.devices.qtest import Qtest


@pytest.fixture
def rig() -> PciRig:
    return PciRig()


def test_identity_and_sizing_of_bars(rig: PciRig):
    assert rig.get(1, 0) == 0x11111234
    assert rig.get(1, 8) == 0x03000002
    assert rig.get(2, 0x2C) == 0x11001AF4
    for slot, register, mask in (
        (1, 0x10, 0xFF000008), (1, 0x14, 0), (1, 0x18, 0xFFFFF000), (1, 0x30, 0xFFFF0001),
        (2, 0x10, 0xFFFFFF01), (2, 0x30, 0xFFFC0001),
    ):  # fmt: skip
        rig.set(slot, register, 0xFFFFFFFF)
        assert rig.get(slot, register) == mask


def test_memory_bar_moves_with_address_and_enable(rig: PciRig):
    rig.set(1, 0x10, 0x80000000)
    rig.map.store(0x80000000, 0x12345678, 4)
    assert rig.map.load(0x80000000, 4) == 0xFFFFFFFF, "not yet enabled"
    rig.set(1, 4, 2, 2)
    rig.map.store(0x80000000, 0x12345678, 4)
    assert rig.map.arena.bytes_of(rig.vram)[:4].tobytes() == b"\x12\x34\x56\x78"
    rig.set(1, 0x10, 0x90000000)
    assert rig.map.load(0x90000000, 4) == 0x12345678
    assert rig.map.find(0x80000000) is None
    rig.set(1, 4, 0, 2)
    assert rig.map.find(0x90000000) is None


@pytest.mark.parametrize("address", [0, 0x7F000000, 0xFE000000, 0xFF000000])
def test_bar_outside_the_window_is_not_mapped(rig: PciRig, address: int):
    rig.set(1, 4, 2, 2)
    rig.set(1, 0x10, address)
    assert rig.vga.mapped[0] is None


def test_io_bar(rig: PciRig):
    rig.set(2, 4, 1, 2)
    assert rig.nic.mapped[0] is None, "address 0 does not decode"
    rig.set(2, 0x10, 0x1000)
    assert rig.map.load(0xFE001007, 1) == 0x80


def test_rom_needs_both_enables_and_cannot_be_written(rig: PciRig):
    rig.map.arena.bytes_of(rig.rom)[:2] = (0x55, 0xAA)
    rig.set(1, 0x30, 0x81000000)
    rig.set(1, 4, 2, 2)
    assert rig.vga.mapped[6] is None
    rig.set(1, 0x30, 0x81000001)
    rig.map.store(0x81000000, 0, 2)
    assert rig.map.load(0x81000000, 2) == 0x55AA


def test_overlapping_bars_are_no_error(rig: PciRig):
    rig.set(1, 4, 2, 2)
    rig.set(1, 0x10, 0x80000000)
    rig.set(1, 0x18, 0x80000000)
    assert rig.map.load(0x80000000, 4) == 0x00FFFFFF, "the EDID lies over the memory"
    assert rig.map.load(0x80001000, 4) == 0


def test_interrupt_reaches_the_line_of_its_slot_and_can_be_disabled(rig: PciRig):
    rig.nic.set_intx(True)
    assert [line.level for line in rig.lines] == [False, False, True, False]
    assert rig.grackle.bus.irq_count == [0, 0, 1, 0]
    assert rig.get(2, 6, 2) & 8
    rig.set(2, 4, 0x400, 2)
    assert not any(line.level for line in rig.lines)
    assert rig.get(2, 6, 2) & 8, "status still says so"
    rig.set(2, 4, 0, 2)
    assert rig.lines[2].level
    rig.nic.set_intx(False)
    assert not any(line.level for line in rig.lines)


def test_resume_takes_lines_from_the_functions_and_notes_what_does_not_fit(rig: PciRig):
    rig.nic.irq_state[0] = 1
    rig.grackle.bus.irq_count = [5, 0, 0, 0]
    rig.grackle.bus.resume()
    assert rig.grackle.bus.irq_count == [0, 0, 1, 0]
    assert [line.level for line in rig.lines] == [False, False, True, False]


def test_dma_needs_bus_mastering(rig: PciRig):
    rig.map.map(rig.map.arena.add("ram", 4096), 0)
    rig.nic.dma_write(0, b"no")
    assert rig.map.read(0, 2) == b"\0\0"
    assert rig.nic.dma_read(0, 2) == b"\xff\xff"
    rig.set(2, 4, 4, 2)
    rig.nic.dma_write(0, b"ok")
    assert rig.nic.dma_read(0, 2) == b"ok"


def test_load_rebuilds_mappings(rig: PciRig):
    rig.set(1, 0x10, 0x80000000)
    rig.set(1, 4, 7, 2)
    writer = WireWriter()
    save(rig.vga, writer)
    other = PciRig()
    load(other.vga, WireReader(writer.data), 2)
    assert other.vga.mapped[0] is not None
    assert other.vga.mapped[0].base == 0x80000000


def test_stream_of_another_device_is_refused(rig: PciRig):
    writer = WireWriter()
    save(rig.vga, writer)
    for at, value, message in (
        (4, 0x35, r"configuration byte 0x00 must be 0x34 in the bits 0xff, got 0x35"),
        (4 + 0x10, 0x00, r"configuration byte 0x10 must be 0x08"),
        (260, 2, r"the level of pin 0 must be 0 or 1, got 33554432"),
        (3, 3, r"value must be 0..2, got 3"),
    ):
        body = bytearray(writer.data)
        body[at] = value
        with pytest.raises(StreamError, match=message):
            load(PciRig().vga, WireReader(body), 2)


def test_bars_and_functions_that_cannot_be_are_refused(rig: PciRig):
    region = Region("odd", 0x300, lambda *a: 0, lambda *a: None)
    with pytest.raises(ConfigError, match="odd: a BAR's size must be a power of two, got 0x300"):
        rig.nic.add_bar(1, region)
    with pytest.raises(ConfigError, match="BAR 0 cannot be of kind rom"):
        rig.nic.add_bar(0, rig.rom, "rom")
    with pytest.raises(ConfigError, match="function 0x10 cannot be placed"):
        PciDevice(rig.clock, rig.grackle.bus, 16, vendor=1, device=1, class_code=0)
    with pytest.raises(ConfigError, match="a PCI bus has 4 interrupt lines, got 1"):
        PciBus(Clock(), "pci.9", [IrqLine()])


def test_random_configuration_never_raises_and_always_saves(rig: PciRig):
    rnd = random.Random(3)
    for n in range(3000):
        size = rnd.choice([1, 2, 4])
        slot, register = (
            rnd.choice([0, 1, 2, 5]),
            rnd.choice([rnd.randrange(64), rnd.randrange(256)]),
        )
        value = rnd.choice([rnd.getrandbits(32), 0x80000000, 0xFFFFFFFF, 7]) & (1 << 8 * size) - 1
        if rnd.random() < 0.3:
            rig.get(slot, register, size)
        else:
            rig.set(slot, register, value, size)
        if n % 100 == 0:
            for device in (rig.vga, rig.nic, rig.grackle, rig.grackle.bus):
                save(device, WireWriter(), OURS)


@pytest.mark.parametrize("name", ["PCIHost", "PCIBUS", "vga", "ne2000"])
def test_capture_sections_load_and_save_byte_for_byte(shared: Path, name: str):
    found = named(shared, name)
    assert len(found) >= 10
    for section in found:
        rig = PciRig()
        device = {
            "PCIHost": rig.grackle, "PCIBUS": rig.grackle.bus, "vga": rig.vga, "ne2000": rig.nic
        }[name]  # fmt: skip
        load_body(device, section)
        assert save_body(device) == section.body, section
        ours = describe(device, QEMU)
        assert ours == {key: section.description[key] for key in ours}, section


def test_configuration_space_is_that_of_qemu(qemu: Path, rig: PciRig):
    """Every word of three functions: at power on, after ones, after zeros."""
    with Qtest(qemu, "-M", "g3beige") as real:
        for slot in (0, 1, 2, 5):
            for value in (None, 0xFFFFFFFF, 0):
                for register in range(0, 256, 4):
                    select = (0x80000000 | slot << 11 | register).to_bytes(4, "little")
                    for machine in (real, rig.map):
                        machine.store(0xFEC00000, int.from_bytes(select, "big"), 4)
                        if value is not None:
                            machine.store(0xFEE00000, value, 4)
                    assert real.load(0xFEE00000, 4) == rig.map.load(0xFEE00000, 4), (slot, register)
