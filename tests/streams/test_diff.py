"""`stream diff`: words for what differs, RAM page by page, round trips through a real QEMU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.migrate.inspect import open_stream
from gossamer.migrate.rewrite import Edit, rewrite
from gossamer.migrate.value_tree import Struct, leaves
from tests.migrate.streams import small_stream
from tests.streams.qemu_run import Qemu

Run = Callable[..., Any]
Recorded = Callable[[str], Path]


def changed(source: Path, target: Path, changes: dict[str, Any]) -> Path:
    """A copy with values changed; keys are `section:path`, or `section:path[index]` in an array."""
    left = dict(changes)

    def edit(section: Any, tree: Struct) -> Any:
        for path, leaf in leaves(tree):
            key = f"{section.title}:{path}"
            if key in left:
                leaf.value = left.pop(key)
            for wanted in [w for w in left if w.startswith(key + "[")]:
                assert isinstance(leaf.value, tuple)
                items = list(leaf.value)
                items[int(wanted[len(key) + 1 : -1])] = left.pop(wanted)
                leaf.value = tuple(items)
        return section, tree

    with source.open("rb") as file, target.open("wb") as out:
        rewrite(open_stream(file), out, Edit(section=edit))
    assert not left
    return target


def words_of(ran: Any) -> dict[str, str]:
    return {f"{d['section']}:{d['field']}": d["text"] for d in ran.json["differences"]}


def test_equal_streams_are_status_0(stream_command: Run, recorded: Recorded) -> None:
    path = recorded("g3beige-run.mig")
    ran = stream_command("diff", path, path)
    assert ran.status == 0
    assert "no difference in the guest" in ran.out
    assert "RAM is equal" in ran.out


def test_words_for_times_bits_and_registers(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    base = {"cpu:env.spr[22]": 1_000_000, "timer:cpu_clock_offset": 25_000_000_000}
    a = changed(recorded("mac99-pmu-run.mig"), tmp_path / "a", base)
    b = changed(
        a,
        tmp_path / "b",
        {
            "cpu:env.spr[22]": 1_000_000 + 31_200_000,
            "cpu:env.msr": 0xA030,
            "cpu:env.spr[26]": 0x100,
            "timer:cpu_clock_offset": 26_000_000_000,
            "mos6522:timers[0].timer": 5,
            "pmu:one_sec_timer": 27_500_000_000,
            "timer:cpu_ticks_offset": 7,
            "globalstate:runstate": b"paused".ljust(100, b"\0"),
        },
    )
    ran = stream_command("diff", a, b, "--json")
    assert ran.status == 1
    found = words_of(ran)
    assert found["cpu:env.spr[DEC]"] == "decrementer 312 ms later"
    assert found["cpu:env.msr"] == "EE set"
    assert "cpu:env.spr[SRR0]" in found
    assert found["timer:cpu_clock_offset"] == "virtual clock 1 s later"
    assert found["timer:cpu_ticks_offset"] == "of the host, not of the guest"
    assert found["mos6522:timers[0].timer"] == "armed"
    assert "by the clock" in found["pmu:one_sec_timer"]
    assert found["globalstate:runstate"] == "run state"


def test_a_host_value_alone_is_no_difference(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    a = recorded("mac99-S.mig")
    b = changed(a, tmp_path / "b", {"timer:cpu_ticks_offset": 7})
    assert stream_command("diff", a, b).status == 0


def test_subsections_sections_and_fields_added_and_missing(
    stream_command: Run, recorded: Recorded
) -> None:
    found = words_of(
        stream_command("diff", recorded("mac99-S.mig"), recorded("mac99-disk-run.mig"), "--json")
    )
    assert found["pci.2:0d.0/ohci:state.<ohci-core/eof-timer>"] == "subsection added"
    assert found["ide/1:bus.ifs[0].identify_data"] == "field added"
    back = words_of(
        stream_command("diff", recorded("g3beige-run.mig"), recorded("g3-nonet.mig"), "--json")
    )
    assert back["slirp:"] == "section"
    rows = stream_command("diff", recorded("g3beige-run.mig"), recorded("g3-uuid.mig")).out
    assert "stream" in rows


def test_ram_pages_that_differ_are_counted_and_listed(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    ran = stream_command("diff", recorded("mac99-S.mig"), recorded("mac99-run.mig"))
    assert "pci.2:0e.0/vga.vram: 469 pages of 4,096 differ" in ran.out
    data = small_stream()
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(data)
    at = data.index(bytes(17) + b"\x01" + bytes(100))
    b.write_bytes(data[: at + 17] + b"\x02" + data[at + 18 :])
    ran = stream_command("diff", a, b, "--ram")
    assert ran.status == 1
    assert "mac.ram: 1 page of 16 differs" in ran.out
    assert " 0x5\n" in ran.out
    tree = stream_command("diff", a, b, "--json").json
    assert tree["ram"] == [
        {"block": "mac.ram", "pages": 16, "differ": [5], "only_a": [], "only_b": []}
    ]


def test_the_same_page_packed_and_plain_is_equal(stream_command: Run, tmp_path: Path) -> None:
    data = small_stream()
    (tmp_path / "a").write_bytes(data)
    assert (
        stream_command(
            "convert", tmp_path / "a", tmp_path / "b", "--to", "qemu-10.0", "--lossy"
        ).status
        == 0
    )
    ran = stream_command("diff", tmp_path / "a", tmp_path / "b", "--json")
    assert ran.json["ram"][0]["differ"] == []
    assert ran.json["differences"][0]["field"] == "commands"


# All that FACTS says a load and save in QEMU 7.2 changes.
ROUND_TRIP = {
    "g3beige": {"cpu_common:interrupt_request", "globalstate:size", "globalstate:runstate"},
    "mac99": {
        "cpu_common:interrupt_request", "globalstate:size", "globalstate:runstate",
        *(f"openpic:src[{i}].ivpr" for i in range(68)),
    },
}  # fmt: skip


@pytest.mark.parametrize("machine", ROUND_TRIP)
def test_round_trip_through_qemu_7_2(
    stream_command: Run, recorded: Recorded, qemu: Path, tmp_path: Path, machine: str
) -> None:
    before = recorded(f"{machine}-run.mig")
    options = ("-M", machine, "-m", "128", "-S", "-incoming", f"exec:cat {before}")
    with Qemu(qemu, *options) as guest:
        release = guest.command("query-version")["qemu"]
        if (release["major"], release["minor"]) != (7, 2):
            pytest.skip("this QEMU is not 7.2")
        assert guest.loaded() == "paused"
        guest.save(tmp_path / "after.mig")
    ran = stream_command("diff", before, tmp_path / "after.mig", "--json")
    found = words_of(ran)
    assert ran.status == 1
    assert set(found) == ROUND_TRIP[machine]
    assert all(not block["differ"] for block in ran.json["ram"])
    assert found["cpu_common:interrupt_request"].startswith("EXITTB set (QEMU's note to itself")
    text = stream_command("diff", before, tmp_path / "after.mig").out
    if machine == "mac99":
        assert "src[0 to 67].ivpr" in text
        assert "mode cleared (QEMU loses it whenever it loads)" in text
    assert "RAM is equal" in text


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ('{"name": "count", "type": "uint32", "size": 4}', b'"a word", "size": 4}'),
        ('{"name": "y", "array_len": 2, "type": "uint8", "size": 1}', b'"buffer", "size": 2}'),
    ],
)
def test_the_same_bytes_under_another_description_are_equal(
    stream_command: Run, tmp_path: Path, field: str, other: bytes
) -> None:
    """One has numbers, the other bytes: a number is compared as its bytes."""
    stream = small_stream()
    name = field.split(",", maxsplit=1)[0].encode()
    old, new = field.encode(), name + b', "type": ' + other
    assert old in stream
    size = (len(stream) - stream.rindex(b'{"page_size"')).to_bytes(4, "big")
    assert stream.count(size) == 1
    described = stream[stream.rindex(b'{"page_size"') :].replace(old, new)
    again = stream[: stream.index(size)] + len(described).to_bytes(4, "big") + described
    for path, data in (("a", stream), ("b", again)):
        (tmp_path / path).write_bytes(data)
    ran = stream_command("diff", tmp_path / "a", tmp_path / "b")
    assert ran.status == 0, ran.out
    assert "no difference in the guest" in ran.out
    at = again.index(b"\x00\x07\x08\x09hello") + 2
    (tmp_path / "b").write_bytes(again[:at] + b"\x18" + again[at + 1 :])
    assert stream_command("diff", tmp_path / "a", tmp_path / "b").status == 1
