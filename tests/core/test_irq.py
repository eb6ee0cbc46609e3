"""Interrupt lines: edges while running, none after a load."""

from __future__ import annotations

from gossamer.core.irq import IrqLine


class Sink:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, bool]] = []

    def input_changed(self, pin: int, level: bool) -> None:
        self.seen.append(("changed", pin, level))

    def input_assigned(self, pin: int, level: bool) -> None:
        self.seen.append(("assigned", pin, level))


def test_level_is_passed_on_when_it_changes_only() -> None:
    sink = Sink()
    line = IrqLine(sink, 3)
    for level in (False, True, True, False):
        line.set(level)
    assert sink.seen == [("changed", 3, True), ("changed", 3, False)]


def test_assign_sets_the_level_with_no_edge() -> None:
    sink = Sink()
    line = IrqLine()
    line.connect(sink, 5)
    line.assign(True)
    line.set(True)
    assert sink.seen == [("assigned", 5, True)]
    line.set(False)
    assert sink.seen[1:] == [("changed", 5, False)]


def test_unconnected_line_keeps_its_level() -> None:
    line = IrqLine()
    line.set(True)
    assert line.level
