"""The bar of slow saves and loads: when it is drawn, that it goes, and where it never is."""

from __future__ import annotations

import os
import re
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console

from gossamer.base.errors import GossamerError, HostError
from gossamer.control.progress import Progress
from gossamer.control.session import Session
from gossamer.control.snapshots import Snapshots
from gossamer.control.vm import Vm
from gossamer.front import progress_bar, progress_view
from gossamer.front.chardev import FdChardev
from gossamer.front.hmp.monitor import Monitor
from gossamer.front.progress_bar import ProgressBar
from gossamer.machines.options import parse
from gossamer.migrate.container_writer import ContainerWriter
from tests import ptys


class Clock:
    """Timers that go off when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None], Clock.Timer]] = []

    class Timer:
        going = False

        def start(self) -> None:
            self.going = True

        def cancel(self) -> None:
            self.going = False

    def timer(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Clock.Timer()
        self.timers.append((self.now + seconds, call, timer))
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for due, call, timer in self.timers:
            if timer.going and due <= self.now:
                timer.going = False
                call()


class Screen:
    """A terminal, and what has been drawn on it."""

    def __init__(self, clock: Clock) -> None:
        self.master, self.slave = ptys.opened()
        self.file: TextIO = os.fdopen(self.slave, "w")
        self.bar = ProgressBar(self.file, timer=clock.timer)
        os.set_blocking(self.master, False)
        self.seen = ""

    def text(self) -> str:
        try:
            while True:
                self.seen += os.read(self.master, 65536).decode()
        except BlockingIOError:
            return self.seen

    def redrawn(self) -> str:
        """What the next picture of the bar says, without colours."""
        self.text()
        self.seen = ""
        assert self.bar._live is not None
        self.bar._live.refresh()
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text())

    @property
    def left(self) -> str:
        """What is on the screen's last line: all that follows the last erasing of a line."""
        return re.sub(r"\x1b\[\?25[lh]", "", self.text().rpartition("\x1b[2K")[2])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def screen(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(clock)
    yield screen
    screen.file.close()
    os.close(screen.master)


def test_a_fast_save_draws_nothing(clock: Clock, screen: Screen) -> None:
    with screen.bar.operation("saving"):
        screen.bar.phase("RAM", 1 << 20)
        clock.advance(0.49)
    clock.advance(10)
    assert screen.text() == ""


def test_a_slow_save_shows_phase_and_bytes_and_goes(clock: Clock, screen: Screen) -> None:
    with screen.bar.operation("saving"):
        screen.bar.phase("RAM", 8 << 20)
        screen.bar.advance(2 << 20)
        clock.advance(0.51)
        assert "saving: RAM" in screen.redrawn()
        screen.bar.advance(1 << 20)
        assert "3.0 of 8.0 MiB" in screen.redrawn()
        screen.bar.phase("writing out")
        assert re.search(r"saving: writing out\b(?!.*MiB)", screen.redrawn())
    assert screen.left == "", "the line has been erased"
    assert screen.text().rfind("\x1b[?25h") > screen.text().rfind("\x1b[?25l"), "cursor is back"
    seen = screen.text()
    clock.advance(10)
    assert screen.text() == seen


def test_cursor_is_not_hidden_while_it_is_drawn(clock: Clock, screen: Screen) -> None:
    with screen.bar.operation("saving"):
        clock.advance(1)
        assert screen.text().rfind("\x1b[?25h") > screen.text().rfind("\x1b[?25l") >= 0


def test_an_error_in_the_middle_clears_it(clock: Clock, screen: Screen) -> None:
    mode = termios.tcgetattr(screen.slave)

    def save() -> None:
        with screen.bar.operation("saving"):
            clock.advance(1)
            assert "saving" in screen.text()
            raise HostError("disk full")

    with pytest.raises(HostError, match="disk full"):
        save()
    assert screen.left == ""
    assert termios.tcgetattr(screen.slave) == mode
    with screen.bar.operation("loading"):  # and the next one is as good as the first
        clock.advance(1)
        assert "loading" in screen.redrawn()


def test_an_operation_inside_another_is_part_of_it(clock: Clock, screen: Screen) -> None:
    with screen.bar.operation("saving"), screen.bar.operation("loading"):
        clock.advance(1)
        assert "saving" in screen.text()
    assert len(clock.timers) == 1


def test_a_begun_line_is_ended_first(clock: Clock, screen: Screen) -> None:
    screen.bar._settle = lambda: True
    with screen.bar.operation("saving"):
        clock.advance(1)
    assert screen.text().startswith("\r\n")


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_nothing_on_a_terminal_that_cannot(
    term: str, clock: Clock, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    with screen.bar.operation("saving"):
        clock.advance(1)
    assert screen.text() == ""


def test_nothing_without_a_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    pipe = StringIO()
    with ProgressBar(pipe, timer=clock.timer).operation("saving"):
        clock.advance(1)
    assert (pipe.getvalue(), clock.timers) == ("", [])


def test_nothing_in_the_background(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    assert not progress_bar.may_draw(screen.file)
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())
    assert progress_bar.may_draw(screen.file)


def test_thread_timer_draws_while_the_machine_is_busy(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "DELAY_S", 0.01)
    bar = ProgressBar(screen.file)
    with bar.operation("saving"):
        end = time.monotonic() + 900
        while bar._live is None:
            assert time.monotonic() < end, "it was never drawn"
    screen.bar = bar
    assert "saving" in screen.text()
    assert screen.left == ""


@pytest.mark.parametrize("width", [120, 80, 60, 40, 20])
def test_it_is_one_line_on_every_terminal(width: int) -> None:
    out = StringIO()
    console = Console(file=out, width=width)
    console.print(progress_view.row("sending to exec:cat>file: waiting for the receiver", 0, None))
    console.print(progress_view.row("saving: RAM", 200 << 20, 512 << 20))
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    assert lines[1].startswith("saving: RAM" if width > 20 else "savi")


def test_amounts() -> None:
    assert progress_view.amount(0, None) == ""
    assert progress_view.amount(3 << 19, None) == "1.5 MiB"
    assert progress_view.amount(0, 1 << 20) == "0.0 of 1.0 MiB"


# --- what a machine reports -----------------------------------------------------------------------


class Reported(Progress):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int | None]] = []
        self.done: list[int] = []
        self.calls = 0
        self.open = 0

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        self.phases.append((name, None))
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def phase(self, name: str, total: int | None = None) -> None:
        self.phases.append((name, total))
        self.done.append(0)

    def advance(self, done: int) -> None:
        assert self.open == 1
        self.done[-1] += done
        self.calls += 1


@pytest.fixture
def machine() -> Vm:
    vm = Vm(parse(["-M", "bare", "-m", "16", "-nographic", "-serial", "null"]))
    vm.write_physical(0x10_0000, os.urandom(4 << 20))
    vm.progress = Reported()
    return vm


def test_a_save_and_a_load_report_every_byte_of_ram(machine: Vm, tmp_path: Path) -> None:
    reported = machine.progress
    assert isinstance(reported, Reported)
    ram = machine.machine.arena.bytes_of(machine.machine.arena.blocks[0]).nbytes
    total = sum(block.size for block in machine.machine.arena.blocks)
    assert total >= ram == 16 << 20
    machine.save(tmp_path / "x")
    assert reported.phases == [("saving", None), ("RAM", total), ("writing out", None)]
    assert reported.done == [total, 0]
    assert reported.calls < 64, "once a chunk, not once a page"
    machine.progress = reported = Reported()
    machine.restore(tmp_path / "x")
    assert reported.phases == [("loading", None), ("RAM", total)]
    assert reported.done == [total]
    assert reported.calls < 64


def test_overlays_are_reported_as_disks(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(8 << 20))
    words = ["-M", "g3beige", "-bios", "builtin", "-m", "8", "-nographic", "-serial", "null"]
    vm = Vm(parse([*words, "-hda", str(disk), "-snapshot"]))
    (_, image), *_ = vm.disks.captured
    image.write(0, os.urandom(3 << 20))
    vm.progress = reported = Reported()
    vm.save(tmp_path / "x")
    assert ("disks", 3 << 20) in reported.phases
    at = reported.phases[1:].index(("disks", 3 << 20))
    assert reported.done[at] >= 3 << 20
    vm.progress = reported = Reported()
    vm.restore(tmp_path / "x")
    name, total = reported.phases[1]
    assert (name, reported.done[0]) == ("disks", total)
    vm.disks.abandon()


def test_a_failing_save_ends_its_operation(
    machine: Vm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: ContainerWriter) -> None:
        raise HostError("no room")

    monkeypatch.setattr(ContainerWriter, "commit", refuse)
    with pytest.raises(GossamerError):
        machine.save(tmp_path / "x")
    assert isinstance(machine.progress, Reported)
    assert machine.progress.open == 0


def test_savevm_in_a_monitor_draws_beside_the_console_not_into_it(
    machine: Vm, clock: Clock, screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    machine.snapshot_store = Snapshots(machine.config)
    commit = ContainerWriter.commit

    def slow(self: ContainerWriter) -> object:
        clock.advance(3)
        return commit(self)

    monkeypatch.setattr(ContainerWriter, "commit", slow)
    reading, writing = os.pipe()
    pipe = FdChardev("pipe", -1, writing)
    machine.progress = screen.bar
    monitor = Monitor(Session(machine), pipe)
    assert monitor.execute("savevm one") == ""
    assert "saving: writing out" in screen.text()
    assert screen.left == ""
    os.set_blocking(reading, False)
    pipe.flush()
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    for fd in (reading, writing):
        os.close(fd)


def test_devices_know_whether_a_line_is_begun() -> None:
    reading, writing = os.pipe()
    device = FdChardev("pipe", -1, writing)
    for text, begun in ((b"guest# ", True), (b"ls\n", False), (b"a\r", False)):
        device.write(text)
        device.flush()
        assert device.mid_line == begun
    for fd in (reading, writing):
        os.close(fd)
