"""Every stream that real QEMU wrote: parsed into values and written again, byte for byte."""

from __future__ import annotations

import io
import json
import lzma
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from gossamer.migrate import ram, value_tree, vmdesc, writer
from gossamer.migrate.framing import Section
from gossamer.migrate.inspect import StreamFile, open_stream
from gossamer.migrate.ram import Record, Run
from gossamer.migrate.rewrite import Edit, rewrite

NAMES: Final = (
    "cpu-pattern-mac99", "decr-g3beige", "decr-mac99", "g3-603e", "g3-compress", "g3-disk-run",
    "g3-icount-run", "g3-nofoot", "g3-nonet", "g3-uuid", "g3-xis", "g3beige-S", "g3beige-run",
    "hpend", "mac99-S", "mac99-disk-run", "mac99-icount", "mac99-pmu-S", "mac99-pmu-run",
    "mac99-run", "qemu-10.0-g3beige-prompt", "qemu-10.0-g3beige-start", "qemu-10.0-mac99-prompt",
    "qemu-10.0-mac99-start",
)  # fmt: skip
# What a receiver must have switched on, as the stream itself says.
NEEDS: Final = {"g3-compress": "compress", "g3-xis": "x-ignore-shared", "g3-nofoot": "no footers"}


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, bytes]:
    folder = shared / "streams"
    return {
        path.name.removesuffix(".mig.xz"): lzma.decompress(path.read_bytes())
        for path in folder.glob("*.mig.xz")
    }


def test_no_recorded_stream_is_left_out(recorded: dict[str, bytes]) -> None:
    assert set(recorded) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_stream_is_written_again_byte_for_byte(
    recorded: dict[str, bytes], name: str
) -> None:
    data = recorded[name]
    stream = open_stream(io.BytesIO(data), name)
    plain, parsed = io.BytesIO(), io.BytesIO()
    rewrite(stream, plain)
    rewrite(stream, parsed, Edit(section=lambda section, tree: (section, tree)))
    assert plain.getvalue() == data
    assert parsed.getvalue() == data
    assert all(tree is not None for _, tree in stream.trees())


@pytest.mark.parametrize("name", NAMES)
def test_description_is_made_again_from_the_values(recorded: dict[str, bytes], name: str) -> None:
    stream = open_stream(io.BytesIO(recorded[name]), name)
    assert stream.description is not None
    tree = json.loads(stream.description.text)
    assert writer.description_text(tree) == stream.description.text
    for section, device in zip(stream.devices, tree["devices"], strict=True):
        if "vmsd_name" in device:
            values_of = stream.values(section)
            assert values_of is not None
            head = {"name": section.idstr, "instance_id": section.instance_id}
            assert head | value_tree.describe(values_of) == device


def needs(stream: StreamFile, flags: Counter[int]) -> str:
    """The capability or switch that a receiver needs."""
    if flags[ram.COMPRESS_PAGE]:
        return "compress"
    names = stream.configuration.capabilities or () if stream.configuration else ()
    if stream.footers is False:
        return "no footers"
    return ", ".join(names)


@pytest.mark.parametrize("name", NAMES)
def test_streams_that_need_a_capability_are_named(recorded: dict[str, bytes], name: str) -> None:
    flags: Counter[int] = Counter()

    def count(_section: Section, record: Record) -> None:
        if isinstance(record, Run):
            flags[record.kind] += len(record.addresses)

    stream = open_stream(io.BytesIO(recorded[name]), name, on_ram=count)
    assert needs(stream, flags) == NEEDS.get(name, "")


def test_footers_alone_measure_every_section(
    recorded: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a postcopy capture: no description, no schema."""
    described = {n: open_stream(io.BytesIO(d), n).sections for n, d in recorded.items()}
    monkeypatch.setattr(vmdesc, "find", lambda file: None)
    for name, data in recorded.items():
        if name == "g3-nofoot":
            continue
        found = open_stream(io.BytesIO(data), name).sections
        assert [(s.title, s.body, s.length) for s in found] == [
            (s.title, s.body, s.length) for s in described[name]
        ]
