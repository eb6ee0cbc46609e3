"""Where the chips of a machine are, and the accesses that put its PCI functions there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import copy
from typing import Final

from gossamer.core.memory import AddressMap
from gossamer.core.region import Region
from gossamer.devices.pci import COMMAND, PciDevice
from gossamer.machines.guests import hostile_405
from gossamer.machines.guests.watcher import BRIDGES
from gossamer.machines.machine import Machine

MACIO_AT: Final = 0x8080_0000
MEMORY_FROM, PORTS_FROM = 0x8200_0000, 0x1000
DECODES: Final = 7
"""PCI command: I/O, memory, master."""
CONFIG_ENABLE: Final = 0x8000_0000


class Layout:
    """Places by the name of their region: (address, size); `functions` of the main PCI bus.

    `controller`: what is behind the 6522, cuda or pmu.  `setup`: writes to configuration space,
    (what the address register has to hold, value).
    """

    def __init__(self, machine: Machine) -> None:
        self.name = machine.hardware.machine
        via = machine.hardware.properties.get("via", "cuda")
        self.controller = "cuda" if via == "cuda" else "pmu"
        bridge = BRIDGES.get(self.name, {})
        self.address, self.data = bridge.get("address", 0), bridge.get("value", 0)
        #: What a record may turn interrupts on with, where there is more than MSR[EE].
        self.enables: tuple[int, ...] = ()
        if self.name == hostile_405.MACHINE:
            self.enables = (hostile_405.EE, hostile_405.CE, hostile_405.EE | hostile_405.CE)
        self.setup: list[tuple[int, int]] = []
        self.functions: list[int] = []
        self.memories: list[tuple[int, int]] = []
        self._give_addresses(machine)
        self.places: dict[str, list[tuple[int, int]]] = {}
        for start, size, region in leaves(machine):
            self.places.setdefault(region.name, []).append((start, size))
        self._all = [place for places in self.places.values() for place in places]

    def at(self, name: str, n: int = 0) -> int:
        """The address of the n-th place called `name`."""
        return self.places[name][n][0]

    def has(self, name: str) -> bool:
        return name in self.places

    def only(self, memory: AddressMap) -> Layout:
        """The part of the layout that is in an address map."""
        part = copy(self)
        part.places = {
            name: [place for place in places if memory.find(place[0]) is not None]
            for name, places in self.places.items()
        }
        part.places = {name: places for name, places in part.places.items() if places}
        part._all = [place for places in part.places.values() for place in places]
        return part

    def stray(self, rng: random.Random) -> tuple[int, int]:
        return rng.choice(self._all)

    def _give_addresses(self, machine: Machine) -> None:
        """Every BAR gets an address, every function decodes."""
        memory, ports = MEMORY_FROM, PORTS_FROM
        for part in machine.parts:
            device = part.device
            if not isinstance(device, PciDevice) or not part.path.startswith(("pci/", "macio")):
                continue
            self.functions.append(device.devfn)
            for bar in device.bars:
                if part.path == "macio":
                    at = MACIO_AT
                elif bar.kind == "io":
                    at, ports = ports, ports + bar.target.size
                else:
                    at = memory + -memory % bar.target.size
                    memory = at + bar.target.size
                    if not isinstance(bar.target, Region) and bar.kind != "rom":
                        self.memories.append((at, bar.target.size))
                device.write_config(bar.at, 4, at)
                self.setup.append((self.reach(device.devfn, bar.at), at))
            device.write_config(COMMAND, 2, DECODES)
            self.setup.append((self.reach(device.devfn, COMMAND), DECODES))

    def reach(self, devfn: int, register: int) -> int:
        """What the bridge's address register has to hold."""
        return CONFIG_ENABLE | devfn << 8 | register & 0xFC


def leaves(machine: Machine) -> Iterator[tuple[int, int, Region]]:
    """Address, size and innermost region of everything that is not memory."""
    for start, end, mapping in machine.memory.mappings:
        if isinstance(mapping.target, Region):
            yield from _within(mapping.target, mapping.base, start, end)


def _within(region: Region, base: int, start: int, end: int) -> Iterator[tuple[int, int, Region]]:
    if region.cell is None:
        yield start, end - start, region
        return
    at = start
    while at < end:
        cell = region.cell(at - base)
        if cell is not None:
            first, last = max(start, base + cell[0]), min(end, base + cell[1])
            yield from _within(cell[2], base + cell[0], first, last)
            at = base + cell[1]
        else:
            at += 0x10
