"""The census: a machine that runs has no state but what is declared."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from gossamer import cli
from gossamer.core.irq import IrqLine
from gossamer.devices.console_port import ConsolePort
from gossamer.verify.cuts import census
from gossamer.verify.cuts.guests import Plan, config_for, guest_named, scout


@pytest.fixture(scope="module")
def plan() -> Plan:
    guest = guest_named("builtin", None, None)
    return scout(guest, config_for(guest, "bare", "2M", 5), lambda text: None)


@pytest.mark.parametrize("machine", ["bare", "g3beige", "mac99"])
def test_nothing_undeclared_changes(machine: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-M", machine, "--guest", "builtin", "--census"]
    assert cli.main(["verify", "cuts", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("moments=25 values=")
    assert printed.endswith(" undeclared=0\n")


def findings(plan: Plan) -> list[str]:
    reported: list[str] = []
    values, count = census.take(plan, 1, reported.append)
    assert values > 100
    assert count == len(reported)
    return [line.partition(": ")[2] for line in reported]


def test_state_in_a_wiring_attribute_is_found(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ConsolePort.read

    def counted(self: ConsolePort, offset: int, size: int) -> int:
        self.instance += 1
        return read(self, offset, size)

    monkeypatch.setattr(ConsolePort, "read", counted)
    assert any(line.startswith("console.instance: was 0, is ") for line in findings(plan))


def test_state_inside_a_container_is_found(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ConsolePort.read
    monkeypatch.setattr(ConsolePort, "path", property(lambda self: hidden, lambda self, v: None))
    hidden: list[int] = [0]

    def counted(self: ConsolePort, offset: int, size: int) -> int:
        hidden[0] += 1
        return read(self, offset, size)

    monkeypatch.setattr(ConsolePort, "read", counted)
    assert any(line.startswith("console.path[0]: was 0, is ") for line in findings(plan))


def hide(monkeypatch: pytest.MonkeyPatch, hidden: object, count: Callable[[], object]) -> None:
    """Plant a chip that leads to `hidden` and counts its reads there."""
    read = ConsolePort.read
    monkeypatch.setattr(ConsolePort, "path", property(lambda self: hidden, lambda self, v: None))

    def counted(self: ConsolePort, offset: int, size: int) -> int:
        count()
        return read(self, offset, size)

    monkeypatch.setattr(ConsolePort, "read", counted)


def test_state_in_a_set_a_queue_or_an_array_is_found(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for make, change in (
        (set, lambda held: held.add(len(held))),
        (deque, lambda held: held.append(1)),
        (lambda: np.zeros(3), lambda held: held.__iadd__(1)),
    ):
        with monkeypatch.context() as planted:
            held = make()
            hide(planted, held, partial(change, held))
            assert any(line.startswith("console.path: was ") for line in findings(plan)), make


def test_state_in_a_closure_or_a_partial_is_found(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [0]

    def count() -> None:
        counts[0] += 1

    for hidden, path in ((count, "console.path(counts)[0]"), (partial(print, counts), ".args[0]")):
        with monkeypatch.context() as planted:
            hide(planted, hidden, count)
            assert any(f"{path}" in line.partition(": was ")[0] for line in findings(plan))


def test_state_in_a_variable_of_a_module_is_found(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gossamer.devices import console_port

    reads: dict[int, int] = {}
    monkeypatch.setattr(console_port, "reads", reads, raising=False)
    hide(monkeypatch, None, lambda: reads.update({0: reads.get(0, 0) + 1}))
    found = findings(plan)
    assert any(line.startswith("gossamer.devices.console_port.reads") for line in found)


def test_state_in_an_object_of_the_core_is_found(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = IrqLine()
    hide(monkeypatch, line, lambda: setattr(line, "pin", line.pin + 1))
    assert any(found.startswith("console.path.pin: was 0") for found in findings(plan))


def test_line_that_a_load_does_not_drive_is_found(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ConsolePort.read

    def stuck(self: ConsolePort, offset: int, size: int) -> int:
        self.irq.level = True
        return read(self, offset, size)

    monkeypatch.setattr(ConsolePort, "read", stuck)
    assert "console.irq: True running, False after a load" in findings(plan)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({"a": 1}, {"a": 2}, "a: was 1, is 2, and is declared as wiring"),
        ({}, {"a": 2}, "a: was absent, is 2, and is declared as wiring"),
        ({"a": 2}, {}, "a: was 2, is absent, and is declared as wiring"),
    ],
)
def test_change_is_reported(before: dict[str, object], after: dict[str, object], line: str) -> None:
    assert census.changed(before, after) == [line]
