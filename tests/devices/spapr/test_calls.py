"""Hypercalls about the CPU, memory and DMA windows; answers as measured with QEMU 7.2."""

from __future__ import annotations

import pytest

from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.devices.spapr import processor_calls as calls
from gossamer.devices.spapr import tce
from gossamer.devices.spapr.processor_calls import ProcessorCalls
from gossamer.devices.spapr.spapr import SpaprCpu
from gossamer.devices.spapr.tce import TceWindow, tce_calls
from gossamer.state.transfer import load, save
from tests.devices.spapr.rig import RAM, Rig

AREA, SHADOW = 0x4_0000, 0x5_0000
WINDOW = 0x8000_0000
FAR = ((1 << 64) - 8, 1 << 63, RAM, RAM - 4)


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.add(ProcessorCalls(made.ram, made.vcpus).handlers())
    made.memory.write(AREA + 4, b"\x02\x80")
    made.memory.write(SHADOW + 4, b"\0\0\0\x80")
    return made


def test_areas(rig: Rig) -> None:
    call, own = rig.call, rig.vcpus.caller.own
    assert call(calls.H_REGISTER_VPA, calls.SLB_SHADOW, 0, SHADOW)[0] == -16
    assert call(calls.H_REGISTER_VPA, calls.VPA, 0, 0)[0] == -1
    assert call(calls.H_REGISTER_VPA, calls.VPA, 1, AREA)[0] == -4
    assert call(calls.H_REGISTER_VPA, calls.VPA, 0, AREA)[0] == 0
    assert rig.ram.uint(AREA + 9, 1) == 2
    assert call(calls.H_REGISTER_VPA, calls.SLB_SHADOW, 0, SHADOW)[0] == 0
    assert (own.vpa, own.slb_shadow, own.slb_shadow_size) == (AREA, SHADOW, 0x80)
    w = WireWriter()
    save(own, w)
    assert w.data.hex() == (
        "050d" + b"spapr_cpu/vpa".hex() + "00000001" + f"{AREA:016x}"
        "0518" + b"spapr_cpu/vpa/slb_shadow".hex() + "00000001" + f"{SHADOW:016x}{0x80:016x}"
    ).replace("0518", f"05{len('spapr_cpu/vpa/slb_shadow'):02x}")
    other = SpaprCpu(Clock())
    load(other, WireReader(bytes(w.data)), 1)
    assert other.slb_shadow_size == 0x80
    assert call(calls.H_REGISTER_VPA, calls.NO_VPA, 0)[0] == -16
    assert call(calls.H_REGISTER_VPA, calls.NO_SLB_SHADOW, 0)[0] == 0
    assert call(calls.H_REGISTER_VPA, calls.NO_VPA, 0)[0] == 0
    for address in (*FAR, AREA + 8, AREA + 0xF80):
        assert call(calls.H_REGISTER_VPA, calls.VPA, 0, address)[0] == -4


def test_modes_and_characteristics(rig: Rig) -> None:
    assert rig.call(calls.H_SET_MODE, 0, calls.ENDIAN)[0] == 0
    assert rig.call(calls.H_SET_MODE, 3, calls.ALTERNATE_INTERRUPTS)[0] == -55
    assert rig.call(calls.H_SET_MODE, 0, calls.ENDIAN, 1)[0] == -56
    found = rig.call(calls.H_GET_CPU_CHARACTERISTICS)
    assert found[1][:2] == [0x0400_0000_0000_0000, 0xE000_0000_0000_0000]
    assert rig.call(calls.H_SET_DABR, 0x1000)[0] == 0
    assert rig.regs.get("dabr") == 0x1000
    assert rig.call(calls.H_SET_XDABR, 1, 0)[0] == -8
    assert rig.call(calls.H_PROD, 0)[0] == 0
    assert rig.call(calls.H_PROD, 1)[0] == -4


def test_memory(rig: Rig) -> None:
    rig.memory.write(0x1000, bytes(range(16)))
    assert rig.call(calls.H_LOGICAL_CI_LOAD, 8, 0x1000)[1][0] == 0x0001_0203_0405_0607
    assert rig.call(calls.H_LOGICAL_CI_STORE, 4, 0x1004, 0x1_DEAD_BEEF)[0] == 0
    assert rig.ram.read(0x1004, 4).hex() == "deadbeef"
    assert rig.call(calls.H_LOGICAL_MEMOP, 0x2000, 0x1000, 2, 2, 0)[0] == 0
    assert rig.call(calls.H_LOGICAL_MEMOP, 0x2008, 0x2000, 3, 1, 1)[0] == 0
    assert rig.ram.read(0x2000, 16).hex() == "00010203deadbeeffffefdfc21524110"
    assert rig.call(calls.H_PAGE_INIT, calls.COPY_PAGE, 0x3000, 0x2000)[0] == 0
    assert rig.ram.read(0x3000, 4).hex() == "00010203"
    assert rig.call(calls.H_PAGE_INIT, calls.ZERO_PAGE, 0x3000, 0)[0] == 0
    assert not rig.ram.read(0x3000, 4096).strip(b"\0")


@pytest.mark.parametrize("address", FAR)
def test_nothing_outside_memory(rig: Rig, address: int) -> None:
    assert rig.call(calls.H_LOGICAL_CI_LOAD, 8, address)[0] == -4
    assert rig.call(calls.H_LOGICAL_CI_STORE, 8, address, 1)[0] == -4
    assert rig.call(calls.H_LOGICAL_MEMOP, address, 0x1000, 0, 64, 0)[0] == -4
    assert rig.call(calls.H_LOGICAL_MEMOP, 0x1000, address, 0, 64, 0)[0] == -4
    assert rig.call(calls.H_LOGICAL_MEMOP, 0x1000, 0x1000, 3, address, 0)[0] == -4
    assert rig.call(calls.H_PAGE_INIT, calls.ZERO_PAGE, address, 0)[0] == -4
    assert rig.call(calls.H_PAGE_INIT, calls.COPY_PAGE, 0x1000, address)[0] == -4


def test_sizes_that_are_none(rig: Rig) -> None:
    assert rig.call(calls.H_LOGICAL_CI_LOAD, 3, 0x1000)[0] == -4
    assert rig.call(calls.H_LOGICAL_MEMOP, 0x2000, 0x1000, 4, 4, 0)[0] == -4
    assert rig.call(calls.H_LOGICAL_MEMOP, 0x2000, 0x1000, 0, 4, 2)[0] == -4
    assert rig.call(calls.H_LOGICAL_MEMOP, 0x2001, 0x1000, 1, 4, 0)[0] == -4


# --- DMA windows ----------------------------------------------------------------------------------


@pytest.fixture
def window() -> TceWindow:
    return TceWindow(Clock(), WINDOW, start=0x4_0000)


@pytest.fixture
def dma(window: TceWindow) -> Rig:
    made = Rig()
    made.add(tce_calls({WINDOW: window, WINDOW + 1: TceWindow(Clock(), WINDOW + 1)}, made.ram))
    return made


def test_entries(dma: Rig, window: TceWindow) -> None:
    assert dma.call(tce.H_PUT_TCE, WINDOW, 0x1000, 0x5003)[0] == 0
    assert dma.call(tce.H_GET_TCE, WINDOW, 0x1FFF)[1][0] == 0x5003
    assert dma.call(tce.H_STUFF_TCE, WINDOW, 0x2000, 0x7001, 513)[0] == 0
    assert dma.call(tce.H_GET_TCE, WINDOW, 0x20_2000)[1][0] == 0x7001
    assert dma.call(tce.H_STUFF_TCE, WINDOW, 0x3FFF_F000, 0, 1)[0] == 0
    dma.memory.write(0x8000, b"".join(n.to_bytes(8, "big") for n in (0x1003, 0x2003)))
    assert dma.call(tce.H_PUT_TCE_INDIRECT, WINDOW, 0, 0x8000, 2)[0] == 0
    assert window.entries[:2].tolist() == [0x1003, 0x2003]


@pytest.mark.parametrize("address", [0x4000_0000, (1 << 64) - 0x1000, 1 << 63])
def test_bus_addresses_outside(dma: Rig, address: int) -> None:
    assert dma.call(tce.H_PUT_TCE, WINDOW, address, 3)[0] == -4
    assert dma.call(tce.H_GET_TCE, WINDOW, address)[0] == -4
    assert dma.call(tce.H_STUFF_TCE, WINDOW, address, 0, 1)[0] == -4
    assert dma.call(tce.H_STUFF_TCE, WINDOW, 0, 0, address)[0] == -4


def test_lists_that_are_none(dma: Rig) -> None:
    for address, count in (
        (0x8008, 2),
        (0x8000, 513),
        (RAM, 1),
        (1 << 40, 4),
        ((1 << 64) - 4096, 4),
    ):
        assert dma.call(tce.H_PUT_TCE_INDIRECT, WINDOW, 0, address, count)[0] == -4
    assert dma.call(tce.H_GET_TCE, WINDOW + 1, 0)[0] == dma.call(tce.H_GET_TCE, 5, 0)[0] == -4
    assert dma.call(tce.H_STUFF_TCE, WINDOW, 0x3FFF_F000, 0, 2)[0] == -4


def test_windows_on_the_wire(window: TceWindow) -> None:
    window.entries[3] = 0x1234_5003
    w = WireWriter()
    save(window, w)
    assert len(w.data) == 2_097_162
    other = TceWindow(Clock(), WINDOW, start=0x4_0000)
    load(other, WireReader(bytes(w.data)), 3)
    assert other.entries[3] == 0x1234_5003
    second = WireWriter()
    save(TceWindow(Clock(), WINDOW + 1), second)
    assert len(second.data) == 42
