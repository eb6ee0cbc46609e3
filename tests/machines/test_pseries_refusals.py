"""What a pseries cannot be, said in one line: bad input from the command line and from streams."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO

import pytest

from gossamer.base.errors import ConfigError, StreamError
from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import READING, profile_of
from gossamer.control.stream_in import read_stream
from gossamer.control.stream_out import Extra, save_stream
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.migrate.releases import release
from tests.machines.test_pseries import make

__all__ = ["make"]

REFUSED = {
    "-cpu power9": r"POWER9 .* page tables .* XIVE .* power8",
    "-cpu power10": r"POWER10 .* page tables .* XIVE .* power8",
    "-cpu 7400": r"unknown CPU for pseries '7400' .there is: 970mp_v1.1, power8_v2.0.",
    "-m 300": r"-m: pseries takes multiples of 256 MiB, got 300 MiB",
    "-m 128": r"-m: pseries needs at least 256 MiB of RAM, got 128 MiB",
    "-smp 9": r"-smp: pseries takes 1 to 8 CPUs, got 9",
    "-M pseries-11.0": r"unknown version of pseries '11.0'",
    "-M pseries,cap-foo=on": r"unknown property of pseries 'cap-foo'",
    "-M pseries,cap-htm=on": r"-M cap-htm=on: .* expected cap-htm=off",
    "-M pseries,cap-nested-hv=on": r"-M cap-nested-hv=on: .* expected cap-nested-hv=off",
    "-M pseries,cap-dfp=on": r"-M cap-dfp=on: .* expected cap-dfp=off",
    "-M pseries,cap-dfp=off -cpu power8": r"-M cap-dfp=off: .* expected cap-dfp=on",
    "-M pseries,cap-vsx=off -cpu power8": r"-M cap-vsx=off: .* expected cap-vsx=on",
    "-M pseries,ic-mode=xive": r"ic-mode.*xive.*xics",
    "-M pseries,ic-mode=dual": r"ic-mode.*dual.*xics",
    "-M pseries,x-vof=off": r"-M x-vof=off: the firmware SLOF cannot be run yet",
}


@pytest.mark.parametrize("line", REFUSED)
def test_options_that_cannot_be(line: str) -> None:
    words = [*("-M", "pseries", "-nodefaults", "-nographic", "-serial", "null"), *line.split()]
    with pytest.raises(ConfigError, match=REFUSED[line]) as fault:
        build(parse(words))
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "line", ["-cpu power8 -M pseries,cap-vsx=on,cap-dfp=on,ic-mode=xics", "-M pseries,cap-vsx=off"]
)
def test_what_is_so_may_be_said(line: str) -> None:
    words = [*("-M", "pseries", "-nodefaults", "-nographic", "-serial", "null"), *line.split()]
    assert build(parse(words)).name == "pseries-7.2"


def test_a_stream_of_another_cpu_or_size(make: Callable[..., Machine]) -> None:
    out, extra = BytesIO(), Extra("globalstate", GlobalState())
    save_stream(make(cpu="power8_v2.0"), out, extra, profile_of(release("qemu-7.2")))
    for other, why in (
        ({}, r"PVR must be 0x00440101 .970mp_v1.1., got 0x004d0200"),
        ({"cpu": "power8_v2.0", "ram_size": 512 << 20}, r"ppc_spapr.ram"),
        ({"cpu": "power8_v2.0", "version": "7.1"}, r"machine pseries-7.2, expected pseries-7.1"),
    ):
        with pytest.raises(StreamError, match=why) as fault:
            read_stream(make(**other), BytesIO(out.getvalue()), extra, READING)
        assert not re.search(r"\n", str(fault.value))


@pytest.mark.parametrize("host", [0, 12345, (1 << 64) - 1])
def test_no_hosts_clock_matters(make: Callable[..., Machine], host: int) -> None:
    """PPCTimebase: the guest's own goes on whatever its sender's host showed, and is written."""
    m = make(cpu="power8_v2.0")
    m.processor.run(10)
    out, extra = BytesIO(), Extra("globalstate", GlobalState())
    save_stream(m, out, extra, profile_of(release("qemu-7.2")))
    before = m.cpu.timebase
    spapr = m.part("spapr")
    mine = before.to_bytes(8, "big") + spapr.utc().to_bytes(8, "big")  # type: ignore[attr-defined]
    stream = out.getvalue()
    assert stream.count(mine) == 1, "what a KVM host would go on from: TB and UTC of one moment"
    other = host.to_bytes(8, "big") + (spapr.utc() + 3600 * 10**9).to_bytes(8, "big")  # type: ignore[attr-defined]
    fresh = make(cpu="power8_v2.0", rtc_base=0)
    read_stream(fresh, BytesIO(stream.replace(mine, other)), extra, READING)
    assert fresh.cpu.timebase == before
