"""QEMU 7.2's conversation, replayed: the same class of answer, and the fields that it has.

`qemu-7.2.jsonl` has one request a line, as it was sent to QEMU 7.2.22, with the answers' classes
and shapes (names and kinds of values, elements of a list merged) and the events before them.  What
differs here is in `ERRORS` and `DISKS` and, with reasons, in docs/qmp.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from gossamer.base.units import MiB
from gossamer.block import create
from tests import ptys
from tests.front.qmp.client import Client, Host

RECORD: Final = Path(__file__).parent / "qemu-7.2.jsonl"
DOCS: Final = Path(__file__).resolve().parents[3] / "docs" / "qmp.md"
#: Of a command: members of its answer that are not here (``a.b``), or the other class of answer.
ERRORS: Final[dict[str, set[str]]] = {
    "qmp_capabilities": {
        "CommandNotFound there, return here", "an error: Capability oob not available"
    },
    "query-command-line-options": {"GenericError there, return here"},
}  # fmt: skip
DISKS: Final[dict[str, set[str]]] = {
    "query-block": {"inserted.image.format-specific"},
    "query-named-block-nodes": {"image.format-specific"},
    "query-blockstats": {"parent"},
    "query-migrate-parameters": {
        "block-incremental",
        "compress-level", "compress-threads", "compress-wait-thread", "cpu-throttle-tailslow",
        "decompress-threads", "x-checkpoint-delay", "xbzrle-cache-size",
    },
    "query-acpi-ospm-status": {"GenericError there, CommandNotFound here"},
    "memsave": {"GenericError there, return here"},
    "object-add": {"an error: Parameter 'qom-type' does not accept value 'iothread'"},
    "object-del": {"an error: object 'io1' not found"},
}  # fmt: skip
#: What jobs send while they go on: here it may come before the next request.
JOBS: Final = "JOB_STATUS_CHANGE"


def lines(on: str) -> list[dict[str, Any]]:
    found = map(json.loads, RECORD.read_text().splitlines())
    return [one for one in found if one["on"] == on]


def lacking(expected: Any, got: Any, path: str = "") -> set[str]:
    """What `expected` has and `got` has not."""
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return {path or "another kind of value"}
        out: set[str] = set()
        for name, shape in expected.items():
            where = f"{path}.{name}" if path else name
            out |= lacking(shape, got[name], where) if name in got else {where}
        return out
    if isinstance(expected, list):
        if not isinstance(got, list):
            return {path or "another kind of value"}
        if not expected or not got:
            return set()
        if isinstance(expected[0], dict):
            return lacking(expected[0], merged(got), path)
        return set().union(*(lacking(expected[0], one, path) for one in got))
    if expected == "any":
        return set()
    kinds = {"string": str, "number": (int, float), "boolean": bool, "null": type(None)}
    same = isinstance(got, kinds[expected]) and isinstance(got, bool) == (expected == "boolean")
    return set() if same else {f"{path}: not a {expected}"}


def merged(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Every member that any of the objects has."""
    out: dict[str, Any] = {}
    for value in values:
        for name, member in value.items():
            both = isinstance(out.get(name), dict) and isinstance(member, dict)
            out[name] = merged([out[name], member]) if both else out.get(name) or member
    return out


def compared(expected: Any, answer: dict[str, Any]) -> set[str]:
    """How an answer differs from the recorded one."""
    if isinstance(expected, str):  # too long to be kept
        return set() if "return" in answer else {answer["error"]["desc"]}
    if answer.get("id") != expected.get("id"):
        return {"id"}
    if "error" in expected:
        got = answer["error"]["class"] if "error" in answer else "return"
        return set() if got == expected["error"] else {f"{expected['error']} there, {got} here"}
    if "error" in answer:
        return {f"an error: {answer['error']['desc']}"}
    return lacking(expected["return"], answer["return"])


def replayed(client: Client, recorded: list[dict[str, Any]], folder: Path) -> dict[str, set[str]]:
    """Send what was sent; the differences by command, with those of events."""
    differs: dict[str, set[str]] = {}
    for one in recorded:
        client.events.clear()
        text = one["send"].replace("FOLDER", str(folder))
        name = named(text)
        client.socket.sendall(text.encode() + b"\n")
        for expected in one["answers"]:
            answer = client.answer()
            differs.setdefault(name, set()).update(compared(expected, answer))
        if name.startswith("snapshot-") and "return" in answer:
            client.wait_event("JOB_STATUS_CHANGE", status="concluded")
        elif name == "migrate" and "return" in answer:
            client.wait_event("MIGRATION", status="failed")  # the connection is made apart
        elif wanted := set(one["events"]) - seen(client) - {JOBS}:
            differs[name].add(f"no event {', '.join(sorted(wanted))}")
    return differs


def seen(client: Client) -> set[str]:
    return {event["event"] for event in client.events}


def named(text: str) -> str:
    try:
        return str(json.loads(text)["execute"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


def test_negotiation_and_errors(start: Callable[..., Host], tmp_path: Path) -> None:
    host = start("-M", "none")
    client = host.again(negotiate=False)
    found = replayed(client, [one for one in lines("neg") if "quit" not in one["send"]], tmp_path)
    assert found == {name: ERRORS.get(name, set()) for name in found}


@pytest.mark.skipif(not ptys.there(), reason="this host has no pseudo-terminals")
def test_a_machine_with_disk_cd_and_tablet(start: Callable[..., Host], tmp_path: Path) -> None:
    create(tmp_path / "hd.qcow2", "qcow2", 4 * MiB)
    (tmp_path / "a.iso").write_bytes(b"CD001" + bytes(40955))
    file = {"driver": "file", "filename": f"{tmp_path}/hd.qcow2", "node-name": "hdf"}
    host = start(
        "-M", "g3beige", "-bios", "builtin", "-m", "16", "-S", "-name", "guest=mac",
        "-uuid", "11111111-2222-3333-4444-555555555555", "-blockdev", json.dumps(file),
        "-blockdev", '{"driver":"qcow2","file":"hdf","node-name":"hd0"}',
        "-device", "ide-hd,drive=hd0,id=disk0,bus=ide.0", "-device", "ide-cd,id=cd0,bus=ide.1",
        "-vga", "std", "-usb", "-device", "usb-tablet,id=tab", "-nic", "model=ne2k_pci",
    )  # fmt: skip
    found = replayed(host.client, lines("vm")[1:-1], tmp_path)
    assert found == {name: DISKS.get(name, set()) for name in found}


@pytest.mark.parametrize("command", sorted({*ERRORS, *DISKS}))
def test_every_difference_is_documented(command: str) -> None:
    assert command in DOCS.read_text()


def test_snapshots_are_listed_and_loaded_before_the_machine_has_run(
    start: Callable[..., Host], tmp_path: Path
) -> None:
    """libvirt 11 reverts so: a new process under -S, a look at the nodes, snapshot-load."""
    create(tmp_path / "hd.qcow2", "qcow2", 4 * MiB)
    words = ("-M", "g3beige", "-bios", "builtin", "-m", "8", "-S", "-hda", f"{tmp_path}/hd.qcow2")
    host = start(*words)
    (node,) = (one["node-name"] for one in host.client.do("query-named-block-nodes"))
    on = {"tag": "one", "vmstate": node, "devices": [node]}
    host.client.do("snapshot-save", job_id="j", **on)
    host.client.wait_event("JOB_STATUS_CHANGE", status="concluded")
    assert host.end() == 0
    client = start(*words).client
    (image,) = (one["image"] for one in client.do("query-named-block-nodes"))
    assert [one["name"] for one in image["snapshots"]] == ["one"]
    client.do("snapshot-load", job_id="j", **on)
    client.wait_event("JOB_STATUS_CHANGE", status="concluded")
    (job,) = client.do("query-jobs")
    assert "error" not in job
