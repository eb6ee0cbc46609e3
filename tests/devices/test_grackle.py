"""The G3's host bridge."""

from __future__ import annotations

from gossamer.base.wire import WireReader, WireWriter
from gossamer.devices.grackle import IRQ_PINS
from gossamer.state.transfer import load, save
from tests.devices.captures import QEMU, save_body
from tests.devices.pci_rig import PciRig


def test_bridge_answers_at_slot_zero():
    rig = PciRig()
    assert rig.get(0, 0) == 0x00021057
    assert rig.get(0, 8) == 0x06000100


def test_absent_functions_buses_and_disabled_cycles_give_ones():
    rig = PciRig()
    for address in (0x80002800, 0x80000100, 0x80010000, 0x00000000):
        rig.map.store(0xFEC00000, int.from_bytes(address.to_bytes(4, "little"), "big"), 4)
        assert rig.map.load(0xFEE00000, 4) == 0xFFFFFFFF


def test_address_register_takes_words_at_its_own_place_only():
    rig = PciRig()
    rig.map.store(0xFEC00000, 0x12345678, 4)
    rig.map.store(0xFEC00000, 0xAB, 1)
    rig.map.store(0xFEC00010, 0x01020304, 4)
    assert rig.map.load(0xFEC00000, 4) == 0x12345678
    assert rig.map.load(0xFEC00000, 1) == 0x12
    assert rig.map.load(0xFEC00002, 2) == 0x5678


def test_data_register_reaches_bytes_and_halves():
    rig = PciRig()
    rig.map.store(0xFEC00000, 0x00000080, 4)
    assert rig.map.load(0xFEE00000, 2) == 0x5710
    assert rig.map.load(0xFEE00002, 2) == 0x0200
    assert rig.map.load(0xFEE00001, 1) == 0x10
    rig.map.store(0xFEC00000, 0x02000080, 4)
    assert rig.map.load(0xFEE00000, 4) == 0x02000000


def test_heathrow_inputs_of_the_slots():
    assert [IRQ_PINS[rig_line(slot)] for slot in (1, 2, 0x10)] == [0x16, 0x17, 0x15]


def rig_line(slot: int) -> int:
    return PciRig().grackle.bus.route(slot << 3, 0)


def test_bridge_registers_travel_in_our_streams_only():
    rig = PciRig()
    assert save_body(rig.grackle) == (0).to_bytes(4, "big")
    rig.set(0, 0xA8, 0xFF041B98)
    assert len(save_body(rig.grackle, QEMU)) == 4
    writer = WireWriter()
    save(rig.grackle, writer)
    other = PciRig()
    load(other.grackle, WireReader(writer.data), 1)
    assert other.get(0, 0xA8) == 0xFF041B98
    other.grackle.reset()
    assert other.get(0, 0xA8) == 0
