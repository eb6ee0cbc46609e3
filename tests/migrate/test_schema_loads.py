"""Whether one schema loads another: the rules, and QEMU 7.2 against 10.0."""

from __future__ import annotations

import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.errors import StreamError
from gossamer.migrate import schema_loads, vmdesc, vmstate_dump
from gossamer.migrate.inspect import open_stream
from gossamer.migrate.schema_loads import Severity
from gossamer.migrate.stream_loads import stream_loads
from gossamer.migrate.vmstate_dump import Device, Field, Machine, State
from tests.migrate.streams import CHIP, small_stream


def device(
    *fields: Field, version: int = 2, minimum: int = 1, subs: tuple[State, ...] = ()
) -> Device:
    return Device("d", version, minimum, State("d", version, minimum, fields, subs))


A, B = Field("a", 4), Field("b", 2)


def findings(source: Device, target: Device) -> list[tuple[str, str]]:
    return [(f.severity.name, f.text) for f in schema_loads.loads(source, target)]


def test_same_schema_has_no_findings() -> None:
    assert findings(device(A, B), device(A, B)) == []


@pytest.mark.parametrize(
    ("source", "target", "severity", "text"),
    [
        (device(A, version=3), device(A), "FATAL", "version 3 is newer than the 2"),
        (device(A, version=0), device(A), "FATAL", "version 0 is older than 1"),
        (device(A, B), device(A), "FATAL", "is sent, but is not read"),
        (device(A), device(A, B), "FATAL", "is read, but is not sent"),
        (device(A), device(A, Field("c", 2, conditional=True)), "MAYBE", "is not sent: fails if"),
        (device(A, Field("c", 2, conditional=True)), device(A), "MAYBE", "is not read there"),
        (device(A, B), device(A, Field("z", 2)), "NOTE", "called 'z' there"),
        (device(A, B), device(A, Field("unused", 2)), "NOTE", "no longer kept there"),
        (device(A, Field("b", 2, count=3)), device(A, Field("b", 2, count=4)), "FATAL", "6 bytes"),
        (device(A, Field("b", 2)), device(A, Field("b", 4)), "FATAL", "2 bytes are sent, 4 bytes"),
        (
            device(A, subs=(State("d/x", 1, 1),)), device(A), "MAYBE",
            "subsection is unknown there: fails whenever it is sent",
        ),
        (device(A), device(A, subs=(State("d/x", 1, 1),)), "NOTE", "only the other side has"),
        (
            device(A, subs=(State("d/x", 2, 2),)), device(A, subs=(State("d/x", 1, 1),)), "MAYBE",
            "subsection version 2, there 1 to 1 load",
        ),
        (device(), device(A), "NOTE", "saves nothing"),
        (
            device(Field("s", 99, count=2, struct=State("s", 1, 1, (A,)))),
            device(Field("s", 99, count=3, struct=State("s", 1, 1, (A,)))),
            "FATAL", "2 elements are sent, 3 are read",
        ),
    ],
)  # fmt: skip
def test_rule(source: Device, target: Device, severity: str, text: str) -> None:
    found = findings(source, target)
    assert len(found) == 1, found
    assert found[0][0] == severity
    assert text in found[0][1]


def test_a_field_of_a_later_version_is_not_expected() -> None:
    found = findings(device(A, version=1), device(A, Field("new", 4, since=2)))
    assert found == [("NOTE", "version 1, there 2 (loads from 1)")]


def test_borders_of_structs_are_not_on_the_wire() -> None:
    nested = Field("s", 1234, struct=State("s", 1, 1, (A, B)))
    assert findings(device(A, B), device(nested)) == []


def test_a_count_that_one_side_does_not_give_is_no_finding() -> None:
    assert findings(device(Field("b", 2)), device(Field("b", 2, count=9))) == []


@pytest.fixture(scope="module")
def dumps(shared: Path) -> dict[str, Machine]:
    out = {}
    for path in (shared / "dumps").glob("*.json.xz"):
        name = path.name.removesuffix(".json.xz")
        out[name] = vmstate_dump.read(lzma.decompress(path.read_bytes()).decode(), name)
    return out


def test_dump_is_written_as_it_was_read(shared: Path) -> None:
    text = lzma.decompress((shared / "dumps" / "qemu-10.0-mac99.json.xz").read_bytes()).decode()
    written = json.loads(vmstate_dump.write(vmstate_dump.read(text)))

    def known(tree: Any) -> Any:
        """Without empty lists, which say nothing."""
        if isinstance(tree, dict):
            return {k: known(v) for k, v in tree.items() if v != []}
        return [known(v) for v in tree] if isinstance(tree, list) else tree

    assert written == known(json.loads(text))


# Read by hand from both dumps: devices where a stream of 7.2 does not or may not load in 10.0.
FATAL = {"am53c974", "dc390", "sysbus-esp"}
MAYBE_FIELDS = {"esp.<esp/pdma>", "core.timadj"}
GONE = {"vmware-svga", "dec-21154-p2p-bridge", "sysbus-ahci", "PIIX4_PM"}
HARMLESS = {
    ("e1000e", "core.itr_intr_pending"), ("e1000e", "core.eitr_intr_pending"),
    ("mpc-i2c", "dfssr"), ("sb16", "irq, dma, hdma, port, ver"), ("sd-card", "enable"),
    ("sd-card", "<sd-card/ext_csd_modes-state>"), ("virtio-gpu-device", "<virtio-gpu/blob>"),
    ("pic-common", "<i8259/ltim>"), ("isa-i8259", "<i8259/ltim>"),
    *((d, f) for d in FATAL for f in ("esp.data_in_ready", "esp.ti_cmd")),
}  # fmt: skip


@pytest.mark.parametrize("machine", ["g3beige", "mac99"])
def test_qemu_7_2_against_10_0(dumps: dict[str, Machine], machine: str) -> None:
    found = schema_loads.compare(dumps[f"qemu-7.2-{machine}"], dumps[f"qemu-10.0-{machine}"])
    fatal = {(f.section, f.field) for f in found if f.severity is Severity.FATAL}
    maybe = [f for f in found if f.severity is Severity.MAYBE]
    notes = {(f.section, f.field) for f in found if f.severity is Severity.NOTE and f.field}
    assert fatal == {(name, "esp.drq_state") for name in FATAL}
    assert {f.section for f in maybe if not f.field} == GONE
    assert {f.field for f in maybe if f.field} == MAYBE_FIELDS
    assert notes == HARMLESS
    mac = {"cuda", "heathrow", "openpic", "mac-dbdma", "escc", "macio-ide", "VGA", "sungem"}
    assert not {f.section for f in found} & mac


@pytest.mark.parametrize("release", ["7.2", "10.0"])
@pytest.mark.parametrize(
    ("stream", "machine"),
    [("g3beige-run", "g3beige"), ("mac99-disk-run", "mac99"), ("mac99-pmu-run", "mac99")],
)
def test_recorded_streams_load_in_both(
    dumps: dict[str, Machine], shared: Path, release: str, stream: str, machine: str
) -> None:
    data = lzma.decompress((shared / "streams" / f"{stream}.mig.xz").read_bytes())
    desc = open_stream(io.BytesIO(data)).desc
    assert desc is not None
    found, unjudged = stream_loads(desc, machine, dumps[f"qemu-{release}-{machine}"])
    assert found == []
    assert "cpu" in unjudged
    assert "cuda" not in unjudged
    wrong = "g3beige" if machine == "mac99" else "mac99"
    found, _ = stream_loads(desc, machine, dumps[f"qemu-{release}-{wrong}"])
    assert any("is there" in f.text and f.section == "configuration" for f in found)


def chip_machine(**changes: Any) -> Machine:
    state = vmstate_dump.from_json(CHIP | {"minimum_version": 1} | changes)
    return Machine("mac99", {"chip": Device("chip", state.version, state.minimum, state)})


def test_stream_is_held_against_our_schema() -> None:
    desc = open_stream(io.BytesIO(small_stream())).desc
    assert desc is not None
    assert stream_loads(desc, "mac99", chip_machine())[0] == []
    older = stream_loads(desc, "mac99", chip_machine(version=2))[0]
    assert older[0].text == "version 3 is sent, 'chip' loads 1 to 2"
    bare = stream_loads(desc, "mac99", chip_machine(subsections=[]))[0]
    assert [(f.field, f.text) for f in bare] == [
        ("<chip/extra>", "subsection is sent, but is unknown there")
    ]
    fields = [f for f in CHIP["fields"] if f["name"] != "blob"]
    short = stream_loads(desc, "mac99", chip_machine(fields=fields))[0]
    assert [(f.field, f.severity) for f in short] == [("blob", Severity.FATAL)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "an object is expected"),
        ("{}", "is not a -dump-vmstate file: no vmschkmachine"),
        ('{"vmschkmachine": {"Name": "m"}, "d": 3}', "dump/d: an object is expected"),
        (
            '{"vmschkmachine": {"Name": "m"}, "d": {"Description": {"Fields": [{"size": "x"}]}}}',
            "size must be a number, got 'x'",
        ),
    ],
)
def test_dump_when_it_is_none_then_says_why(text: str, message: str) -> None:
    with pytest.raises(StreamError) as caught:
        vmstate_dump.read(text)
    assert message in str(caught.value)


def test_schema_in_the_form_of_a_stream_becomes_a_dump() -> None:
    drive = {
        "vmsd_name": "drive",
        "version": 1,
        "fields": [
            {"name": "set", "type": "int32", "size": 4},
            {"name": "data", "type": "buffer", "size": 8},
            {"name": "status", "type": "uint8", "size": 1},
        ],
    }
    short = drive | {"fields": [drive["fields"][0], drive["fields"][2]]}  # type: ignore[index]

    def bus(struct: dict[str, Any], size: int) -> dict[str, Any]:
        fields = [
            {"name": "ifs", "index": i, "type": "struct", "struct": struct, "size": size}
            for i in range(2)
        ]
        return {"vmsd_name": "bus", "version": 1, "fields": fields}

    every, now = bus(drive, 13), bus(short, 5)
    marked = vmstate_dump.with_conditions(every, now)
    state = vmstate_dump.machine_from_json("mac99", [("bus", marked)]).devices["bus"].state
    assert [(f.name, f.count) for f in state.fields] == [("ifs", 2)]
    inner = state.fields[0].struct
    assert inner is not None
    assert [(f.name, f.conditional) for f in inner.fields] == [
        ("set", False),
        ("data", True),
        ("status", False),
    ]
    tree = {"page_size": 4096, "devices": [now | {"name": "bus", "instance_id": 0}]}
    desc = vmdesc.parse(json.dumps(tree))
    held = vmstate_dump.machine_from_json("mac99", [("bus", marked)])
    assert stream_loads(desc, "mac99", held)[0] == []
    strict = vmstate_dump.machine_from_json("mac99", [("bus", every)])
    found = stream_loads(desc, "mac99", strict)[0]
    assert [f.field for f in found] == ["ifs.data"], "reported once, not for all that follows"
