"""`stream doctor`, `check` and `convert` on a pseries: what each QEMU loses of it, and the mend."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.errors import StreamError
from gossamer.control.globalstate import GlobalState
from gossamer.control.losses import losses
from gossamer.control.profiles import READING, profile_of
from gossamer.control.stream_in import read_stream
from gossamer.control.stream_out import Extra, save_stream
from gossamer.machines.machine import Machine
from gossamer.migrate.releases import release
from tests.machines.test_pseries import make

__all__ = ["make"]

Make = Callable[..., Machine]
Run = Callable[..., Any]
QEMU_72 = "qemu-7.2"
LPCR_LINUX, MSR_LINUX = 0x0381_F008, 0x8000_0000_0280_B033


def saved(m: Machine, name: str) -> bytes:
    out = BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState()), profile_of(release(name)))
    return out.getvalue()


@pytest.fixture
def guest(make: Make) -> Callable[..., Machine]:
    """A machine as a Linux has it that waits: little-endian, interrupts at 0xC000000000004xxx."""

    def made(version: str = "7.2", msr: int = MSR_LINUX, **other: Any) -> Machine:
        m = make(version=version, cpu="power8_v2.0", **other)
        m.processor.run(12)
        for name, value in (("lpcr", LPCR_LINUX), ("msr", msr), ("nia", 0xC000_0000_0006_7700)):
            m.cpu.block.set(name, value)
        m.part("spapr").firmware.active = False  # type: ignore[attr-defined]
        return m

    return made


def without_decrementer(m: Machine, path: Path) -> Path:
    """As QEMU 7.2 saves it: DEC is 0."""
    path.write_bytes(saved(m, QEMU_72))
    m.cpu.block.set("dec_zero", m.cpu.ticks)
    path.write_bytes(saved(m, QEMU_72))
    return path


def found(stream_command: Run, path: Path, receiver: str) -> dict[str, Any]:
    ran = stream_command("doctor", path, "--json", "--for", receiver)
    return {one["name"]: one for one in ran.json}


def test_what_each_receiver_makes_of_the_decrementer(
    guest: Callable[..., Machine], tmp_path: Path, stream_command: Run
) -> None:
    path = without_decrementer(guest(), tmp_path / "stream")
    grades = {
        name: found(stream_command, path, name)["decrementer"]["grade"]
        for name in (QEMU_72, "qemu-10.0", "qemu-11.1", "gossamer")
    }
    assert grades == {QEMU_72: "loss", "qemu-10.0": "note", "qemu-11.1": "loss", "gossamer": "note"}
    assert "QEMU 5.2 has no pseries-7.2" in str(found(stream_command, path, "qemu-5.2")["refused"])
    assert found(stream_command, path, QEMU_72)["timebase"]["grade"] == "note"


def test_the_mend_takes_the_interrupt(
    guest: Callable[..., Machine], make: Make, tmp_path: Path, stream_command: Run
) -> None:
    """Which real QEMUs then go on from (tests/interop/test_pseries_doctor.py)."""
    m = guest()
    m.cpu.block.set("halted", 1)
    path = without_decrementer(m, tmp_path / "stream")
    assert stream_command("doctor", path, "--fix", tmp_path / "fixed").status == 1
    fresh = make(cpu="power8_v2.0", rtc_base=0)
    stream = BytesIO((tmp_path / "fixed").read_bytes())
    read_stream(fresh, stream, Extra("globalstate", GlobalState()), READING)
    block = fresh.cpu.block
    assert block.get("nia") == 0xC000_0000_0000_4900
    assert block.get("msr") == 0x8000_0000_0000_1031
    assert block.get("srr0") == 0xC000_0000_0006_7700
    assert block.get("srr1") == MSR_LINUX & ~0x783F_0000
    assert not block.get("halted")


def test_with_interrupts_off_there_is_no_mend(
    guest: Callable[..., Machine], tmp_path: Path, stream_command: Run
) -> None:
    path = without_decrementer(guest(msr=MSR_LINUX & ~0x8000), tmp_path / "stream")
    one = found(stream_command, path, QEMU_72)["decrementer"]
    assert one["fix"] is None
    assert "MSR[EE] is 0" in one["what"]


def test_a_kernel_that_still_calls_its_firmware(
    make: Make, tmp_path: Path, stream_command: Run
) -> None:
    m = make()
    m.processor.run(3)
    path = tmp_path / "stream"
    path.write_bytes(saved(m, "gossamer"))
    assert found(stream_command, path, QEMU_72)["firmware"]["grade"] == "loss"
    assert "firmware" not in found(stream_command, path, "gossamer")


def test_early_versions_lose_areas_and_level(
    guest: Callable[..., Machine], tmp_path: Path, stream_command: Run
) -> None:
    path = tmp_path / "stream"
    for version, names in (
        ("2.9", {"level", "processor areas"}),
        ("2.12", {"processor areas"}),
        ("3.0", set()),
    ):
        path.write_bytes(saved(guest(version), QEMU_72))
        seen = set(found(stream_command, path, QEMU_72))
        assert seen & {"level", "processor areas"} == names


def test_the_slb_of_newer_qemus(
    guest: Callable[..., Machine], make: Make, tmp_path: Path, stream_command: Run
) -> None:
    """10.0 and 11.1 call it version 2: read here, refused by 7.2, converted both ways."""
    old, new, back = (tmp_path / name for name in ("old", "new", "back"))
    m = guest()
    m.cpu.block.set("slb_esid", 0xC000_0000_0800_0000, 3)
    old.write_bytes(saved(m, QEMU_72))
    new.write_bytes(saved(m, "qemu-10.0"))
    assert b"\x07cpu/slb\0\0\0\x02" in new.read_bytes()
    fresh = make(cpu="power8_v2.0", rtc_base=0)
    extra = Extra("globalstate", GlobalState())
    read_stream(fresh, BytesIO(new.read_bytes()), extra, READING)
    assert fresh.cpu.block.get("slb_esid", 3) == 0xC000_0000_0800_0000
    refused = stream_command("check", new, QEMU_72, "--json").json
    assert {one["section"] for one in refused["findings"]} >= {"cpu.<cpu/slb>"}
    assert stream_command("check", new, "qemu-11.1", "--json").json["loads"]
    assert stream_command("convert", new, back, "--to", QEMU_72).status == 0
    assert stream_command("check", back, QEMU_72, "--json").json["loads"]
    assert back.read_bytes() == old.read_bytes()
    broken = new.read_bytes().replace(b"cpu/slb\0\0\0\x02", b"cpu/slb\0\0\0\x03")
    with pytest.raises(Exception, match=r"version 3, this build reads 1..2"):
        read_stream(make(cpu="power8_v2.0"), BytesIO(broken), extra, READING)


def test_a_stream_of_ours_becomes_qemus(
    guest: Callable[..., Machine], tmp_path: Path, stream_command: Run
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(saved(guest(cpus=2), "gossamer"))
    for to in (QEMU_72, "qemu-10.0"):
        assert not stream_command("check", ours, to, "--json").json["loads"]
        assert stream_command("convert", ours, theirs, "--to", to).status == 0
        assert stream_command("check", theirs, to, "--json").json["loads"]
        assert b"/gossamer" not in theirs.read_bytes()


def test_a_move_says_it_before(guest: Callable[..., Machine]) -> None:
    m = guest()
    said = {
        name: " ".join(str(one) for one in losses(m, release(name)))
        for name in ("qemu-5.2", QEMU_72, "qemu-10.0", "qemu-11.1", "gossamer")
    }
    assert "QEMU 5.2 has no pseries-7.2" in said["qemu-5.2"]
    assert "does not wake a guest" in said["qemu-11.1"]
    assert "does not wake" not in said[QEMU_72] + said["qemu-10.0"] + said["gossamer"]
    assert "QEMU 10.0 has no pseries-2.12" in str(losses(guest("2.12"), release("qemu-10.0"))[0])
    assert "QEMU 11.1 has no pseries-3.1" in str(losses(guest("3.1"), release("qemu-11.1"))[0])


@pytest.mark.parametrize("version", ["2.2", "2.3"])
def test_streams_before_24_have_no_name_and_no_footers(
    guest: Callable[..., Machine], make: Make, tmp_path: Path, stream_command: Run, version: str
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(saved(guest(version), "gossamer"))
    assert stream_command("convert", ours, theirs, "--to", QEMU_72, "--lossy").status == 0
    stream = theirs.read_bytes()
    assert stream[8] == 1, "a section's start, no configuration"
    assert b"/gossamer" not in stream
    fresh = make(version=version, cpu="power8_v2.0", rtc_base=0)
    read_stream(fresh, BytesIO(stream), Extra("globalstate", GlobalState()), READING)
    assert fresh.cpu.block.get("nia") == 0xC000_0000_0006_7700
    for path in (theirs, tmp_path / "direct"):
        path.write_bytes(stream if path == theirs else saved(guest(version), QEMU_72))
        if version == "2.3":
            assert stream_command("check", path, QEMU_72, "--json").json["loads"]
            assert {"level", "processor areas"} <= set(found(stream_command, path, QEMU_72))
        else:
            shown = stream_command("show", path)
            assert "the stream has no description" in shown.err
            shown = stream_command("show", path, "--machine", f"pseries-{version}", "--json")
            values = {s["name"]: s["values"] for s in shown.json["sections"]}
            assert values["cpu"]["env.nip"] == 0xC000_0000_0006_7700


def test_a_stream_of_a_power9_is_refused_by_name(
    guest: Callable[..., Machine], make: Make, tmp_path: Path, stream_command: Run
) -> None:
    """By its PVR, and by the sections of XIVE, which come before that."""
    path, extra = tmp_path / "stream", Extra("globalstate", GlobalState())
    stream = saved(guest(), QEMU_72)
    assert stream.count(bytes.fromhex("004d0200")) >= 1
    at = stream.index(b"\x03cpu\0\0\0\0\0\0\0\x05") + 12 + 8 + 8 * 32 + 32 + 8 + 8 * 287
    assert stream[at : at + 8] == bytes.fromhex("00000000004d0200")
    other = bytearray(stream)
    other[at : at + 8] = bytes.fromhex("00000000004e1200")
    path.write_bytes(other)
    with pytest.raises(StreamError, match=r"PVR must be .*got 0x004e1200 \(a POWER9, which is not"):
        read_stream(make(cpu="power8_v2.0"), BytesIO(bytes(other)), extra, READING)
    (refusal,) = stream_command("check", path, "gossamer", "--json").json["findings"]
    assert "a POWER9, which is not here" in refusal["why"]
    path.write_bytes(stream)
    assert stream_command("check", path, "gossamer", "--json").json["loads"]
    xive = stream.replace(b"\x03ics\0\0\0\0", b"\x0bxive-source\0\0\0\0")
    with pytest.raises(StreamError, match=r"xive-source: .* XIVE interrupts, as with a POWER9"):
        read_stream(make(cpu="power8_v2.0"), BytesIO(xive), extra, READING)
