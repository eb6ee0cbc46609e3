"""Versions of the pseries: what each has not that the newest has, for its guest and in streams."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from struct import pack, unpack
from typing import Any

import pytest

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError, StreamError
from gossamer.control.globalstate import GlobalState
from gossamer.control.hashing import StateHash
from gossamer.control.losses import losses
from gossamer.control.profiles import READING, profile_of
from gossamer.control.stream_in import _Bodies, load_stream, read_stream
from gossamer.control.stream_out import Extra, body_of, save_stream
from gossamer.devices.spapr.calls import RESOURCE
from gossamer.devices.spapr.llan import BUFFERS_AT, LOST_AT, PLACES, descriptor, length_of
from gossamer.devices.spapr.pft import H_ENTER
from gossamer.devices.spapr.phb import Phb
from gossamer.devices.virtio.blk import VirtioBlk
from gossamer.devices.virtio.net import VirtioNet
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.machines.pseries_versions import ERAS, LATER, era
from gossamer.migrate.framing import Configuration, Description, Section, Walker
from gossamer.migrate.releases import release
from gossamer.migrate.source import Source
from gossamer.state.transfer import OURS
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
    assert names[0] == "2.1"
    assert names[-1] == "7.2"
    assert len(names) == 27
    assert names[11:13] == ["2.12", "2.12-sxxm"]
    with pytest.raises(ConfigError, match=r"unknown version of pseries '2.0'.*there is: .*2.10,"):
        parse(["-M", "pseries-2.0"])
    with pytest.raises(ConfigError, match=r"unknown version of pseries"):
        era("11.0")


def test_later_versions_are_what_72_is(make: Callable[..., Machine]) -> None:
    """Except that only a QEMU which has them takes them."""
    assert [one.name for one in LATER] == ["8.0", "8.1", "8.2", "9.0", "9.1", "9.2", "10.0"]
    assert {replace(one, name="7.2") for one in LATER} == {era("7.2")}
    m = make(version="9.1")
    stream = bytes_of(m, profile=profile_of(release("qemu-10.0")))
    assert b"\x0bpseries-9.1" in stream[:40]
    read_stream(make(version="9.1", rtc_base=0), BytesIO(stream), extra(), READING)
    assert "QEMU 7.2 has no pseries-9.1" in str(losses(m, release("qemu-7.2"))[0])
    assert not any("has no pseries" in str(one) for one in losses(m, release("qemu-10.0")))


def test_our_own_version_is_qemus_on_the_wire(make: Callable[..., Machine]) -> None:
    """pseries-1.0 is pseries-7.2 there, so that a guest goes from the one to the other."""
    for one, other in (("1.0", "7.2"), ("7.2", "1.0")):
        m, fresh = make(version=one), make(version=other, rtc_base=0)
        m.processor.run(5)
        stream = bytes_of(m)
        assert b"\x0bpseries-7.2" in stream[:40]
        load_stream(fresh, BytesIO(stream), extra())
        assert StateHash(fresh).sections() == StateHash(m).sections()
        read_stream(make(version=other), BytesIO(bytes_of(m, profile=QEMU)), extra(), READING)
    assert era("1.0") == era("7.2")
    assert parse(["-M", "pseries"]).version == "7.2", "the default is QEMU's newest"
    with pytest.raises(StreamError, match=r"machine pseries-7.2, expected pseries-7.1"):
        load_stream(make(version="7.1"), BytesIO(stream), extra())


def test_a_stream_of_another_version_is_refused(make: Callable[..., Machine]) -> None:
    stream = bytes_of(make(version="3.1"))
    with pytest.raises(StreamError, match=r"machine pseries-3.1, expected pseries-2.9"):
        load_stream(make(version="2.9"), BytesIO(stream), extra())


@pytest.mark.parametrize("version", ["2.1", "2.3", "2.7", "2.8", "3.0", "4.0"])
def test_nothing_is_lost_between_ours(make: Callable[..., Machine], version: str) -> None:
    """Though QEMU has no processor area before 3.0, and no tree before 4.0, in its streams."""
    m = make(version=version)
    own = m.part("cpu/spapr")
    own.vpa, own.slb_shadow, own.slb_shadow_size = 0x8000, 0x8400, 0x80  # type: ignore[attr-defined]
    own.prodded = True  # type: ignore[attr-defined]
    m.cpu.block.set("slb_esid", 0xC000_0000_0800_0000, 3)
    m.part("spapr").ov5 = 5  # type: ignore[attr-defined]
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


@pytest.mark.parametrize(
    ("version", "size", "bars", "ports", "high", "low"),
    [
        ("2.1", 128, [0, 1], 0x40, 0, 0x71000ED4 & ~0x6000),
        ("2.6", 128, [0, 1], 0x40, 0, 0x71000E54 & ~0x6000),
        ("2.7", 128, [0, 1, 4], 0x40, 1, 0x79000E54 & ~0x6000),
        ("3.1", 128, [0, 1, 4], 0x40, 1, 0x79000E54 & ~0x6000),
        ("4.2", 128, [0, 1, 4], 0x80, 1, 0x79006E54),
        ("5.0", 256, [0, 1, 4], 0x80, 1, 0x79006E54),
        ("7.2", 256, [0, 1, 4], 0x80, 0x101, 0x79006E54),
    ],
)
def test_a_virtio_disk_has_what_its_version_had(
    tmp_path: Path, version: str, size: int, bars: list[int], ports: int, high: int, low: int
) -> None:
    """As `info qtree` of QEMU 7.2 has it."""
    image = tmp_path / "disk"
    image.write_bytes(bytes(1 << 16))
    words = ["-nodefaults", "-m", "256", "-drive", f"if=virtio,file={image},format=raw"]
    disk = build(parse(["-M", f"pseries-{version}", *words])).part("pci/virtio-blk@00.0")
    assert isinstance(disk, VirtioBlk)
    assert [q.size for q in disk.queues] == [size]
    assert [bar.number for bar in disk.bars] == bars
    assert disk.bars[0].target.size == ports
    assert (disk.host_features >> 32, disk.host_features & 0xFFFF_FFFF) == (high, low)
    assert disk.read_config(0x34, 1) == (0x98 if 4 in bars else 0x40)
    if 4 in bars:
        assert disk.bars[2].target.size == (0x80_0000 if version == "2.7" else 0x4000)


def test_27_has_a_page_of_notifications_for_each_queue() -> None:
    m = build(parse(["-M", "pseries-2.7", "-nodefaults", "-m", "256", "-device", "virtio-net-pci"]))
    card, notified = m.part("pci/virtio-net@00.0"), list[int]()
    assert isinstance(card, VirtioNet)
    for queue in card.queues:
        queue.desc, queue.handle = 0x1000, lambda one: notified.append(one.number)
    for at in (0x3000, 0x4000, 0x5000, 0x3004, 0x40_2FFC, 0x40_3000):
        card.modern_region.store(at, 0, 2)
    assert notified == [0, 1, 2, 0]


def test_messages_before_31_are_sources_that_are_free() -> None:
    """In order; those of LSIs, of the terminal and of virtual devices are not given away."""
    m = build(parse(["-M", "pseries-2.5", "-nodefaults", "-m", "256", "-device", "virtio-net-pci"]))
    phb = m.part("phb")
    assert isinstance(phb, Phb)
    others = {phb.ics.first + n for n in phb.ics.claimed}
    given = [phb.allocate(3, aligned=False) for _ in range(400)]
    assert given[-1] == 0
    ours = [first + n for first in given if first for n in range(3)]
    assert len(ours) == len({*ours})
    assert not others & {*ours}
    assert max(ours) < phb.ics.first + len(phb.ics.irqs)
    assert phb.allocate(32, aligned=True) == 0
    phb.messages[0] = given[5], 3
    phb.release(0)
    assert phb.allocate(3, aligned=False) == given[5]


# --- up to 2.7 -----------------------------------------------------------------------------------


def events_of(stream: bytes, m: Machine) -> list[object]:
    bodies = _Bodies(m, Source(BytesIO(stream), 0), extra(), READING)
    return list(Walker(Source(BytesIO(stream), 0), bodies).events())


@pytest.mark.parametrize(
    ("version", "named", "described"),
    [("2.1", False, False), ("2.2", False, False), ("2.3", False, True), ("2.4", True, True)],
)
def test_what_stands_around_the_sections(
    make: Callable[..., Machine], version: str, named: bool, described: bool
) -> None:
    for profile, name, text in ((QEMU, named, described), (OURS, True, True)):
        stream = bytes_of(make(version=version), profile=profile)
        found = events_of(stream, make(version=version))
        assert any(isinstance(one, Configuration) for one in found) is name
        assert any(isinstance(one, Description) for one in found) is text
        sections = [one for one in found if isinstance(one, Section)]
        assert all(one.footer is name for one in sections)
        fresh = make(version=version, rtc_base=0)
        read_stream(fresh, BytesIO(stream), extra(), READING)


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize("state", ["running", "paused", "prelaunch"])
def test_the_run_state_where_it_is_not_usual(
    make: Callable[..., Machine], version: str, state: str
) -> None:
    m, out = make(version=version), BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState(state)), QEMU)
    assert (b"globalstate" in out.getvalue()) is (version == "2.4" or state == "prelaunch")
    out = BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState(state)))
    assert b"globalstate" in out.getvalue()


@pytest.mark.parametrize("cpu", ["970mp_v1.1", "power8_v2.0"])
def test_the_cpu_ends_with_masks_up_to_27(make: Callable[..., Machine], cpu: str) -> None:
    """Which are read over: another release knows more instructions."""
    early, late = (make(version=v, cpu=cpu) for v in ("2.7", "2.8"))
    a, b = body_of(early.cpu, QEMU), body_of(late.cpu, QEMU)
    assert len(a) == len(b) + 28
    at = 8 + 8 * 32 + 4 * 8 + 8 + 8 * 1024 + 4 * 8
    assert a[at + 28 :] == b[at:]
    assert int.from_bytes(a[at + 24 : at + 28], "big") == (0 if "8" in cpu else 4), "BATs"
    stream = bytearray(bytes_of(early, profile=QEMU))
    at += stream.index(a)
    stream[at : at + 28] = b"\xff" * 28
    fresh = make(version="2.7", cpu=cpu)
    read_stream(fresh, BytesIO(bytes(stream)), extra(), READING)
    assert body_of(fresh.cpu, QEMU) == a


@pytest.mark.parametrize(("version", "size"), [("2.1", 0x2000_0000), ("2.7", 0xF_8000_0000)])
def test_the_bridge_says_where_its_windows_are_up_to_27(
    make: Callable[..., Machine], version: str, size: int
) -> None:
    m = make(version=version)
    body = body_of(m.part("phb"), QEMU)
    assert body[8:44] == pack(">I4Q", 0x8000_0000, 0x100_A000_0000, size, 0x100_8000_0000, 0x1_0000)
    stream = bytes_of(m, profile=QEMU)
    other = stream.replace(size.to_bytes(8, "big"), (size + 1).to_bytes(8, "big"))
    with pytest.raises(StreamError, match=rf"mig_mem_win_size.*must be {size:#x}"):
        read_stream(make(version=version), BytesIO(other), extra(), READING)


def test_one_dma_window_up_to_26(make: Callable[..., Machine]) -> None:
    for version, count in (("2.6", 1), ("2.7", 2)):
        m = make(version=version)
        numbers = {part.instance for part in m.sections if part.idstr == "spapr_iommu"}
        assert (0x8000_0001 in numbers) is (count == 2)
        assert m.part("phb").start_of_next() == 0x800_0000_0000_0000  # type: ignore[attr-defined]
        spare = m.part("phb").free_window  # type: ignore[attr-defined]
        assert (spare is None) is (count == 1)


def test_options_are_kept_without_qemu_knowing_up_to_27(make: Callable[..., Machine]) -> None:
    for version, said in (("2.7", False), ("2.8", True)):
        stream = bytes_of(make(version=version), profile=QEMU)
        assert (b"spapr_option_vector_ov5_cas" in stream) is said


def test_buffers_stand_in_the_guests_page_up_to_25(make: Callable[..., Machine]) -> None:
    """Each is taken in turn; the tale of real calls is tests/interop's."""
    card: Any = make(version="2.5", nic=True).part("vio/l-lan@71000002")
    ram = bytearray(1 << 16)
    card.memory = Memory(ram)
    card.isopen, card.buf_list = True, 0x1000
    card.add_buf_ptr, card.use_buf_ptr = BUFFERS_AT - 8, BUFFERS_AT
    for n in range(3):
        assert card.lend(Call(5, descriptor(0x4000 + 0x800 * n, 0x600 - 0x200 * n))) == 0
    words = [card.memory.word(0x1000 + BUFFERS_AT + 8 * n) for n in range(4)]
    assert [length_of(word) for word in words] == [0x600, 0x400, 0x200, 0]
    assert card.receive(b"x" * 0x3F8)
    assert card.use_buf_ptr == BUFFERS_AT + 8
    assert card.memory.word(0x1000 + BUFFERS_AT + 8) == 0
    assert card.rx_bufs == 2
    assert card.receive(b"y" * 0x5F8)
    assert card.use_buf_ptr == BUFFERS_AT, "it goes round"
    assert card.receive(b"z" * 0x5F8)
    assert card.memory.word(0x1000 + LOST_AT) == 1, "no buffer is as large: counted"
    assert card.rx_bufs == 1
    for _ in range(PLACES - 1):
        assert card.lend(Call(5, descriptor(0x4000, 0x600))) == 0
    assert card.lend(Call(5, descriptor(0x4000, 0x600))) == RESOURCE
    assert b"rx_pools" not in body_of(card, QEMU)


class Call:
    """Registers of a hypercall with one argument that counts."""

    def __init__(self, number: int, value: int) -> None:
        self.number, self.value = number, value

    def get(self, name: str, n: int) -> int:
        return self.value if n == self.number else 0


class Memory:
    """Memory that a card sees as it is."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def may(self, address: int, length: int) -> bool:
        return address + length <= len(self.data)

    def write(self, address: int, data: bytes) -> bool:
        self.data[address : address + len(data)] = data
        return True

    def word(self, address: int) -> int:
        return int.from_bytes(self.data[address : address + 8], "big")

    def put(self, address: int, value: int) -> bool:
        return self.write(address, value.to_bytes(8, "big"))
