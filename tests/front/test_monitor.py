"""The monitor: every command, and what is said about a wrong one."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, HostError
from gossamer.base.units import MiB
from gossamer.control.commands.rows import TABLE
from gossamer.control.picture import Picture, write_picture
from gossamer.control.session import Session
from gossamer.control.snapshots import SnapshotEntry
from gossamer.control.vm import Vm
from gossamer.front.chardev import Chardev
from gossamer.front.hmp import texts
from gossamer.front.hmp.monitor import Monitor
from gossamer.front.hmp.rows import ROWS, find
from gossamer.machines.config import Config


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
    """A monitor on a machine with 4 MiB of RAM that has not run; bytes 0, 1, 2 … from address 0."""

    def __init__(self, *, terminal: bool = False) -> None:
        config = Config(
            machine="bare", bios="builtin", ram_size=4 * MiB, icount=0, icount_sleep=False
        )
        self.vm = Vm(config)
        self.vm.write_physical(0, bytes(range(256)) * 16)
        self.screen = Screen(terminal=terminal)
        self.monitor = Monitor(Session(self.vm), self.screen)

    def __call__(self, line: str) -> str:
        return self.monitor.execute(line)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Bench()


def test_greeting_prompt_and_answer_over_a_socket(bench: Bench) -> None:
    bench.screen.opened()
    bench.screen.receive(b"info sta")
    bench.screen.receive(b"tus\r\n\n")
    assert bench.screen.text == (
        "gossamer 0.1.0 monitor, help for help\n(gossamer) "
        "VM status: paused (prelaunch)\n0 instructions; virtual time 0:00:00.000\n"
        "(gossamer) (gossamer) "
    )


def test_quit_gives_no_prompt(bench: Bench) -> None:
    bench.screen.receive(b"quit\n")
    assert bench.vm.ended
    assert bench.screen.text == ""


def test_migrate_says_what_the_receiver_will_lose_before_it_connects(bench: Bench) -> None:
    lost = "the receiver will lose: console: QEMU 7.2 has no section gossamer-console: all of its"
    said = bench("migrate qemu-7.2+unix:/no/where")
    assert said.startswith(lost)
    assert "cannot connect" in said.splitlines()[-1]
    bench.screen.receive(b"migrate -d qemu-7.2+unix:/no/where\n")
    assert bench.screen.text.startswith(lost)
    assert "will lose" not in bench("migrate unix:/no/where")


def test_stop_and_cont(bench: Bench) -> None:
    assert bench("c") == ""
    assert bench.vm.run_state == "running"
    assert bench("stop") == ""
    assert "VM status: paused" in bench("info status")


def test_sendkey_names_and_times() -> None:
    given = find(["sendkey"])[0]
    assert dict(given.arguments(given.matched(["ctrl-a", "250"]))) == {
        "keys": [{"type": "qcode", "data": "ctrl"}, {"type": "qcode", "data": "a"}],
        "hold-time": 250,
    }


def test_saved_to_a_file_and_back(bench: Bench, tmp_path: Path) -> None:
    before = bench.vm.state_hash()
    assert bench(f"save '{tmp_path}/a file'") == ""
    bench.vm.write_physical(0, b"x")
    assert bench(f"load '{tmp_path}/a file'") == ""
    assert bench.vm.state_hash() == before


def test_snapshots_are_made_listed_loaded_and_removed(bench: Bench) -> None:
    assert bench("info snapshots") == "no snapshots\n"
    assert bench("savevm before-lunch") == ""
    assert bench("savevm") == "saved as vm1\n"
    assert bench("savevm") == "saved as vm2\n"
    head, *lines = bench("info snapshots").splitlines()
    assert head.split() == ["ID", "TAG", "VM", "SIZE", "DATE", "(UTC)", "VM", "CLOCK", "ICOUNT"]
    assert [line.split()[1] for line in lines] == ["before-lunch", "vm1", "vm2"]
    assert bench("loadvm vm1") == ""
    assert bench("delvm vm1") == ""
    assert [s.tag for s in bench.vm.snapshots()] == ["before-lunch", "vm2"]


def test_snapshots_in_columns() -> None:
    found = [SnapshotEntry("1", "old", 3 << 20, 10**18, 3_723_004_000_000, 77)]
    assert texts.snapshots(found) == (
        "ID  TAG  VM SIZE           DATE (UTC)     VM CLOCK  ICOUNT\n"
        "1   old  3.0 MiB  2001-09-09 01:46:40  1:02:03.004      77\n"
    )
    assert texts.size_text(2048) == "2.0 KiB"


def test_info_topics(bench: Bench) -> None:
    for topic, text in {
        "registers": "LR 00000000 CTR 00000000",
        "irq": "external       0\n",
        "pic": "no controller\n",
        "qtree": 'timer: Timer  section "timer" version ',
        "mtree": "00000000-003fffff ram ",
        "migrate": "no migration yet\n",
        "block": "no drives\n",
        "jit": "",
        "name": "bare-1.0\n",
        "version": "gossamer 0.1.0\n",
    }.items():
        assert text in bench(f"info {topic}"), topic
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
        ("x /1i 0x10", "00000010: 10111213  .long 0x10111213\n"),
        ("x /1xb $pc - 0xed", "00000013: 0x13\n"),
        ("p $pc+0x10", "0x00000110 272\n"),
        ("p 0 - 1", "0xffffffff 4294967295\n"),
    ],
)  # fmt: skip
def test_memory_and_expressions(bench: Bench, line: str, text: str) -> None:
    bench.vm.machine.cpu.block.set("nia", 0x100)
    assert bench(line) == text


WRONG = {
    "stpo": "error: no command 'stpo'; did you mean stop?\n",
    "frobnicate": "error: no command 'frobnicate'; help lists the commands\n",
    "loadvm": "usage: loadvm TAG [CLOCK]\n",
    "loadvm a b c": "usage: loadvm TAG [CLOCK]\n",
    "savevm ''": "error: a snapshot's name has 1 to 255 printable bytes, got ''\n",
    "savevm '\x07'": "error: a snapshot's name has 1 to 255 printable bytes, got '\\x07'\n",
    "save /no/where/x": "error: /no/where/x: cannot be created: No such file or directory\n",
    "save 'x": "error: No closing quotation\n",
    "info registres": "error: no info registres; did you mean registers?\n",
    "x": "usage: x [/FMT] ADDRESS ...\n",
    "x /8": "error: an address is needed\n",
    "x /8q 0": "error: expected /COUNT, one of x d u o c s i, one of b h w g, got '/8q'\n",
    "x /0x 0": "error: /0x shows 0 bytes; 1 to 65536 can be shown\n",
    "x /99999g 0": "error: /99999g shows 799992 bytes; 1 to 65536 can be shown\n",
    "x 0x": "error: not an address: '0x'\n",
    "x 1 2": "error: not an address: '1 2'\n",
    "x $nop": "error: no register $nop\n",
    "sendkey ctrl--x": "error: expected up to 16 key names with - between them, got 'ctrl--x'\n",
    "sendkey a 0": "error: the time must be 1 to 60000, got 0\n",
    "sendkey a": "error: bare-1.0 has no keyboard\n",
    "mouse_move a 1": "error: DX must be a number, got 'a'\n",
    "mouse_move 5000 1": "error: a distance must be -4096 to 4096, got 5000\n",
    "mouse_move 3 -4 1": "error: bare-1.0 has no mouse\n",
    "mouse_button 8": "error: the mask must be 0 to 7, got 8\n",
    "screendump x.gif": "error: x.gif: a picture's name ends in .png or .ppm\n",
    "screendump x.png": "error: bare-1.0 has no display\n",
    "migrate -x tcp:a:1": "usage: migrate [-d] [-r] URI\n",
    "migrate -d": "usage: migrate [-d] [-r] URI\n",
    "migrate nowhere": "error: migration URI 'nowhere': expected one of exec:, unix:, tcp:, fd:, "
    "file:\n",
    "migrate_incoming tcp:a:1": "error: '-incoming' was not specified on the command line\n",
    "eject sda": "error: unknown drive 'sda'",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_command_is_answered(bench: Bench, line: str) -> None:
    before = bench.vm.state_hash()
    assert bench(line).startswith(WRONG[line])
    assert bench.vm.state_hash() == before


def test_help_names_every_command(bench: Bench) -> None:
    text = bench("help")
    for name in ROWS:
        if not name.startswith("info "):
            assert f"{name} " in text
    shown = " ".join(bench("help savevm").split())
    assert shown.startswith("savevm [TAG] [FORM] save the machine as a snapshot")
    assert "whether the machine runs" in bench("help info status")


@pytest.mark.parametrize(
    "fault",
    [
        OSError(22, "Invalid argument", "/proc/self/mem"),
        OSError("of a sort"),
        MemoryError(),
        ValueError("embedded null byte"),
        RecursionError(),
        HostError("the disk is gone"),
    ],
)
def test_case_19_no_error_of_the_host_in_a_command_ends_the_machine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(Vm, "change_disc", fail)
    said = bench("change ide1-cd0 x.qcow2")
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "VM status" in bench("info status")


def test_pictures(tmp_path: Path) -> None:
    picture = Picture(2, 1, b"\xff\0\0\0\0\xff")
    write_picture(tmp_path / "a.ppm", picture, "ppm")
    assert (tmp_path / "a.ppm").read_bytes() == b"P6\n2 1\n255\n\xff\0\0\0\0\xff"
    write_picture(tmp_path / "a.PNG", picture, "png")
    data = (tmp_path / "a.PNG").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (2, 1)
    length = struct.unpack(">I", data[33:37])[0]
    assert zlib.decompress(data[41 : 41 + length]) == b"\0\xff\0\0\0\0\xff"
    assert struct.unpack(">I", data[41 + length : 45 + length])[0] == zlib.crc32(
        data[37 : 41 + length]
    )


def test_case_10_a_picture_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    picture = Picture(2, 1, bytes(6))
    with pytest.raises(HostError, match="No space left on device"):
        write_picture(Path("/dev/full"), picture, "ppm")
    with pytest.raises(HostError, match="No such file or directory"):
        write_picture(tmp_path / "no" / "where.png", picture, "png")
    with pytest.raises(ConfigError, match="null byte"):
        write_picture(tmp_path / "a\0b", picture, "png")
    assert list(tmp_path.iterdir()) == []


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


def test_parameters_and_capabilities_of_transfers(bench: Bench) -> None:
    def ask(line: str) -> str:
        bench.screen.receive(line.encode() + b"\n")
        return bench.screen.text

    assert "max-bandwidth: 134217728 bytes/second" in ask("info migrate_parameters")
    ask("migrate_set_parameter max-bandwidth 2K")
    ask("migrate_set_parameter downtime-limit 50")
    shown = ask("info migrate_parameters")
    assert "max-bandwidth: 2048 bytes/second" in shown
    assert "downtime-limit: 50 ms" in shown
    assert "expected 0 to 2000000, got 2000001" in ask(
        "migrate_set_parameter downtime-limit 2000001"
    )
    assert "parameter 'speed': expected one of max-bandwidth" in ask(
        "migrate_set_parameter speed 1"
    )
    assert "expected a number, got '1x2'" in ask("migrate_set_parameter downtime-limit 1x2")
    ask("migrate_set_capability auto-converge on")
    assert "auto-converge: on" in ask("info migrate_capabilities")
    assert "capability 'x-colo': not spoken here" in ask("migrate_set_capability x-colo on")


def test_tab_finishes_words(bench: Bench, tmp_path: Path) -> None:
    bench("savevm lunch")
    screen = Screen(terminal=True)
    Monitor(Session(bench.vm), screen)

    def typed(keys: str) -> str:
        screen.bytes = b""
        screen.receive(b"\x15" + keys.encode())
        return screen.text

    assert typed("info stat\t").endswith("info status ")
    assert typed("system_po\t").endswith("system_powerdown ")
    assert typed("loadvm l\t").endswith("loadvm lunch ")
    assert typed("sendkey kp_ent\t").endswith("kp_enter ")
    (tmp_path / "abc1").touch()
    (tmp_path / "abc2").touch()
    assert typed(f"save {tmp_path}/a\t").endswith("/abc")
    assert "abc1  " in typed(f"save {tmp_path}/abc\t")
    assert typed(f"save {tmp_path}/abc\t").endswith(f"(gossamer) save {tmp_path}/abc")
    for nothing in ("frob\t", "stop \t", "migrate_cancel x\t", "x /8i \t", "\x00\t"):
        typed(nothing)
    assert "migrate_cancel" in typed("migrat\t\t")


def test_history_is_listed(bench: Bench) -> None:
    screen = Screen(terminal=True)
    Monitor(Session(bench.vm), screen)
    screen.receive(b"info name\ninfo name\nstop\ninfo history\n")
    assert screen.text.endswith("0: 'info name'\n1: 'stop'\n2: 'info history'\n(gossamer) ")


def test_queries_have_qemus_form(bench: Bench) -> None:
    assert bench("info uuid") == "00000000-0000-0000-0000-000000000000\n"
    assert bench("info kvm") == "kvm support: not compiled\n"
    assert bench("info cpus").startswith("* CPU #0: thread_id=")
    assert bench("info block-jobs") == "No active jobs\n"
    assert bench("info memory_size_summary") == "base memory: 4194304\nplugged memory: 0\n"
    assert bench("info dump") == "Status: none\n"
    assert bench("info replay") == "Record/replay is not active\n"
    assert bench("info vnc") == bench("info web") == "None\n"
    assert bench("info qom-tree").startswith("/machine (bare-machine)\n  /peripheral (container)\n")
    assert bench("info qom-tree /nope") == "error: Path '/nope' could not be resolved.\n"
    assert bench("qom-get /machine type") == '"bare-machine"\n'
    assert bench("sum 0 256") == f"{bsd_sum(bytes(range(256))):05d}\n"
    assert bench("gva2gpa 0x1000") == "gpa: 0x1000\n"
    assert bench("cpu 1") == "error: invalid CPU index\n"


def bsd_sum(data: bytes) -> int:
    total = 0
    for byte in data:
        total = ((total >> 1) + ((total & 1) << 15) + byte) & 0xFFFF
    return total


def test_every_query_of_qmp_has_an_info() -> None:
    shown = {row.command for name, row in ROWS.items() if name.startswith("info ")}
    without = {
        "query-command-line-options", "query-cpu-definitions", "query-current-machine",
        "query-dump-guest-memory-capability", "query-qmp-schema", "query-rx-filter",
        "query-stats-schemas", "query-tpm-types", "query-vnc", "query-block",
        "x-query-netdevs", "x-query-network", "x-query-register", "query-cpus-fast",
    }  # fmt: skip
    asked = {name for name in TABLE.rows if name.startswith(("query-", "x-query-"))}
    assert asked - shown == without
