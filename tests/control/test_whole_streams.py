"""Cases 3 and 25: streams that lack pages, and traces of what a sender had switched on."""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gossamer.base.errors import StreamError
from gossamer.control.globalstate import GlobalState
from gossamer.control.stream_out import Extra, save_stream
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate import releases
from gossamer.migrate.framing import Cmd
from gossamer.migrate.inspect import open_stream
from gossamer.migrate.ram import PAGE, ZERO, Record, Run
from gossamer.migrate.rewrite import Edit, rewrite
from gossamer.streams import command as tool
from gossamer.streams.refusals import refusals
from gossamer.streams.show import RamSum

LINE = ["-M", "bare", "-m", "4", "-serial", "null", "-bios", "builtin", "-icount", "0,sleep=off"]
G3 = ["-M", "g3beige", "-nographic", "-serial", "null", "-icount", "5,sleep=off"]


def started() -> Vm:
    vm = Vm(parse(LINE))
    vm.run(instructions=20_000)
    return vm


def without(data: bytes, kind: int) -> bytes:
    """The stream with the last page of the first run of that kind left out."""
    done: list[int] = []

    def cut(record: Record) -> Iterator[Record]:
        if isinstance(record, Run) and record.kind == kind and not record.named and not done:
            done.append(1)
            if len(record.addresses) == 1:
                return
            record = replace(
                record, addresses=record.addresses[:-1],
                fills=None if record.fills is None else record.fills[:-1],
                pages=None if record.pages is None else record.pages[:-1],
            )  # fmt: skip
        yield record

    out = io.BytesIO()
    rewrite(open_stream(io.BytesIO(data)), out, Edit(records=cut))
    assert done
    return out.getvalue()


@pytest.mark.parametrize("kind", [ZERO, PAGE])
def test_case_3_one_page_that_lacks_is_refused(kind: int, tmp_path: Path) -> None:
    whole = started().save_bytes()
    vm = Vm(parse(LINE))
    vm.load_bytes(whole)
    before = vm.state_hash()
    cut = without(whole, kind)
    with pytest.raises(StreamError, match=r"pages are missing in \S+ \(1 of 1,024\)"):
        vm.load_bytes(cut)
    assert vm.state_hash() == before
    (tmp_path / "cut").write_bytes(cut)
    for form in ("qemu-7.2", "save-file", "plain"):
        line = ["convert", str(tmp_path / "cut"), str(tmp_path / "out"), "--to", form]
        assert tool.main([*line, *(["--lossy"] if form == "qemu-7.2" else [])]) == 2
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("channel", "message"),
    [("main", "pages are missing in ppc_heathrow.ram"), ("extra", "one connection of a multifd")],
)
def test_case_3_a_connection_of_a_multifd_migration(
    shared: Path, channel: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = (shared / "streams" / f"multifd-{channel}-channel.bin.xz").read_bytes()
    path = tmp_path / "part"
    path.write_bytes(lzma.decompress(packed))
    vm = Vm(parse([*G3, "-m", "64", "-bios", "builtin"]))
    before = vm.state_hash()
    with pytest.raises(StreamError, match=message) as refused:
        vm.incoming(f"exec:cat {path}")
    assert "multifd migration" in str(refused.value)
    assert vm.state_hash() == before
    assert tool.main(["convert", str(path), str(tmp_path / "out"), "--to", "qemu-7.2"]) == 2
    assert "multifd migration" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


ADVISE = (Cmd.POSTCOPY_ADVISE, (4096).to_bytes(8, "big") * 2)
TRACES = {
    "return-path": [(Cmd.OPEN_RETURN_PATH, b""), (Cmd.PING, b"\0\0\0\1")],
    "postcopy-ram": [(Cmd.OPEN_RETURN_PATH, b""), ADVISE],
    "dirty-bitmaps": [(Cmd.POSTCOPY_ADVISE, b"")],
    "switchover": [(Cmd.SWITCHOVER_START, b"")],
}


def traced(vm: Vm, commands: list[tuple[int, bytes]]) -> bytes:
    out = io.BytesIO()
    save_stream(vm.machine, out, Extra("globalstate", GlobalState("paused")), commands=commands)
    return out.getvalue()


@pytest.mark.parametrize("capability", sorted(TRACES))
def test_case_25_a_whole_stream_loads_whatever_was_switched_on(
    capability: str, tmp_path: Path
) -> None:
    vm = started()
    path = tmp_path / "m"
    path.write_bytes(traced(vm, [(int(n), data) for n, data in TRACES[capability]]))
    for uri in (f"file:{path}", f"exec:cat {path}"):
        other = Vm(parse(LINE))
        other.incoming(uri)
        assert other.state_hash() == vm.state_hash()


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ([(Cmd.ENABLE_COLO, b"")], "capability x-colo"),
        ([(Cmd.POSTCOPY_LISTEN, b"")], "capability postcopy-ram"),
    ],
)
def test_case_25_what_is_not_taken_on_names_its_capability(
    commands: list[tuple[int, bytes]], reason: str
) -> None:
    vm = started()
    with pytest.raises(StreamError, match=reason):
        Vm(parse(LINE)).load_bytes(traced(vm, [(int(n), data) for n, data in commands]))


def test_case_25_convert_leaves_out_and_doctor_names(tmp_path: Path) -> None:
    vm = Vm(parse([*G3, "-m", "8", "-bios", "builtin"]))
    source, out = tmp_path / "m", tmp_path / "out"
    source.write_bytes(traced(vm, [(int(n), data) for n, data in [*TRACES["postcopy-ram"]]]))
    assert named(source, "qemu-7.2") >= {"command POSTCOPY_ADVISE"}
    assert named(source, "gossamer") == set()
    assert tool.main(["convert", str(source), str(out), "--to", "qemu-7.2", "--lossy"]) == 0
    assert named(out, "qemu-7.2") == set()
    with out.open("rb") as file:
        assert [c.name for c in open_stream(file).commands] == ["OPEN_RETURN_PATH"]


def named(path: Path, to: str) -> set[str]:
    """Places that `to` refuses."""
    counted = RamSum()
    with path.open("rb") as file:
        stream = open_stream(file, on_ram=counted)
        return {r.where for r in refusals(stream, counted, releases.release(to))}
