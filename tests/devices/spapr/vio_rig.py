"""A guest's side of virtual I/O without a CPU: windows, hypercalls, an interrupt input."""

from __future__ import annotations

from typing import Final, TypeVar

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr.calls import GuestRam
from gossamer.devices.spapr.llan import llan_calls
from gossamer.devices.spapr.tce import TceWindow, tce_calls
from gossamer.devices.spapr.vio_bus import WINDOW_ENTRIES, DmaDevice, VioBus
from tests.devices.spapr.rig import RAM, Rig

UNIT: Final = 0x7100_0002
D = TypeVar("D", bound=DmaDevice)


class Edges:
    """Counts interrupts."""

    def __init__(self) -> None:
        self.count = 0

    def input_changed(self, pin: int, level: bool) -> None:
        self.count += level

    def input_assigned(self, pin: int, level: bool) -> None: ...


class VioRig(Rig):
    """All of memory is mapped one to one into the window of the device at `UNIT`."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: dict[int, TceWindow] = {}
        self.vio, self.edges = VioBus(self.windows), Edges()
        self.add(self.vio.calls())
        self.add(llan_calls(self.vio))
        self.add(tce_calls(self.windows, self.ram))

    def put(self, kind: type[D]) -> D:
        made = kind(Clock(), UNIT, 0x1102, IrqLine(self.edges, 0), self.window(), self.guest_ram())
        self.vio.add(made)
        for at in range(0, RAM, 0x1000):
            assert self.call(0x20, UNIT, at, at | 3)[0] == 0
        return made

    def window(self) -> TceWindow:
        return TceWindow(Clock(), UNIT, start=WINDOW_ENTRIES, main=False)

    def guest_ram(self) -> GuestRam:
        return self.ram
