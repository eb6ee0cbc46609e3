"""Character devices, the terminal and the console that polls them, on real pseudo-terminals."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.front.chardev import LIMIT, FdChardev, Null
from gossamer.front.console import Console
from gossamer.front.mux import HELP, MOST, Mux
from gossamer.front.open_chardev import open_chardev
from gossamer.front.ptys import PtyChardev
from gossamer.front.signals import held
from gossamer.front.sockets import SocketServer
from gossamer.front.terminal import Terminal
from gossamer.machines.config import Config
from gossamer.migrate.channels import Listener
from tests import ptys
from tests.front.fakes import FakeVm, session_of
from tests.waiting import until

CHECKOUT = Path(__file__).resolve().parents[2]


def console(*serials: str, monitors: tuple[str, ...] = ()) -> Console:
    return Console(Config(serials=serials, monitors=monitors))


# --- opening ------------------------------------------------------------------------------------

WRONG = {
    "frob": "unknown character device 'frob' (there is: stdio, null, none, file:PATH, unix:PATH,",
    "file:": "unknown character device 'file:'",
    "telnet:x:1": "unknown character device 'telnet:x:1'",
    "tcp:here": "tcp:here: expected tcp:HOST:PORT",
    "tcp:here:99999999": "tcp:here:99999999: expected tcp:HOST:PORT",
    "unix:a,server=maybe": "unix:a,server=maybe: server=maybe: there is server=on|off and wait=on",
    "unix:a,reconnect=1": "unix:a,reconnect=1: reconnect=1: there is server=on|off and wait=on|off",
    "unix:": "unix:: a socket's path has 1 to 107 bytes",
    "unix:" + "x" * 108: "unix:" + "x" * 108 + ": a socket's path has 1 to 107 bytes",
    "unix:/no/where/socket": "unix:/no/where/socket: cannot connect: No such file or directory",
    "unix:/no/where/socket,server=on": "unix:/no/where/socket,server=on: cannot listen: No such",
    "file:/no/where/log": "/no/where/log: cannot be opened for output: No such file or directory",
}


@pytest.mark.parametrize("spec", WRONG)
def test_wrong_device_is_refused(spec: str) -> None:
    with pytest.raises(GossamerError) as caught:
        open_chardev(spec)
    assert str(caught.value).startswith(WRONG[spec])


def test_refused_device_closes_those_before_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="frob"):
        console(f"unix:{tmp_path}/s,server=on,wait=off", "frob")
    assert not (tmp_path / "s").exists()


def test_none_and_null() -> None:
    assert open_chardev("none") is None
    null = open_chardev("null")
    assert isinstance(null, Null)
    null.write(b"x" * LIMIT)
    assert not null.full
    with console("none", "null") as c:
        for channel in (0, 1, 2):
            c.serial_sink(channel)(b"A")


# --- files and pipes ----------------------------------------------------------------------------


def test_file_gets_every_byte(tmp_path: Path) -> None:
    with console(f"file:{tmp_path}/a,,b") as c:
        sink = c.serial_sink(0)
        for n in range(10_000):
            sink(bytes((n & 0xFF,)))
    assert (tmp_path / "a,b").read_bytes() == bytes(n & 0xFF for n in range(10_000))


def test_case_19_a_full_medium_stops_the_machine_and_loses_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    vm = FakeVm()
    states: list[str] = []

    def speak(ns: int) -> None:
        c.serial_sink(0)(b"A")

    vm.on_slice = speak
    with console("file:/dev/full") as c:

        def look() -> None:
            if vm.run_state == "running":
                c.loop.after(0.01, look)
            else:
                states.append(vm.run_state)
                vm.quit()

        c.loop.after(0.3, look)
        assert c.run(session_of(vm)) == 0
        assert states == ["io-error"]
        device = c.devices[0]
        assert bytes(device.out) == b"A"
        device.out.clear()
    message = "gossamer: /dev/full: cannot be written: No space left on device; cont tries again\n"
    assert capfd.readouterr().err == message


def test_what_a_full_medium_did_not_take_is_an_error_at_the_end() -> None:
    device = open_chardev("file:/dev/full")
    assert device is not None
    device.write(b"x")
    with pytest.raises(HostError, match=r"^/dev/full: cannot be written: No space left on device$"):
        device.close()


def test_slow_reader_makes_the_guest_wait_and_loses_nothing() -> None:
    read, write = os.pipe()
    vm = FakeVm()
    sent = bytearray()
    with console("none") as c:
        device = FdChardev("pipe", -1, write)
        c.add(device)

        def speak(ns: int) -> None:
            assert not c.stalled, "a slice ran while the device was full"
            chunk = bytes([len(sent) & 0xFF]) * 5000
            sent.extend(chunk)
            device.write(chunk)
            if len(sent) >= 400_000:
                vm.quit()

        vm.on_slice = speak
        got = bytearray()
        late = threading.Event()

        def slow() -> None:
            late.wait(600)
            while piece := os.read(read, 65536):
                got.extend(piece)

        reader = threading.Thread(target=slow)
        reader.start()
        held: list[int] = []
        timer = threading.Timer(0.3, lambda: (held.append(len(sent)), late.set()))
        timer.start()
        assert c.run(session_of(vm)) == 0
        until(lambda: not device.out, device.flush)
        os.close(write)
        reader.join(600)
        timer.join()
    os.close(read)
    assert held[0] <= 65536 + LIMIT + 5000, "the guest went on while no reader took it"
    assert got == sent


def test_reader_that_goes_away_does_not_stop_the_guest() -> None:
    read, write = os.pipe()
    os.close(read)
    device = FdChardev("pipe", -1, write)
    device.write(b"x")
    device.flush()
    assert not device.connected
    device.write(b"x" * LIMIT)
    assert not device.full
    os.close(write)


def test_input_waits_for_room_and_comes_in_order() -> None:
    ours, theirs = socket.socketpair()
    vm = FakeVm()
    with ours, theirs, console("null") as c:
        device = FdChardev("socket", theirs.fileno(), theirs.fileno())
        channel = c.channels[0]
        assert channel is not None
        device.receive, device.room = channel.typed.extend, lambda: 256 - len(channel.typed)
        c.add(device)
        c.attach(session_of(vm))
        text = bytes(range(256)) * 8
        ours.sendall(text)
        for _ in range(2000):
            vm.room = 3
            c.poll()
            assert len(channel.typed) <= 256
        assert bytes(byte for _, byte in vm.received) == text
        vm.room = 0
        ours.sendall(b"more")
        c.poll()
        assert bytes(channel.typed) == b"more"


# --- sockets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_case_24_unix_sockets_are_the_owners_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        device = open_chardev(f"unix:{tmp_path}/serial,server=on,wait=off")
        listener = Listener(f"unix:{tmp_path}/incoming")
    finally:
        os.umask(before)
    assert device is not None
    for name in ("serial", "incoming"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    device.close()
    listener.close()


def test_unix_server_serves_one_client_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    vm = FakeVm()
    with console("null", monitors=(f"unix:{path},server=on,wait=off",)) as c:
        c.attach(session_of(vm))
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"info name\n")
                client.shutdown(socket.SHUT_WR)
                client.setblocking(False)
                got = bytearray()

                def answered(client: socket.socket = client, got: bytearray = got) -> bool:
                    with contextlib.suppress(BlockingIOError):
                        piece = client.recv(100)
                        got.extend(piece)
                        return not piece
                    return False

                until(answered, c.poll)
            assert got.endswith(b"(gossamer) g3beige-1.0\n(gossamer) ")
            assert got.startswith(b"gossamer 0.1.0 monitor")
    assert not path.exists()


def test_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    device = open_chardev(f"unix:{path},server,nowait")
    assert isinstance(device, SocketServer)
    assert not device.waiting
    with pytest.raises(HostError, match="cannot listen: Address already in use"):
        open_chardev(f"unix:{path},server=on")
    device.close()
    path.write_text("precious")
    with pytest.raises(HostError, match="cannot listen: Address already in use"):
        open_chardev(f"unix:{path},server=on")
    assert path.read_text() == "precious"


def test_tcp_both_ways() -> None:
    server = open_chardev("tcp:127.0.0.1:0,server=on")
    assert isinstance(server, SocketServer)
    assert server.waiting
    client = open_chardev(f"tcp:127.0.0.1:{server.port}")
    assert client is not None
    with contextlib.closing(server), contextlib.closing(client):
        server.handle(server.listener.fileno(), select.POLLIN)
        assert not server.waiting
        got: list[bytes] = []
        server.receive = got.append
        client.write(b"ping")
        client.flush()
        (fd,) = server.events()
        until(lambda: got, lambda: server.handle(fd, select.POLLIN))
        assert got == [b"ping"]
        client.close()
        until(lambda: not server.connected, lambda: server.handle(fd, select.POLLIN))
        server.write(b"lost")
        assert not server.out


def test_machine_waits_for_the_first_client(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    vm = FakeVm()
    vm.on_slice = lambda ns: vm.quit()
    with console(f"unix:{path},server=on") as c:
        client = socket.socket(socket.AF_UNIX)
        timer = threading.Timer(0.2, lambda: client.connect(str(path)))
        began = time.monotonic()
        timer.start()
        assert c.run(session_of(vm)) == 0
        assert time.monotonic() - began >= 0.19
        timer.join()
        client.close()
    assert f"gossamer: waiting for unix:{path},server=on" in capfd.readouterr().err


# --- pseudo-terminals ---------------------------------------------------------------------------


@pytest.mark.skipif(not ptys.there(), reason="this host has no pseudo-terminals")
def test_pty_can_be_opened_left_and_opened_again(capfd: pytest.CaptureFixture[str]) -> None:
    vm = FakeVm()
    with console("pty") as c:
        device = c.devices[0]
        assert isinstance(device, PtyChardev)
        assert f"character device redirected to {device.pty_path}" in capfd.readouterr().err
        c.attach(session_of(vm))
        sink = c.serial_sink(0)
        sink(b"A")
        assert not device.out, "no peer is there"
        for _ in range(2):
            vm.received.clear()
            vm.room = 99
            user = os.open(device.pty_path, os.O_RDWR | os.O_NOCTTY)
            sink(b"B")
            device.flush()
            assert os.read(user, 9) == b"B"
            os.write(user, b"hi")
            until(lambda: len(vm.received) == 2, c.poll)
            os.close(user)
            until(lambda: not device.connected, c.poll)


# --- mux ----------------------------------------------------------------------------------------


def test_mux_escapes() -> None:
    ended: list[bool] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        device = FdChardev("test", theirs.fileno(), theirs.fileno())
        mux = Mux(device, end=lambda: ended.append(True))
        serial, monitor = bytearray(), bytearray()
        mux.serial.receive, mux.monitor.receive = serial.extend, monitor.extend
        mux.monitor.opened = lambda: mux.monitor.write(b"> ")
        device.receive(b"a\x01\x01b\x01")
        assert (bytes(serial), bytes(monitor)) == (b"a\x01b", b"")
        device.receive(b"cquit\x01cx\x01zy")
        assert (bytes(serial), bytes(monitor)) == (b"a\x01bxy", b"quit")
        device.receive(b"\x01h")
        assert device.out.decode() == "> \n" + HELP
        assert not ended
        device.receive(b"\x01x")
        assert ended
        mux.serial.room = lambda: 0
        assert device.room() == 1, "the escape key must get through"


def test_mux_keeps_what_was_typed_behind_lines_for_the_monitor() -> None:
    mux = Mux(Null("test"), end=lambda: None)
    serial = bytearray()
    mux.serial.receive = serial.extend
    mux.device.receive(b"a\x01c")
    mux.monitor.queued = True
    mux.device.receive(b"loadvm one\n\x01cbc")
    assert serial == b"a", "the loadvm has not begun"
    mux.monitor.queued = False
    assert serial == b"abc"


def test_mux_keeps_a_bounded_number_of_bytes_for_a_guest_that_takes_none() -> None:
    mux = Mux(Null("test"), end=lambda: None)
    serial = bytearray()
    mux.serial.receive = serial.extend
    mux.serial.room = lambda: -len(serial)
    for _ in range(3 * MOST):
        mux.device.receive(b"x")
    assert len(serial) == MOST


# --- the terminal -------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: our end, and the end a program has."""
    master, slave = ptys.opened()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_terminal_is_raw_inside_and_restored_outside(terminal: tuple[int, int]) -> None:
    _, slave = terminal
    before = termios.tcgetattr(slave)
    with Terminal(slave):
        lflag = termios.tcgetattr(slave)[3]
        assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert termios.tcgetattr(slave) == before
    with Terminal(slave, signals=True) as it:
        assert termios.tcgetattr(slave)[3] & termios.ISIG
        it.restore()
        it.restore()
    assert termios.tcgetattr(slave) == before


def test_what_is_no_terminal_is_left_alone() -> None:
    read, write = os.pipe()
    with Terminal(read) as it:
        assert not it.is_terminal
    os.close(read)
    os.close(write)


PROGRAM = """
    import ctypes, os, signal, sys, time
    from gossamer.front.console import Console
    from gossamer.machines.config import Config
    from tests.front.fakes import FakeVm, session_of

    how = sys.argv[1]
    vm = FakeVm()
    vm.idle_until_ns = 1 << 62
    console = Console(Config(serials=("mon:stdio" if how != "signals" else "stdio",)))
    def speak(ns):
        if not vm.done:
            console.serial_sink(0)(b"ready")
            vm.done.append(1)
        elif how == "raise" and vm.received:
            raise RuntimeError("a bug")
        elif how == "abort" and vm.received:
            os.abort()
        elif how == "segv" and vm.received:
            ctypes.string_at(0)
    vm.on_slice = speak
    if how in ("raise", "abort", "segv"):
        vm.idle_until_ns = 0
    with console:
        sys.exit(console.run(session_of(vm)))
"""


class Program:
    """A console with a fake machine in a process of its own, on a terminal of its own."""

    def __init__(self, master: int, slave: int, how: str) -> None:
        self.master, self.slave = master, slave
        self.before = termios.tcgetattr(slave)

        def own_terminal() -> None:
            os.setsid()
            import fcntl

            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        env = os.environ | {"PYTHONPATH": f"{CHECKOUT}/src:{CHECKOUT}"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), how],
            stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=env, preexec_fn=own_terminal,
        )  # fmt: skip
        self.shown = b""
        self.see(b"ready")
        assert not termios.tcgetattr(slave)[3] & termios.ECHO

    def see(self, text: bytes) -> None:
        end = time.monotonic() + 900
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            assert self.process.poll() is None, self.process.communicate()[1]
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 4096)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> tuple[int, str]:
        """Exit status and stderr; by then, or soon, the terminal must be as it was."""
        said = self.process.communicate(timeout=900)[1].decode()
        until(lambda: termios.tcgetattr(self.slave) == self.before)
        return self.process.returncode, said


@pytest.mark.parametrize(
    ("how", "send", "status", "said"),
    [
        ("mux", b"\x01x", 0, ""),
        ("mux", b"\x01cquit\r", 0, ""),
        ("signals", b"\x03", 130, ""),
        ("signals", b"\x1c", 0, "gossamer: ended by SIGQUIT"),
        ("mux", signal.SIGINT, 130, ""),
        ("mux", signal.SIGTERM, 0, "gossamer: ended by SIGTERM"),
        ("mux", signal.SIGHUP, 0, "gossamer: ended by SIGHUP"),
        ("mux", signal.SIGKILL, -9, ""),
        ("raise", b"k", 1, "RuntimeError: a bug"),
        ("abort", b"k", -6, ""),
        ("segv", b"k", -11, ""),
    ],
)
def test_terminal_is_restored_however_the_program_ends(
    terminal: tuple[int, int], how: str, send: bytes | signal.Signals, status: int, said: str
) -> None:
    program = Program(*terminal, how)
    if isinstance(send, bytes):
        program.type(send)
    else:
        program.process.send_signal(send)
    ended, stderr = program.end()
    assert ended == status
    assert said in stderr
    assert bool(said) == bool(stderr)


def test_keys_reach_the_guest_and_the_monitor_shares_the_screen(terminal: tuple[int, int]) -> None:
    program = Program(*terminal, "mux")
    program.type(b"\x03")  # for the guest, not for us
    program.type(b"\x01c")
    program.see(b"(gossamer) ")
    program.type(b"info name\r")
    program.see(b"info name\r\ng3beige-1.0\r\n(gossamer) ")
    program.type(b"\x01x")
    assert program.end() == (0, "")


def test_stopped_by_the_shell_the_terminal_is_restored_meanwhile(
    terminal: tuple[int, int],
) -> None:
    program = Program(*terminal, "signals")
    program.type(b"\x1a")
    pid, status = os.waitpid(program.process.pid, os.WUNTRACED)
    assert pid
    assert os.WIFSTOPPED(status)
    assert termios.tcgetattr(program.slave) == program.before
    program.process.send_signal(signal.SIGCONT)
    until(lambda: not termios.tcgetattr(program.slave)[3] & termios.ECHO)
    program.type(b"\x03")
    assert program.end()[0] == 130


def test_second_interrupt_ends_a_slice_that_hangs(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossamer.front.signals.PATIENCE_S", -1)
    vm = FakeVm()

    def hang(ns: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    vm.on_slice = hang
    before = signal.getsignal(signal.SIGINT)
    with console("null") as c, pytest.raises(KeyboardInterrupt):
        c.run(session_of(vm))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGINT, signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT, signal.SIGINT),
        (signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    ],
)
def test_case_9_signals_in_a_row_end_the_run_between_two_slices(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch, numbers: tuple[signal.Signals, ...]
) -> None:
    monkeypatch.setattr("gossamer.front.signals.PATIENCE_S", 3600)
    vm, ended = FakeVm(), []

    def slice_(ns: int) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)
        ended.append("whole")

    vm.on_slice = slice_
    with console("null") as c:
        assert c.run(session_of(vm)) in (0, 130)
    assert ended == ["whole"]


def test_a_signal_behind_the_end_does_not_change_the_status() -> None:
    """QEMU's tests send SIGTERM behind quit, and expect 0."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    vm = FakeVm()
    vm.on_slice = lambda ns: vm.quit()
    try:
        with console("null") as c:
            c.end_with_process()
            assert c.run(session_of(vm)) == 0
            with held():
                pass
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 4
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_machine_in_a_thread_of_its_own_ends_by_signals_of_the_main_thread() -> None:
    vm = FakeVm()
    before = signal.getsignal(signal.SIGTERM)
    seen: list[int] = []

    def slice_(ns: int) -> None:
        seen.append(threading.get_native_id())
        os.kill(os.getpid(), signal.SIGTERM)
        vm.idle_until_ns = time.monotonic_ns() + 60_000_000_000

    vm.on_slice = slice_
    with console("null") as c:
        assert c.beside(lambda: c.run(session_of(vm))) == 0
    assert seen[0] != os.getpid()
    assert signal.getsignal(signal.SIGTERM) is before
    with console("null") as c, pytest.raises(ConfigError, match="a fault"):
        c.beside(lambda: refuse("a fault"))


def refuse(text: str) -> int:
    raise ConfigError(text)


def test_case_9_signals_while_the_disks_are_written_out_are_held(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with held():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        done = True
    assert done
    assert capfd.readouterr().err.count("the disks are being written out, please wait") == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_idle_guest_sleeps_and_wakes_for_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossamer.front.loop.LONGEST_WAIT_S", 3600)
    slices: list[float] = []
    ours, theirs = socket.socketpair()
    vm = FakeVm()
    with ours, theirs, console("null") as c:
        device = FdChardev("socket", theirs.fileno(), theirs.fileno())
        c.add(device)

        def run(ns: int) -> None:
            slices.append(time.monotonic())
            wait = 300_000_000 if len(slices) == 1 else 3_600_000_000_000
            vm.idle_until_ns = time.monotonic_ns() + wait
            if len(slices) == 3:
                vm.quit()

        vm.on_slice = run

        def type_later() -> None:
            until(lambda: len(slices) == 2)
            ours.send(b"x")

        typist = threading.Thread(target=type_later)
        typist.start()
        c.run(session_of(vm))
        typist.join()
    assert slices[1] - slices[0] >= 0.29
    assert slices[2] - slices[1] < 3000, "input must wake the guest before its time"


def test_checkstop_is_reported_once(capfd: pytest.CaptureFixture[str]) -> None:
    vm = FakeVm()

    def stop(ns: int) -> None:
        vm.run_state = "internal-error"
        c.loop.after(0.01, lambda: os.kill(os.getpid(), signal.SIGTERM))

    vm.on_slice = stop
    with console("null") as c:
        assert c.run(session_of(vm)) == 0
    assert capfd.readouterr().err == (
        "gossamer: the guest's CPU has stopped (checkstop); the monitor can look at it\n"
        "gossamer: ended by SIGTERM\n"
    )
