"""Where the functions behind a pseries' bridge are, and a script that is carried out at once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from gossamer.core.region import Region
from gossamer.devices.pci import Bar, PciDevice, Window
from gossamer.devices.virtio.pci import VirtioPci
from gossamer.machines.machine import Machine
from gossamer.verify.hostile.layout import PORTS_FROM, Layout
from gossamer.verify.hostile.records import DELAYS, MOST_TURNS, SCRATCH, WIDTHS, Record, Script

if TYPE_CHECKING:
    from gossamer.verify.hostile.server import ServerGuest

#: Virtual ns of a turn of a script's loops.
TURN_NS: Final = 32
PAGE: Final = 0x1000
#: Where a virtio device's modern registers are, by the BAR.
MODERN_BAR: Final = 4


class ServerLayout(Layout):
    """Places of a pseries' functions, each found by the name of its region.

    `bars`: function, register, word that brings it to its place; `modern`: the modern registers of
    virtio devices, by real address.
    """

    def _give_addresses(self, machine: Machine) -> None:
        self.bars: list[tuple[int, int, int]] = []
        self.modern: list[int] = []
        taken: dict[int, int] = {}
        for part in machine.parts:
            device = part.device
            if isinstance(device, PciDevice):
                self.functions.append(device.devfn)
                for bar in device.bars:
                    self._place(device, bar, taken)
                device.write_config(4, 2, 7)

    def _place(self, device: PciDevice, bar: Bar, taken: dict[int, int]) -> None:
        window = self._window(device, bar)
        size = bar.target.size
        first = PORTS_FROM if bar.kind == "io" else window.base
        at = -(-taken.get(window.base, first) // size) * size
        taken[window.base] = at + size
        for n in range(bar.width // 4):
            word = at >> 32 * n & 0xFFFF_FFFF
            self.bars.append((device.devfn, bar.at + 4 * n, word))
        device.write_config(bar.at, bar.width, at)
        real = window.real(at, size)
        assert real is not None
        if isinstance(device, VirtioPci) and bar.number == MODERN_BAR:
            self.modern.append(real)
        if not isinstance(bar.target, Region) and bar.kind != "rom":
            self.memories.append((real, size))

    @staticmethod
    def _window(device: PciDevice, bar: Bar) -> Window:
        """The last one that the BAR can reach."""
        found = device.bus.windows(bar.kind)
        return found[-1] if bar.width == 8 else found[0]


class Live(Script):
    """A script whose records are carried out at once, by what a driver of a pseries has."""

    def __init__(self, guest: ServerGuest, layout: Layout) -> None:
        super().__init__(random.Random(f"live {guest.seed}"), layout)  # noqa: S311
        self.guest = guest

    def add(self, record: Record) -> None:
        super().add(record)
        self.carry_out()

    def carry_out(self) -> None:
        """Do what was collected."""
        records, self.records = self.records, []
        for one in records:
            self._do(one)

    def _do(self, one: Record) -> None:
        memory = self.guest.machine.memory
        if one.kind == "wait":
            self.guest.sleep(TURN_NS * min(one.value, MOST_TURNS))
            return
        width = WIDTHS[one.kind]
        for _ in range(one.repeats):
            if one.kind.startswith("store"):
                memory.store(one.at, one.value, width)
            else:
                self.guest.answers["load", 0] += memory.load(one.at, width)
        if one.delay > DELAYS[-2]:
            self.guest.sleep(TURN_NS * one.delay)

    def map_pages(self) -> None:
        """Let the functions reach what descriptors and buffers are in; a page may be left out."""
        for at in range(SCRATCH.start, SCRATCH.stop, PAGE):
            if not self.maybe(0.005):
                self.guest.translate(at, at | 3)
