"""A machine saved and loaded between random accesses to its chips goes on as the saved one.

Guests bring chips into the states that sane drivers use.  Here registers are read and written at
random, with time between the accesses, keys, mouse and serial input.  After each save both machines
get the same accesses and answer the same; nothing declared, derived or on a line differs.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gossamer.control import keys
from gossamer.control.vm import Vm
from gossamer.devices.pci import COMMAND, PciDevice
from gossamer.isa.text import assemble
from gossamer.machines.guests import usb, watcher
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.verify.cuts.census import not_rebuilt
from gossamer.verify.cuts.fields import attributes, differences, not_carried
from gossamer.verify.hostile.layout import leaves

MACHINES = {
    "g3beige": watcher.NAME,
    "mac99": watcher.NAME,
    "mac99,via=pmu": usb.NAME,
    "mac99,via=pmu-adb": watcher.NAME,
}
QUIET = ("-nographic", "-serial", "null", "-rtc", "base=2001-09-09", "-icount", "5,sleep=off")
SET_UP = 400_000
"""Instructions after which the guest has given the PCI devices their addresses."""
AT_WORK = 4_000_000
LOOP = 0x10_0000
SAVES, ACCESSES = 60, 40
#: What drivers begin with and chance does not find: (offset, byte) of a region.
ENABLES = {
    "escc": [
        (at, byte)
        for at in (0x00, 0x20)
        for register, value in ((3, 0xC1), (5, 0xEA), (15, 0x28), (9, 0x08), (1, 0x13))
        for byte in (register, value)
    ],
    "via": [(0x1C00, 0xFF), (0x1600, 0xDC)],
    "heathrow": [(at, 0xFF) for at in (0x14, 0x15, 0x16, 0x17, 0x24, 0x25, 0x26, 0x27)],
}


class User:
    """Does the same to each machine that it is given: accesses, input, time."""

    def __init__(self, machine: Machine, rng: random.Random) -> None:
        self.rng = rng
        self.leaves = list(leaves(machine))
        self.leaf, self.span = self.leaves[0], 0x10
        self.touched: set[str] = set()

    def value(self) -> int:
        r = self.rng
        kind = r.randrange(5)
        if kind == 0:
            return r.getrandbits(32)
        if kind == 1:
            return 1 << r.randrange(32)
        if kind == 2:
            return r.randrange(0x40) * 0x0101_0101
        if kind == 3:
            return r.randrange(0x20_0000, 0x40_0000, 16)  # somewhere in RAM, for DMA
        return r.choice((0, 0xFFFF_FFFF, 0x8000_8000, 0x80))

    def act(self, vms: list[Vm]) -> None:
        """One access, input or wait, the same in all of `vms`."""
        r = self.rng
        kind = r.random()
        if kind < 0.08:
            until = vms[0].clock_ns + r.choice((100, 20_000, 1_000_000, 12_000_000))
            for vm in vms:
                vm.run(until_ns=until)
        elif kind < 0.11:
            channel, byte = r.randrange(2), r.randrange(256)
            for vm in vms:
                if vm.serial_room(channel):
                    vm.serial_receive(channel, byte)
        elif kind < 0.13:
            key = r.choice(("a", "ret", "shift-b", "f1"))
            for vm in vms:  # a hand that holds a key is no part of the machine: let go at once
                assert vm.machine.keyboard is not None
                for down in (True, False):
                    for name in key.split("-"):
                        vm.machine.keyboard.key(keys.code(name), down)
        elif kind < 0.15:
            x, y, buttons = r.randrange(-50, 50), r.randrange(-50, 50), r.randrange(2)
            for vm in vms:
                assert vm.machine.mouse is not None
                vm.machine.mouse.move(x, y, buttons)
        else:
            self._access(vms)

    def _access(self, vms: list[Vm]) -> None:
        """One access, near the last one more often than not."""
        r = self.rng
        if r.random() < 0.2:
            self.leaf, self.span = r.choice(self.leaves), r.choice((0x10, 0x40, 0x100, 0x2000))
            if r.random() < 0.5:
                self._enable(vms)
        start, size, region = self.leaf
        width = r.choice((1, 1, 1, 2, 4, 4))
        step = 0x200 if self.span == 0x2000 else r.choice((width, 0x10))
        ra = start + r.randrange(0, max(1, min(size, self.span) - width + 1), step)
        self.touched.add(region.name)
        if r.random() < 0.4:
            answers = {vm.machine.memory.load(ra, width) for vm in vms}
            assert len(answers) == 1, f"{region.name} at {ra:#x}: {answers}"
        else:
            value = self.value() & (1 << 8 * width) - 1
            for vm in vms:
                vm.machine.memory.store(ra, value, width)

    def _enable(self, vms: list[Vm]) -> None:
        start, _, region = self.leaf
        for at, byte in ENABLES.get(region.name, []):
            for vm in vms:
                vm.machine.memory.store(start + at, byte, 1)


def give_addresses(machine: Machine) -> None:
    """Every BAR that the guest has left alone gets an address, every function decodes them."""
    memory, ports = 0x8200_0000, 0x1000
    for part in machine.sections:
        device = part.device
        if not isinstance(device, PciDevice):
            continue
        for bar in device.bars:
            if bar.kind == "io":
                device.write_config(bar.at, 4, ports)
                ports += bar.target.size
            elif bar.kind != "rom" and device.bar_address(bar) is None:
                memory += -memory % bar.target.size
                device.write_config(bar.at, 4, memory)
                memory += bar.target.size
        device.write_config(COMMAND, 2, device.command | 7)


def begin(machine: str, disc: Path, rng: random.Random, *, guest: bool) -> Vm:
    """The machine with its PCI set up; the guest works on, or the CPU turns round in a loop."""
    options = ("-m", "8", *QUIET, "-cdrom", str(disc), "-bios", MACHINES[machine])
    vm = Vm(parse(["-M", machine, *options]))
    vm.run_to(rng.randrange(SET_UP, AT_WORK))
    give_addresses(vm.machine)
    if not guest:
        vm.write_physical(LOOP, assemble("b .", LOOP))
        vm.machine.cpu.block.set("nia", LOOP)
        vm.machine.cpu.block.set("msr", 0)
    return vm


def cut_often(vm: Vm, rng: random.Random) -> None:
    """Between accesses, save and load; go on with the loaded machine."""
    user = User(vm.machine, rng)
    for n in range(SAVES):
        for _ in range(rng.randrange(ACCESSES)):
            user.act([vm])
        before = attributes(vm.machine)
        other = Vm(vm.config)
        other.load_bytes(vm.save_bytes())
        assert not_carried(before, other.machine) == [], f"save {n}"
        assert not_rebuilt(vm.machine, other.machine) == [], f"save {n}"
        for _ in range(ACCESSES):
            user.act([vm, other])
        assert differences(vm.machine, other.machine) == [], f"behind save {n}"
        assert not_rebuilt(vm.machine, other.machine) == [], f"behind save {n}"
        vm = other
    assert len(user.touched) > 10


@pytest.mark.slow
@pytest.mark.parametrize("guest", [False, True])
@pytest.mark.parametrize("machine", MACHINES)
def test_random_accesses_find_nothing_lost(machine: str, guest: bool, tmp_path: Path) -> None:
    rng = random.Random(machine)
    disc = tmp_path / "disc.iso"
    disc.write_bytes(rng.randbytes(1 << 20))
    cut_often(begin(machine, disc, rng, guest=guest), rng)
