"""Versions of the pseries: what each has not that the newest has, for its guest and in streams."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from struct import pack, unpack

import pytest

from gossamer.base.errors import ConfigError, StreamError
from gossamer.control.globalstate import GlobalState
from gossamer.control.hashing import StateHash
from gossamer.control.losses import losses
from gossamer.control.profiles import READING, profile_of
from gossamer.control.stream_in import load_stream, read_stream
from gossamer.control.stream_out import Extra, body_of, save_stream
from gossamer.devices.spapr.pft import H_ENTER
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.machines.pseries_versions import ERAS, era
from gossamer.migrate.releases import release
from tests.machines.test_pseries import STARTER, elf, make

__all__ = ["make"]

QEMU = profile_of(release("qemu-7.2"))
#: r4 flags, r5 index, r6 V with L, r7 R: a page of 16 MiB at 0.
LARGE = (0, 0, 0x400E_A1B2_1700_0301 | 4, 0x10)


def extra() -> Extra:
    return Extra("globalstate", GlobalState())


def bytes_of(m: Machine, **how: object) -> bytes:
    out = BytesIO()
    save_stream(m, out, extra(), **how)  # type: ignore[arg-type]
    return out.getvalue()


def test_there_are_those_of_qemu_72() -> None:
    names = [one.name for one in ERAS]
    assert names[0] == "2.8"
    assert names[-1] == "7.2"
    assert len(names) == 20
    assert names[4:6] == ["2.12", "2.12-sxxm"]
    with pytest.raises(ConfigError, match=r"unknown version of pseries '2.7'.*there is: 2.10,"):
        parse(["-M", "pseries-2.7"])
    with pytest.raises(ConfigError, match=r"unknown version of pseries"):
        era("8.0")


def test_a_stream_of_another_version_is_refused(make: Callable[..., Machine]) -> None:
    stream = bytes_of(make(version="3.1"))
    with pytest.raises(StreamError, match=r"machine pseries-3.1, expected pseries-2.9"):
        load_stream(make(version="2.9"), BytesIO(stream), extra())


@pytest.mark.parametrize("version", ["2.8", "3.0", "4.0"])
def test_nothing_is_lost_between_ours(make: Callable[..., Machine], version: str) -> None:
    """Though QEMU has no processor area before 3.0, and no tree before 4.0, in its streams."""
    m = make(version=version)
    own = m.part("cpu/spapr")
    own.vpa, own.slb_shadow, own.slb_shadow_size = 0x8000, 0x8400, 0x80  # type: ignore[attr-defined]
    own.prodded = True  # type: ignore[attr-defined]
    m.cpu.block.set("slb_esid", 0xC000_0000_0800_0000, 3)
    m.processor.run(5)
    fresh = make(version=version, rtc_base=0)
    load_stream(fresh, BytesIO(bytes_of(m)), extra())
    assert StateHash(fresh).sections() == StateHash(m).sections()
    firmware = [one.part("spapr").firmware for one in (m, fresh)]  # type: ignore[attr-defined]
    assert firmware[0].active
    assert firmware[0].blob == firmware[1].blob
    for one in (m, fresh):
        one.processor.run(40)
    assert StateHash(fresh).value() == StateHash(m).value()


def test_qemu_learns_of_no_area_before_30(make: Callable[..., Machine]) -> None:
    for version, lost in (("2.12", True), ("3.0", False)):
        m = make(version=version)
        m.part("cpu/spapr").vpa = 0x8000  # type: ignore[attr-defined]
        assert (b"spapr_cpu/vpa" in bytes_of(m, profile=QEMU)) is not lost
        said = [str(one) for one in losses(m, release("qemu-7.2"))]
        assert any("virtual processor areas" in one for one in said) is lost


def test_the_slb_is_counted_up_to_212(make: Callable[..., Machine]) -> None:
    early, late = (make(version=v, cpu="power8_v2.0") for v in ("2.12", "3.0"))
    a, b = body_of(early.cpu, QEMU), body_of(late.cpu, QEMU)
    assert len(a) == len(b) + 4
    at = a.index(b"cpu/slb") + len(b"cpu/slb") + 4
    assert a[at : at + 4] == (32).to_bytes(4, "big")
    stream = bytearray(bytes_of(early, profile=QEMU))
    at = stream.index(b"cpu/slb") + len(b"cpu/slb") + 4
    stream[at + 3] = 64
    with pytest.raises(StreamError, match=r"an SLB of 64 entries, power8_v2.0 has 32"):
        read_stream(
            make(version="2.12", cpu="power8_v2.0"), BytesIO(bytes(stream)), extra(), READING
        )


def test_transactions_are_refused(make: Callable[..., Machine]) -> None:
    """Up to 2.11 a POWER8 says that it has none (cap-htm=off)."""
    stream = bytearray(bytes_of(make(version="2.11", cpu="power8_v2.0"), profile=QEMU))
    at = stream.index(b"spapr/cap/htm") + len(b"spapr/cap/htm") + 4
    assert stream[at] == 0
    stream[at] = 1
    with pytest.raises(StreamError, match=r"transactional memory is on \(cap-htm\)"):
        read_stream(
            make(version="2.11", cpu="power8_v2.0"), BytesIO(bytes(stream)), extra(), READING
        )
    assert b"spapr/cap/htm" not in bytes_of(make(version="2.11"), profile=QEMU)
    assert b"spapr/cap/htm" not in bytes_of(make(version="2.12", cpu="power8_v2.0"), profile=QEMU)


@pytest.mark.parametrize(("version", "answer"), [("2.12", 0), ("3.0", (1 << 64) - 4)])
def test_large_pages_up_to_212(make: Callable[..., Machine], version: str, answer: int) -> None:
    m = make(version=version)
    for n, value in enumerate((H_ENTER, *LARGE), 3):
        m.cpu.block.set("gpr", value, n)
    m.cpu.hypercall()
    assert m.cpu.block.get("gpr", 3) == answer


@pytest.mark.parametrize(("version", "number"), [("4.1", 8), ("4.2", 1)])
def test_a_second_cpu_has_the_number_of_its_version(
    make: Callable[..., Machine], tmp_path: Path, version: str, number: int
) -> None:
    """start-cpu takes the number that the tree has, and so do interrupt servers."""
    words = list(unpack(">28I", STARTER))
    words[7:7] = [0x3860_0000 | number]  # li r3: which CPU
    del words[20]  # a nop
    starter = tmp_path / "starter"
    starter.write_bytes(elf(pack(">28I", *words)))
    m = make(version=version, kernel=starter, cpus=2)
    nodes = m.part("spapr").firmware.root.find("/cpus").children  # type: ignore[attr-defined]
    assert [node.name.partition("@")[2] for node in nodes] == ["0", f"{number:x}"]
    assert list(m.part("ics").servers) == [0, number]  # type: ignore[attr-defined]
    m.processor.run(45)
    assert m.memory.read(0x42_0000, 4) == (42).to_bytes(4, "big")


def test_virtio_before_50_is_refused(make: Callable[..., Machine]) -> None:
    words = ["-nodefaults", "-m", "256", "-device", "virtio-net-pci"]
    config = parse(["-M", "pseries-4.2", *words])
    with pytest.raises(ConfigError, match=r"-device virtio-net-pci: pseries-4.2 takes no virtio"):
        build(config)
