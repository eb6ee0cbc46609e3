"""A pseries under hostile calls and rings: no traceback, and no difference to one that is moved."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from gossamer.control.globalstate import GlobalState
from gossamer.control.hashing import StateHash
from gossamer.control.stream_in import load_stream
from gossamer.control.stream_out import Extra, save_stream
from gossamer.devices.spapr.rtas import TOKENS
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.verify.hostile.server import CALLS, ServerGuest


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Machine]:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 16))

    def made() -> Machine:
        options = ["-M", "pseries", "-m", "256", "-smp", "2", "-nographic", "-serial", "null"]
        options += ["-rtc", "base=2020-01-01", "-nodefaults", "-netdev", "user,id=n"]
        options += ["-drive", f"if=none,id=d,format=raw,snapshot=on,file={disk}"]
        options += ["-device", "virtio-blk-pci,drive=d"]
        options += ["-device", "virtio-net-pci,netdev=n,iommu_platform=on"]
        m = build(parse(options))
        m.serials[0].transmit = lambda byte: None
        return m

    return made


@pytest.mark.parametrize(
    ("seed", "cuts", "steps"),
    [(3, 2, 900), *(pytest.param(n, 4, 3000, marks=pytest.mark.slow) for n in (4, 5))],
)
def test_nothing_breaks_and_a_cut_changes_nothing(
    make: Callable[..., Machine], seed: int, cuts: int, steps: int
) -> None:
    lanes = [ServerGuest(make(), seed), ServerGuest(make(), seed)]
    for _ in range(cuts):
        for lane in lanes:
            for _ in range(steps):
                lane.step()
        out, fresh = BytesIO(), make()
        save_stream(lanes[1].machine, out, Extra("globalstate", GlobalState()))
        load_stream(fresh, BytesIO(out.getvalue()), Extra("globalstate", GlobalState()))
        lanes[1].machine = fresh
        sections = [StateHash(lane.machine).sections() for lane in lanes]
        assert sections[0] == sections[1]
        assert StateHash(lanes[0].machine).ram() == StateHash(fresh).ram()
    answers = lanes[0].answers
    assert answers == lanes[1].answers
    assert {name for name, code in answers if name in TOKENS} == {*TOKENS}
    assert {name for name, _ in answers} >= {hex(number) for number in CALLS}
    good = {name for name, code in answers if code == 0}
    assert good >= {"0x4", "0x8", "0x20", "H_RTAS", "ibm,write-pci-config", "0xf005"}
