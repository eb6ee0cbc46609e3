"""Released machines' schemas: no change without a word, and every version loads what it can."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.units import MiB
from gossamer.control.vm import Vm
from gossamer.machines import registry
from gossamer.machines.kind import Version
from gossamer.machines.options import parse
from gossamer.verify import schema
from gossamer.verify.schema import Json, breaches

NAMES = schema.versions()


def found(name: str = "g3beige-1.1") -> Json:
    kept = schema.read(name)
    assert kept is not None
    return copy.deepcopy(kept)


def section(of: Json, name: str) -> Json:
    return next(s for s in of["sections"] if s["name"] == name)


@pytest.mark.parametrize("name", NAMES)
def test_machine_declares_what_its_file_says(name: str) -> None:
    assert schema.check(name, schema.schema(schema.machine_named(name))) == []


def test_every_file_is_of_a_released_machine() -> None:
    assert sorted(p.stem for p in schema.folder().glob("*.json")) == sorted(NAMES)


# --- what the guard refuses ----------------------------------------------------------------------


def test_type_of_a_field_changed() -> None:
    new = found()
    field = section(new, "adb_mouse")["fields"][1]
    field["type"], field["size"] = "int64", 8
    (line,) = breaches(found(), new)
    assert line.startswith("adb_mouse/0.buttons_state: is now buttons_state (int64, 8 bytes), was")


def test_fields_changed_places() -> None:
    new = found()
    fields = section(new, "adb_mouse")["fields"]
    fields[1], fields[2] = fields[2], fields[1]
    (line,) = breaches(found(), new)
    assert "is now last_buttons_state" in line


def test_field_is_new_without_a_version() -> None:
    new = found()
    section(new, "fw_cfg")["fields"].append({"name": "more", "type": "uint8", "size": 1})
    assert breaches(found(), new) == ["fw_cfg/0: more new, version the same"]


def test_field_is_gone_from_a_nested_struct() -> None:
    new = found()
    channel = section(new, "escc")["fields"][0]["struct"]
    gone = channel["fields"].pop()
    (line,) = breaches(found(), new)
    assert line == f"escc/0.chn: {gone['name']} gone, version the same"


def test_version_of_a_nested_struct_is_not_on_the_wire() -> None:
    new = found()
    section(new, "escc")["fields"][0]["struct"]["version"] += 1
    assert (
        "a nested struct's version is not on the wire: raise escc/0's" in breaches(found(), new)[0]
    )


def test_section_and_subsection_gone() -> None:
    new = found()
    new["sections"].remove(section(new, "fw_cfg"))
    section(new, "adb_mouse")["subsections"].clear()
    assert sorted(breaches(found(), new)) == [
        "adb_mouse/0: subsection adb_mouse/clicks is gone",
        "fw_cfg/0: the section is gone",
    ]


# --- what it allows ------------------------------------------------------------------------------


def test_raised_version_new_subsection_and_new_section_are_seen_by_readers() -> None:
    new = found()
    mouse = section(new, "adb_mouse")
    mouse["version"] += 1
    mouse["fields"].append({"name": "more", "type": "uint8", "size": 1})
    nvram = section(new, "macio_nvram")
    nvram["subsections"] = [{"vmsd_name": "macio_nvram/x", "version": 1, "fields": []}]
    new["sections"].append({"name": "new", "instance_id": 0, "version": 1, "fields": []})
    assert breaches(found(), new) == []


def open_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """g3beige with a version 1.1 that is not released."""
    kind = registry.find("g3beige")
    versions = (kind.versions[0], Version("1.1", released=False))
    module = SimpleNamespace(KIND=replace(kind, versions=versions))
    monkeypatch.setitem(registry.MACHINES, "g3beige", lambda: module)


def test_released_version_is_frozen() -> None:
    for name in ("g3beige-1.0", "g3beige-1.1"):
        new = found(name)
        new["sections"].append({"name": "new", "instance_id": 0, "version": 1, "fields": []})
        breach = (
            f"{name}: released, its streams may not change: add a Version to g3beige's file and "
            "switch the change off in this one"
        )
        assert schema.check(name, new) == [breach]
        assert schema.write(name, new) == [breach]
        assert found(name) != new


def test_change_of_an_open_version_must_be_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    open_version(monkeypatch)
    new = found()
    new["sections"].append({"name": "new", "instance_id": 0, "version": 1, "fields": []})
    message = "changed in a way that readers can see; --write writes the file anew"
    assert schema.check("g3beige-1.1", new) == [f"g3beige-1.1: {message}"]


def test_write_refuses_a_breach(monkeypatch: pytest.MonkeyPatch) -> None:
    open_version(monkeypatch)
    new = found()
    section(new, "fw_cfg")["fields"].pop()
    (line,) = schema.write("g3beige-1.1", new)
    assert line.startswith("g3beige-1.1: fw_cfg/0: ")
    assert found() != new


# --- each version into each other ----------------------------------------------------------------


def vm_of(name: str, *, click: bool) -> Vm:
    kind, _ = registry.find_version(name)
    firmware = ["-bios", "builtin"] if kind.firmware else []
    memory = str(max(4, kind.ram_least // MiB))
    common = [
        "-m",
        memory,
        "-nographic",
        "-serial",
        "null",
        "-icount",
        "5,sleep=off",
        "-vga",
        "none",
    ]
    vm = Vm(parse(["-M", name, *common, "-rtc", "base=2001-09-09", *firmware]))
    vm.run_to(3_000_000)
    if click and vm.machine.mouse is not None:
        vm.machine.mouse.move(0, 0, 1)
        vm.machine.mouse.move(0, 0, 0)
    return vm


PAIRS = [
    (f"{kind.name}-{a.name}", f"{kind.name}-{b.name}")
    for kind in registry.kinds()
    if not kind.names_version  # a stream of each other version is refused
    for a, b in product(kind.versions, repeat=2)
]


@pytest.mark.parametrize(("saved", "loaded"), PAIRS)
def test_each_version_loads_each_other(saved: str, loaded: str) -> None:
    source = vm_of(saved, click=False)
    target = vm_of(loaded, click=False)
    target.load_bytes(source.save_bytes())
    assert target.state_hash() == source.state_hash()
    for vm in (source, target):
        vm.run_to(3_500_000)
    assert target.state_hash() == source.state_hash()


@pytest.mark.parametrize(("saved", "loaded"), [p for p in PAIRS if "bare" not in p[0]])
def test_what_an_older_version_does_not_know_is_refused_by_name(saved: str, loaded: str) -> None:
    stream = vm_of(saved, click=True).save_bytes()
    target = vm_of(loaded, click=False)
    if not saved.endswith("1.0") and loaded.endswith("1.0"):
        with pytest.raises(StreamError, match=r"adb_mouse/clicks.*unknown subsection of adb_mouse"):
            target.load_bytes(stream)
    else:
        target.load_bytes(stream)


def test_click_between_two_polls_is_lost_on_1_0_and_sent_on_1_1() -> None:
    for name, reply in (("g3beige-1.0", b""), ("g3beige-1.1", b"\x00\x80")):
        mouse = vm_of(name, click=True).machine.mouse
        assert mouse.talk(0) == reply  # type: ignore[union-attr]
