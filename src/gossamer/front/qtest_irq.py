"""Interrupt lines as a device test sees them: taps that report every change, and pass it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine, IrqSink
from gossamer.machines.machine import Machine
from gossamer.state.declare import Stateful

Report = Callable[[int, bool], None]


class Tap:
    """Stands before a sink: `report` gets a number and the level of what `sink` gets."""

    def __init__(self, number: int, report: Report, sink: IrqSink | None) -> None:
        self.number, self.report, self.sink = number, report, sink

    def input_changed(self, pin: int, level: bool) -> None:
        self.report(self.number, level)
        if self.sink is not None:
            self.sink.input_changed(pin, level)

    def input_assigned(self, pin: int, level: bool) -> None:
        if self.sink is not None:
            self.sink.input_assigned(pin, level)


def lines_of(device: Device) -> list[IrqLine]:
    """The interrupt outputs of a chip and its inner parts, in the order in which it names them."""
    found: list[IrqLine] = []
    seen: set[int] = set()

    def look(owner: Stateful) -> None:
        seen.add(id(owner))
        for name in owner.declared:
            value = getattr(owner, name, None)
            for one in value if isinstance(value, list | tuple) else (value,):
                if isinstance(one, IrqLine):
                    found.append(one)
                elif is_inner(one) and id(one) not in seen:
                    look(one)

    look(device)
    return found


def is_inner(value: object) -> TypeGuard[Stateful]:
    """Whether a value is a part of a chip, and no chip of its own."""
    return isinstance(value, Stateful) and not isinstance(value, Device | Clock)


def tap_outputs(device: Device, report: Report) -> int:
    """Report every change of the chip's outputs by their number; how many there are."""
    lines = lines_of(device)
    for number, line in enumerate(lines):
        line.sink = Tap(number, report, line.sink)
    return len(lines)


def tap_inputs(machine: Machine, device: Device, report: Report) -> int:
    """Report every change of what drives the chip's inputs, by pin; how many lines do."""
    found = 0
    for part in machine.parts:
        for line in lines_of(part.device):
            sink: object = line.sink
            if sink is device:
                line.sink = Tap(int(line.pin), report, line.sink)
                found += 1
    return found
