"""The monitor: every command, and what is said about a wrong one."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from gossamer.front.chardev import Chardev
from gossamer.front.monitor import Monitor
from gossamer.front.vm_protocol import RunnableVm
from tests.front.fakes import FakeVm, MigratingVm, Snapshot


class Screen(Chardev):
    """A device that keeps what is written."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__("test")
        self.is_terminal = terminal
        self.bytes = b""

    @property
    def text(self) -> str:
        return self.bytes.decode("utf-8", "replace")

    def write(self, data: bytes) -> None:
        self.bytes += data


class Bench:
    def __init__(self, *, terminal: bool = False) -> None:
        self.vm: FakeVm = MigratingVm()
        self.protocol: RunnableVm = self.vm
        self.screen = Screen(terminal=terminal)
        self.monitor = Monitor(self.vm, self.screen)

    def __call__(self, line: str) -> str:
        return self.monitor.execute(line)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_greeting_prompt_and_answer_over_a_socket(bench: Bench) -> None:
    bench.screen.opened()
    bench.screen.receive(b"info sta")
    bench.screen.receive(b"tus\r\n\n")
    assert bench.screen.text == (
        "gossamer 0.1.0 monitor, help for help\n(gossamer) "
        "g3beige-1.0: running; 1234 instructions; virtual time 1:02:03.004\n(gossamer) (gossamer) "
    )


def test_quit_gives_no_prompt(bench: Bench) -> None:
    bench.screen.receive(b"quit\n")
    assert bench.vm.run_state == "shutdown"
    assert bench.screen.text == ""


def test_stop_and_cont(bench: Bench) -> None:
    assert bench("stop") == ""
    assert bench.vm.run_state == "paused"
    assert "paused" in bench("info status")
    bench("c")
    assert bench.vm.run_state == "running"


@pytest.mark.parametrize(
    ("line", "done"),
    [
        ("system_reset", "reset"),
        ("system_powerdown", "power_down"),
        ("load 'a file'", ("load", Path("a file"))),
        ("sendkey ctrl-alt-delete", ("keys", "ctrl", "alt", "delete", 100)),
        ("sendkey a 250", ("keys", "a", 250)),
        ("mouse_move 3 -4", ("move", 3, -4, 0)),
        ("mouse_move 0 0 1", ("move", 0, 0, 1)),
        ("mouse_button 5", ("buttons", 5)),
        ("migrate -d tcp:a:1", ("migrate", "tcp:a:1", True)),
        ("migrate exec:cat", ("migrate", "exec:cat", False)),
        ("migrate_cancel", "cancel"),
    ],
)
def test_commands_reach_the_machine(bench: Bench, line: str, done: object) -> None:
    assert bench(line) == ""
    assert bench.vm.done == [done]


def test_snapshots_are_made_listed_loaded_and_removed(bench: Bench) -> None:
    assert bench("info snapshots") == "no snapshots\n"
    assert bench("savevm 'before lunch'") == ""
    assert bench("savevm") == "saved as vm1\n"
    assert bench("savevm") == "saved as vm2\n"
    assert bench("info snapshots") == (
        "ID           TAG  VM SIZE           DATE (UTC)     VM CLOCK  ICOUNT\n"
        "1   before lunch  3.0 MiB  2001-09-09 01:46:40  1:02:03.004      77\n"
        "2            vm1  3.0 MiB  2001-09-09 01:46:40  1:02:03.004      77\n"
        "3            vm2  3.0 MiB  2001-09-09 01:46:40  1:02:03.004      77\n"
    )
    assert bench("loadvm vm1") == ""
    assert bench("delvm vm1") == ""
    assert [s.tag for s in bench.vm.saved] == ["before lunch", "vm2"]
    bench.vm.saved = [Snapshot("1", "old", 2048, 0, 0)]
    assert "2.0 KiB" in bench("info snapshots")


def test_info_topics(bench: Bench) -> None:
    for topic, text in {
        "registers": "r0 00000000\n",
        "pic": "heathrow: mask 0\n",
        "irq": "irq 18: 5\n",
        "qtree": "bus: main\n",
        "mtree": "00000000..07ffffff ram\n",
        "migrate": "no migration\n",
        "name": "g3beige-1.0\n",
        "version": "0.1.0\n",
    }.items():
        assert bench(f"info {topic}") == text
        assert f"info {topic}" in bench("info")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("x 0", "00000000: 0x00010203\n"),
        ("x /2xh 0x10", "00000010: 0x1011 0x1213\n"),
        ("xp /5xw 0xfc", "000000fc: 0xfcfdfeff 0x00010203 0x04050607 0x08090a0b\n"
         "0000010c: 0x0c0d0e0f\n"),
        ("x /2db 0xff", "000000ff: -1 0\n"),
        ("x /2ub 0xff", "000000ff: 255 0\n"),
        ("x /1og 0", f"00000000: {oct(0x1020304050607)}\n"),
        ("x /3c 0x40", "00000040: '@' 'A' 'B'\n"),
        ("x /1c 0x0a", "0000000a: '\\x0a'\n"),
        ("x /4s 0x41", "00000041: ABCD\n"),
        ("x /2i $pc", "00000010: 10111213  .long 0x10111213 @0x10\n"
         "00000014: 14151617  .long 0x14151617 @0x14\n"),
        ("x /1xb $pc + 4 - 0x1", "00000013: 0x13\n"),
        ("p $pc+0x10", "0x00000020 32\n"),
        ("p 0 - 1", "0xffffffff 4294967295\n"),
    ],
)  # fmt: skip
def test_memory_and_expressions(bench: Bench, line: str, text: str) -> None:
    assert bench(line) == text


WRONG = {
    "stpo": "error: no command 'stpo'; did you mean stop?\n",
    "frobnicate": "error: no command 'frobnicate'; help lists the commands\n",
    "loadvm": "usage: loadvm TAG [CLOCK]\n",
    "loadvm a b c": "usage: loadvm TAG [CLOCK]\n",
    "loadvm none": "error: there is no snapshot 'none'\n",
    "savevm ''": "error: a snapshot's name has 1 to 255 printable bytes, got ''\n",
    "savevm '\x07'": "error: a snapshot's name has 1 to 255 printable bytes, got '\\x07'\n",
    "save /no/where/x": "error: /no/where/x: cannot be created: No such file or directory\n",
    "save 'x": "error: No closing quotation\n",
    "info registres": "error: no info registres; did you mean registers?\n",
    "info zzz": "error: no info zzz (there is: block, irq, jit, migrate, mtree, name, pic, qtree, "
    "registers, save, snapshots, status, version)\n",
    "x": "usage: x [/FMT] ADDRESS ...\n",
    "x /8": "error: an address is needed\n",
    "x /8q 0": "error: expected /COUNT, one of x d u o c s i, one of b h w g, got '/8q'\n",
    "x /0x 0": "error: /0x shows 0 bytes; 1 to 65536 can be shown\n",
    "x /99999g 0": "error: /99999g shows 799992 bytes; 1 to 65536 can be shown\n",
    "x 0x": "error: not an address: '0x'\n",
    "x 1 2": "error: not an address: '1 2'\n",
    "x $nip": "error: no register $nip\n",
    "x 0xfffffff0": "error: nothing is mapped at 0xfffffff0\n",
    "sendkey ctrl--x": "error: expected up to 16 key names with - between them, got 'ctrl--x'\n",
    "sendkey a 0": "error: the time must be 1 to 60000, got 0\n",
    "mouse_move a 1": "error: a distance must be a number, got 'a'\n",
    "mouse_button 8": "error: the mask must be 0 to 7, got 8\n",
    "screendump x.gif": "error: x.gif: a picture's name ends in .png or .ppm\n",
    "screendump /no/where.png": "error: /no/where.png: cannot be written: No such file or "
    "directory\n",
    "migrate -x tcp:a:1": "error: expected [-d] URI, got -x tcp:a:1\n",
    "migrate -d": "error: expected [-d] URI, got -d\n",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_command_is_answered(bench: Bench, line: str) -> None:
    assert bench(line) == WRONG[line]
    assert bench.vm.done == []


def test_machine_that_cannot_migrate_says_so() -> None:
    monitor = Monitor(FakeVm(), Screen(terminal=False))
    for line in ("migrate tcp:a:1", "migrate_cancel", "info migrate"):
        assert monitor.execute(line) == "error: migration is not served here\n"


def test_help_names_every_command(bench: Bench) -> None:
    text = bench("help")
    for name in bench.monitor.commands.table:
        assert f"{name} " in text
    assert " ".join(bench("help savevm").split()) == "savevm [TAG] save the machine as a snapshot"


def test_pictures(bench: Bench, tmp_path: Path) -> None:
    bench(f"screendump {tmp_path}/a.ppm")
    assert (tmp_path / "a.ppm").read_bytes() == b"P6\n2 1\n255\n\xff\0\0\0\0\xff"
    bench(f"screendump {tmp_path}/a.PNG")
    data = (tmp_path / "a.PNG").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (2, 1)
    length = struct.unpack(">I", data[33:37])[0]
    assert zlib.decompress(data[41 : 41 + length]) == b"\0\xff\0\0\0\0\xff"
    assert struct.unpack(">I", data[41 + length : 45 + length])[0] == zlib.crc32(
        data[37 : 41 + length]
    )


# --- typing -------------------------------------------------------------------------------------


def typed(data: bytes) -> tuple[str, list[str]]:
    """What a terminal shows after typing, and the commands run."""
    bench = Bench(terminal=True)
    lines: list[str] = []
    bench.monitor.editor.line = lines.append
    bench.screen.receive(data)
    return bench.screen.text, lines


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        (b"stop\r", ["stop"]),
        (b"stpo\b\bop\r", ["stop"]),
        (b"stpo\x7f\x7fop\r\n", ["stop"]),
        (b"junk\x15stop\n", ["stop"]),
        (b"junk\x03stop\n", ["stop"]),
        (b"info junk\x17pic\n", ["info pic"]),
        (b"one\rtwo\r\x1b[A\x1b[A\r", ["one", "two", "one"]),
        (b"one\rtwo\r\x1b[A\x1b[A\x1b[Bx\r", ["one", "two", "twox"]),
        (b"one\r\x1bOA\x1b[B\r", ["one", ""]),
        (b"a\x1b[3~\x1b[1;5Cb\r", ["ab"]),
        (b"\b\b\r", [""]),
        (b"\xc3\xa9\xff\r", ["é�"]),
    ],
)
def test_line_editing(keys: bytes, lines: list[str]) -> None:
    assert typed(keys)[1] == lines


def test_terminal_shows_what_is_typed_and_a_pipe_does_not(bench: Bench) -> None:
    assert typed(b"ab\x7fc\r")[0] == "ab\b \bc\n"
    bench.screen.receive(b"stop\n")
    assert bench.screen.text == "(gossamer) "


def test_endless_line_is_bounded() -> None:
    _, lines = typed(b"x" * 10_000 + b"\r")
    assert [len(line) for line in lines] == [4096]
