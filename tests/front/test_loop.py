"""The loop: sources, timers, steps, threads; a machine that waits for another, and its monitor."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.base.errors import HostError
from gossamer.base.units import MiB
from gossamer.control.session import Session
from gossamer.control.steps import InThread, Steps, Wait, finish
from gossamer.control.vm import Vm
from gossamer.core import host
from gossamer.front import session as front_session
from gossamer.front.console import Console
from gossamer.front.loop import Loop
from gossamer.machines.config import Config
from tests import waiting


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def until(claim: Callable[[], object], loop: Loop) -> None:
    waiting.until(claim, lambda: loop.poll(0.01), pause=0)


def test_timers_fire_in_order_and_may_be_cancelled(loop: Loop) -> None:
    fired: list[int] = []
    loop.after(0.02, lambda: fired.append(2))
    loop.after(0.01, lambda: fired.append(1))
    loop.after(0.015, lambda: fired.append(3)).cancel()
    until(lambda: len(fired) == 2, loop)
    assert fired == [1, 2]


def test_post_from_another_thread_wakes_a_long_wait(loop: Loop) -> None:
    seen: list[threading.Thread] = []
    threading.Timer(0.1, lambda: loop.post(lambda: seen.append(threading.current_thread()))).start()
    began = time.monotonic()
    loop.poll(300)
    assert time.monotonic() - began < 150
    assert seen == [threading.current_thread()]


def story(reading: int, log: list[object]) -> Steps[str]:
    log.append((yield Wait(read=(reading,), until_ns=host.monotonic_ns() + 5_000_000)))
    log.append((yield Wait(read=(reading,))))
    log.append(os.read(reading, 9))
    log.append((yield InThread(lambda: threading.current_thread() is threading.main_thread())))
    try:
        yield InThread(lambda: 1 // 0)
    except ZeroDivisionError:
        log.append("raised")
    return "end"


def test_steps_wait_for_time_files_and_threads(loop: Loop) -> None:
    reading, writing = os.pipe()
    log: list[object] = []
    task = loop.spawn(story(reading, log))
    until(lambda: log == [False], loop)
    os.write(writing, b"x")
    until(lambda: task.over, loop)
    expected = [False, True, b"x", False, "raised"]
    assert log == expected
    again: list[object] = []

    def write() -> None:
        waiting.until(lambda: again == [False])
        os.write(writing, b"x")

    writer = threading.Thread(target=write)
    writer.start()
    assert finish(story(reading, again)) == "end"
    assert again == expected
    writer.join()
    for fd in (reading, writing):
        os.close(fd)


def test_what_steps_raise_comes_out_of_the_loop(loop: Loop) -> None:
    def bad() -> Steps[None]:
        yield Wait(until_ns=0)
        raise HostError("no")

    loop.spawn(bad())
    with pytest.raises(HostError, match="no"):
        loop.poll()
    assert not loop.tasks


def test_task_that_is_given_up_closes_its_steps(loop: Loop) -> None:
    closed: list[bool] = []

    def forever() -> Steps[None]:
        try:
            while True:
                yield Wait()
        finally:
            closed.append(True)

    loop.spawn(forever()).close()
    loop.spawn(forever())
    loop.close()
    assert closed == [True, True]


# --- a machine and its monitor ------------------------------------------------------------------


def config(**kw: object) -> Config:
    return Config(
        machine="bare", bios="builtin", ram_size=4 * MiB, icount=0, icount_sleep=False,
        serials=("null",), **kw,
    )  # fmt: skip


class Run(threading.Thread):
    """`run_machine` with a monitor on a socket; the test is its client."""

    def __init__(self, folder: Path, **kw: object) -> None:
        super().__init__(daemon=True)
        self.path = str(folder / "monitor")
        self.config = config(monitors=(f"unix:{self.path},server=on,wait=off",), **kw)
        self.status: int | BaseException | None = None
        self.start()
        self.client = self.connected()

    def run(self) -> None:
        # Signals belong to the main thread.
        with Console(self.config) as console:
            console._signals.caught = lambda fd: contextlib.nullcontext()  # type: ignore[method-assign,assignment,return-value]
            try:
                self.status = front_session.run_machine(self.config, console)
            except BaseException as fault:
                self.status = fault

    def connected(self) -> socket.socket:
        end = time.monotonic() + 600
        while True:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(self.path)
                break
            except OSError:
                client.close()
                assert time.monotonic() < end
                time.sleep(0.01)
        client.settimeout(600)
        return client

    def ask(self, line: str) -> str:
        self.client.sendall(line.encode() + b"\n")
        return self.answer()

    def answer(self) -> str:
        got = b""
        while not got.endswith(b"(gossamer) "):
            piece = self.client.recv(65536)
            if not piece:
                break
            got += piece
        return got.decode().removesuffix("(gossamer) ")

    def end(self) -> int | BaseException | None:
        self.client.sendall(b"quit\n")
        return self.ended()

    def ended(self) -> int | BaseException | None:
        self.join(600)
        assert not self.is_alive()
        self.client.close()
        return self.status


def test_case_8_the_monitor_answers_while_a_machine_is_waited_for(tmp_path: Path) -> None:
    run = Run(tmp_path, incoming=f"unix:{tmp_path}/m")
    run.answer()
    assert "VM status: paused (inmigrate)" in run.ask("info status")
    assert "Migration status: setup" in run.ask("info migrate")
    assert "not while the machine is in state inmigrate" in run.ask("savevm a")
    assert "already been started" in run.ask(f"migrate_incoming unix:{tmp_path}/n")
    assert "waiting for an incoming migration" in run.ask(f"migrate unix:{tmp_path}/m"), "to itself"
    sender = Vm(config())
    sender.run(instructions=20_000)
    sender.migrate(f"unix:{tmp_path}/m")
    end = time.monotonic() + 600
    while "VM status: running" not in run.ask("info status"):
        assert time.monotonic() < end
    assert "received gossamer's stream" in run.ask("info migrate")
    assert run.end() == 0


def test_incoming_may_be_deferred_and_cont_be_said_before(tmp_path: Path) -> None:
    run = Run(tmp_path, incoming="defer", start=False)
    run.answer()
    assert run.ask("cont") == ""
    assert run.ask(f"migrate_incoming unix:{tmp_path}/m") == ""
    sender = Vm(config())
    sender.run(instructions=1000)
    sender.migrate(f"unix:{tmp_path}/m")
    end = time.monotonic() + 600
    while "VM status: running" not in run.ask("info status"):
        assert time.monotonic() < end
    assert run.end() == 0


def test_broken_stream_ends_the_waiting_machine_with_its_reason(tmp_path: Path) -> None:
    run = Run(tmp_path, incoming=f"unix:{tmp_path}/m")
    run.answer()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"{tmp_path}/m")
        peer.sendall(b"not a stream at all")
    fault = run.ended()
    assert "not a QEMU stream" in str(fault)


def test_quit_while_a_machine_is_waited_for(tmp_path: Path) -> None:
    run = Run(tmp_path, incoming=f"unix:{tmp_path}/m")
    run.answer()
    assert run.end() == 0
    assert not (tmp_path / "m").exists()


def test_migrate_in_the_background_can_be_cancelled(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.answer()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.bind(f"{tmp_path}/m")
        peer.listen(1)
        assert run.ask(f"migrate -d unix:{tmp_path}/m") == ""
        taker, _ = peer.accept()  # and does not read
        end = time.monotonic() + 600
        while "Migration status: active" not in run.ask("info migrate"):
            assert time.monotonic() < end
        assert "in progress" in run.ask(f"migrate -d unix:{tmp_path}/m")
        assert run.ask("migrate_cancel") == ""
        while "Migration status: cancelled" not in run.ask("info migrate"):
            assert time.monotonic() < end
        taker.close()
    assert "VM status: running" in run.ask("info status")
    assert run.end() == 0


def test_migrate_waits_for_its_end_and_says_what_it_took(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.answer()
    assert "sent to exec:cat" in run.ask("migrate 'exec:cat > /dev/null'")
    assert "VM status: paused (postmigrate)" in run.ask("info status")
    assert run.ask("cont") == ""
    assert "cannot connect" in run.ask("migrate unix:/no/where")
    assert "VM status: running" in run.ask("info status")
    assert run.end() == 0


def test_case_18_a_client_that_does_not_read_is_bounded_and_gives_way(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.answer()
    run.client.setblocking(False)
    sent, quiet = 0, 0
    while quiet < 20 and sent < 4 << 20:
        try:
            sent += run.client.send(b"info registers\n" * 100)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            select.select([], [run.client], [], 0.05)
    assert sent < 4 << 20, "everything is taken, whether its answers are read or not"
    other = run.connected()
    other.sendall(b"quit\n")
    run.join(600)
    assert not run.is_alive()
    assert run.status == 0
    other.close()
    run.client.close()


def test_keys_are_held_without_stopping_the_loop() -> None:
    vm = Vm(config())
    pressed: list[tuple[int, bool, int]] = []

    class Keyboard:
        def key(self, code: int, down: bool) -> None:
            pressed.append((code, down, vm.clock_ns))

    vm.machine.keyboard = Keyboard()
    session = Session(vm)
    session.vm.send_key(["ctrl", "a"], 20)
    session.vm.send_key(["b"], 30)
    assert [p[:2] for p in pressed] == [(0x36, True), (0, True)]
    vm.run(until_ns=200_000_000)
    ms = 1_000_000
    assert pressed[2:] == [
        (0, False, 20 * ms), (0x36, False, 20 * ms),
        (0x0B, True, 30 * ms), (0x0B, False, 60 * ms),
    ]  # fmt: skip
