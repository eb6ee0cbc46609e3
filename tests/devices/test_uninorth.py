"""UniNorth: three bridges, the forms of configuration addresses, its own registers."""

from __future__ import annotations

import random

import pytest

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.devices import uninorth
from gossamer.devices.keylargo import KeyLargo
from gossamer.state.transfer import OURS, load
from tests.devices.captures import QEMU, load_body, named, save_body

MAIN, AGP, INTERNAL = uninorth.MAIN_CONFIG, uninorth.AGP_CONFIG, uninorth.INTERNAL_CONFIG


def little(value, size):
    return int.from_bytes(value.to_bytes(size, "little"), "big")


class Rig:
    def __init__(self):
        self.clock = Clock()
        self.map = AddressMap(Arena(4096))
        self.main = uninorth.main_host(self.clock, self.map, [IrqLine() for _ in range(4)])
        self.hosts = (uninorth.agp_host(self.clock), uninorth.internal_host(self.clock), self.main)
        for host, at in zip(self.hosts, (AGP, INTERNAL, MAIN), strict=True):
            host.map_registers(self.map, at)
        self.map.map(self.main.own_region(), uninorth.REGISTERS)
        self.macio = KeyLargo(self.clock, self.main.bus, 0x0C << 3)

    def get(self, host, address, offset=0, size=4):
        self.map.store(host, little(address, 4), 4)
        return little(self.map.load(host + 0x40_0000 + offset, size), size)

    def set(self, host, address, value, offset=0, size=4):
        self.map.store(host, little(address, 4), 4)
        self.map.store(host + 0x40_0000 + offset, little(value, size), size)


@pytest.fixture
def rig():
    return Rig()


def test_the_three_forms_of_an_address_find_the_same_function(rig):
    for address in (1 << 12, 0x0C << 11 | 1, 0x8000_0000 | 0x0C << 11):
        assert rig.get(MAIN, address) == 0x0022_106B
    assert rig.get(MAIN, 1 << 12 | 8, 0) == 0xFF00_0000
    assert rig.get(MAIN, 1 << 12, 4) == rig.get(MAIN, 0x8000_0000 | 0x0C << 11 | 4)
    assert rig.get(MAIN, 1 << 12 | 8, 2, 2) == 0xFF00


def test_bridges_are_where_qemu_has_them(rig):
    assert rig.get(MAIN, 1 << 11) == 0x001F_106B
    assert rig.get(AGP, 0x8000_0000 | 0x0B << 11) == 0x0020_106B
    assert rig.get(INTERNAL, 0x8000_0000 | 0x0E << 11) == 0x001E_106B
    assert rig.get(INTERNAL, 1 << 14) == 0x001E_106B
    assert rig.get(MAIN, 1 << 11 | 0x48, 0) == 0x0100_0000
    assert rig.get(MAIN, 1 << 11 | 8, 5, 1) == 0x10  # latency timer


def test_nothing_selected_or_another_bus_gives_ones(rig):
    for address in (0, 1 << 17, 1 << 16 | 0x0C << 11 | 1, 0x8001_6000):
        assert rig.get(MAIN, address) == 0xFFFF_FFFF


def test_a_bar_appears_in_the_memory_window(rig):
    rig.set(MAIN, 1 << 12 | 0x10, 0x8000_0000)
    rig.set(MAIN, 1 << 12, 6, 4, 2)
    rig.map.store(0x8000_0038, 0x1234_5678, 4)
    assert rig.map.load(0x8000_0038, 4) == 0x1234_5678
    assert rig.macio.features[1] == 0x7856_3412


def test_own_registers_version_and_storage(rig):
    assert rig.map.load(0xF800_0000, 4) == 7
    rig.map.store(0xF800_0000, 0xFFFF_FFFF, 4)
    assert rig.map.load(0xF800_0000, 4) == 7
    rig.map.store(0xF800_0020, 0xDEAD_BEEF, 4)
    assert rig.map.load(0xF800_0020, 4) == 0xDEAD_BEEF
    assert rig.map.load(0xF800_0500, 4) == 0


def test_keylargo_counter_runs_at_its_rate(rig):
    rig.clock.set(5_000_000_000)
    assert rig.macio.read_timer(0x38, 4) == 5 * 18_432_000
    rig.clock.set(1000 * 10**9)
    assert rig.macio.read_timer(0x3C, 4) == 1000 * 18_432_000 >> 32


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    hosts = [s for s in named(shared, "PCIHost", "macio-newworld") if "mac99" in s.capture]
    assert len(hosts) >= 20
    for section in hosts:
        rig = Rig()
        chip = rig.macio if "macio" in section.idstr else rig.hosts[section.instance]
        load_body(chip, section)
        assert save_body(chip) == section.body, section
        assert save_body(chip, OURS) == section.body, section


def test_what_qemu_does_not_carry_goes_into_our_streams_only(rig):
    rig.map.store(0xF800_0040, 5, 4)
    rig.set(MAIN, 1 << 11 | 0x48, 0x00FF_0000)
    rig.macio.write_feature(0, 4, 0x55)
    assert len(save_body(rig.main, QEMU)) == 4
    assert len(save_body(rig.macio, QEMU)) == 276
    other = Rig()
    for one, two in ((rig.main, other.main), (rig.macio, other.macio)):
        load(two, WireReader(save_body(one, OURS)), one.version)
    assert other.map.load(0xF800_0040, 4) == 5
    assert other.get(MAIN, 1 << 11 | 0x48) == 0x00FF_0000
    assert other.macio.features[0] == 0x55
    other.main.reset()
    assert other.map.load(0xF800_0040, 4) == 0


def test_random_accesses_leave_a_state_that_can_be_saved(rig):
    random_ = random.Random(1)
    places = (AGP, AGP + 0x40_0000, MAIN, MAIN + 0x40_0000, INTERNAL, INTERNAL + 0x40_0000)
    for _ in range(10_000):
        at = random_.choice((*places, 0xF800_0000)) + random_.choice((0, 0, 4, 0x20, 0x43))
        size = random_.choice((1, 2, 4))
        if random_.random() < 0.4:
            rig.map.load(at, size)
        else:
            value = random_.getrandbits(32)
            if random_.random() < 0.5:
                value = little(0x8000_0000 | value & 0x7FFF, 4)
            rig.map.store(at, value & (1 << 8 * size) - 1, size)
    for host in rig.hosts:
        assert save_body(host, OURS)
