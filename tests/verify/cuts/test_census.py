"""The census: a machine that runs has no state but what is declared."""

from __future__ import annotations

import pytest

from gossamer import cli
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
    told = capsys.readouterr().out
    assert told.startswith("moments=25 values=")
    assert told.endswith(" undeclared=0\n")


def findings(plan: Plan) -> list[str]:
    told: list[str] = []
    values, count = census.take(plan, 1, told.append)
    assert values > 100
    assert count == len(told)
    return [line.partition(": ")[2] for line in told]


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
def test_change_is_told(before: dict[str, object], after: dict[str, object], line: str) -> None:
    assert census.changed(before, after) == [line]
