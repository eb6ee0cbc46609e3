"""`stream check`: schemas and streams against `-dump-vmstate` files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.migrate import vmstate_dump
from gossamer.migrate.value_tree import Leaf
from tests.migrate.streams import CHIP, small_stream
from tests.streams.test_convert import subsection, with_subsection

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


# Case 4: what really happens, by sender and receiver; tried with the real releases.
LOADS = {
    "qemu-5.2": {"qemu-5.2"},
    "qemu-7.2": {"qemu-7.2", "qemu-10.0", "qemu-11.1"},
    "qemu-10.0": {"qemu-10.0", "qemu-11.1"},
    "qemu-11.1": {"qemu-11.1"},
}
WHY = {
    ("qemu-7.2", "qemu-5.2"): "mos6522",
    ("qemu-5.2", "qemu-10.0"): "mos6522",
    ("qemu-10.0", "qemu-7.2"): "MIG_CMD 0xb",
    ("qemu-11.1", "qemu-7.2"): "cpu/rtas_stopped",
    ("qemu-11.1", "qemu-10.0"): "cpu/rtas_stopped",
}


def stream_of(sender: str, machine: str, recorded: Recorded, run: Run, tmp_path: Path) -> Path:
    """A stream as that release writes it: recorded, or the form that `convert` knows."""
    if sender == "qemu-7.2":
        return recorded(f"{machine}-run.mig")
    if sender == "qemu-10.0":
        return recorded(f"qemu-10.0-{machine}-prompt.mig")
    source = "qemu-7.2" if sender == "qemu-5.2" else "qemu-10.0"
    form = tmp_path / sender
    ran = run("convert", stream_of(source, machine, recorded, run, tmp_path), form, "--to", sender)
    assert ran.status == 0, ran.out
    if sender == "qemu-5.2":
        return form
    stopped = subsection("cpu/rtas_stopped", Leaf("env.quiesced", "bool", 0, 1, None, 0))
    return with_subsection(form, tmp_path / "forged", "cpu", stopped)


@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
@pytest.mark.parametrize("sender", LOADS)
def test_case_4_every_release_into_every_release(
    stream_command: Run, recorded: Recorded, tmp_path: Path, sender: str, machine: str
) -> None:
    path = stream_of(sender, machine, recorded, stream_command, tmp_path)
    for target in LOADS:
        ran = stream_command("check", path, target)
        assert ran.status == (target not in LOADS[sender]), (sender, target, ran.out)
        assert WHY.get((sender, target), "") in ran.out
    for target in ("qemu-7.2", "qemu-10.0"):
        ran = stream_command("check", path, recorded(f"{target}-{machine}.json"))
        assert ran.status == (target not in LOADS[sender]), (sender, target, ran.out)


@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
def test_case_4_a_release_loads_its_own_with_nothing_to_say(
    stream_command: Run, recorded: Recorded, machine: str
) -> None:
    for state in ("start", "prompt"):
        stream = recorded(f"qemu-10.0-{machine}-{state}.mig")
        ran = stream_command("check", stream, recorded(f"qemu-10.0-{machine}.json"), "--strict")
        assert ran.status == 0, ran.out
        assert ran.out.strip().endswith("loads")


def test_case_4_another_rate_is_a_condition(stream_command: Run, recorded: Recorded) -> None:
    ran = stream_command("check", recorded("mac99-run.mig"), "qemu-10.0", "--strict")
    assert ran.status == 1
    assert "the guest's clock then runs 0.25 times as fast" in ran.out


def test_our_schema_is_written_as_a_dump(stream_command: Run, tmp_path: Path) -> None:
    machine = vmstate_dump.machine_from_json("mac99-1.0", [("chip", CHIP)])
    dump, stream = tmp_path / "ours.json", tmp_path / "a.mig"
    dump.write_text(vmstate_dump.write(machine))
    stream.write_bytes(small_stream())
    assert vmstate_dump.read(dump.read_text()) == machine
    assert stream_command("check", stream, dump).status == 0
    narrow = {k: v for k, v in CHIP.items() if k != "subsections"}
    dump.write_text(
        vmstate_dump.write(vmstate_dump.machine_from_json("mac99-1.0", [("chip", narrow)]))
    )
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
