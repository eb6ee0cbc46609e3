"""`stream check`: schemas and streams against `-dump-vmstate` files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gossamer.migrate import description
from tests.migrate.streams import CHIP, small_stream

Run = Callable[..., Any]
Recorded = Callable[[str], Path]


def test_7_2_against_10_0(stream_command: Run, recorded: Recorded) -> None:
    old, new = recorded("qemu-7.2-mac99.json"), recorded("qemu-10.0-mac99.json")
    ran = stream_command("check", old, new)
    assert ran.status == 1
    assert "does not load (3 fails, 8 may fail," in ran.out
    assert "esp.drq_state" in ran.out
    mac = stream_command("check", old, new, "--device", "cuda")
    assert mac.status == 0
    assert mac.out.strip().endswith("loads")
    quiet = stream_command("check", old, new, "--quiet").out
    assert "no longer kept there" not in quiet
    tree = stream_command("check", old, new, "--json").json
    assert tree["loads"] is False


def test_conditions_are_status_1_only_when_strict(stream_command: Run, recorded: Recorded) -> None:
    pair = recorded("qemu-7.2-mac99.json"), recorded("qemu-10.0-mac99.json")
    ran = stream_command("check", *pair, "--device", "e1000e")
    assert ran.status == 0
    assert "loads, with conditions" in ran.out
    assert stream_command("check", *pair, "--device", "e1000e", "--strict").status == 1


def test_stream_against_a_dump(stream_command: Run, recorded: Recorded) -> None:
    target = recorded("qemu-10.0-mac99.json")
    ran = stream_command("check", recorded("mac99-disk-run.mig"), target)
    assert ran.status == 0
    assert "not in a dump, so not judged: timer, slirp, cpu_common, cpu" in ran.out
    other = stream_command("check", recorded("g3beige-run.mig"), target)
    assert other.status == 1
    assert "machine 'g3beige' is sent, 'mac99' is there" in other.out


def test_our_schema_is_written_as_a_dump(stream_command: Run, tmp_path: Path) -> None:
    machine = description.machine_from_json("mac99", [("chip", CHIP)])
    dump, stream = tmp_path / "ours.json", tmp_path / "a.mig"
    dump.write_text(description.write(machine))
    stream.write_bytes(small_stream())
    assert description.read(dump.read_text()) == machine
    assert stream_command("check", stream, dump).status == 0
    narrow = {k: v for k, v in CHIP.items() if k != "subsections"}
    dump.write_text(description.write(description.machine_from_json("mac99", [("chip", narrow)])))
    ran = stream_command("check", stream, dump)
    assert ran.status == 1
    assert "subsection is sent, but is unknown there" in ran.out


def test_bad_dump_is_status_2(stream_command: Run, tmp_path: Path) -> None:
    bad, stream = tmp_path / "bad.json", tmp_path / "a.mig"
    stream.write_bytes(small_stream(described=False))
    bad.write_text("{")
    assert "is not JSON" in stream_command("check", stream, bad).err
    bad.write_text('{"vmschkmachine": {"Name": "mac99"}}')
    ran = stream_command("check", stream, bad)
    assert ran.status == 2
    assert "has no description: it cannot be held against a schema" in ran.err
