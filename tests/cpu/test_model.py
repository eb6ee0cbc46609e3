"""What models differ in: the BATs in force and what MSR[POW] needs, on both engines."""

from __future__ import annotations

import pytest

from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble
from tests.engine.rig import Rig

MSR_DR, MSR_POW = 0x10, 0x4_0000
HIGH_BAT_EN = 0x0080_0000


@pytest.mark.parametrize("engine", [Tier0, Reference])
@pytest.mark.parametrize(
    ("cpu", "hid0", "mapped"),
    [
        ("750", HIGH_BAT_EN, False),
        ("7400", HIGH_BAT_EN, False),
        ("604e", HIGH_BAT_EN, False),
        ("750fx", 0, True),
        ("7455", 0, False),
        ("7455", HIGH_BAT_EN, True),
        ("7447a", HIGH_BAT_EN, True),
    ],
)
def test_bats_4_to_7(engine: type, cpu: str, hid0: int, mapped: bool) -> None:
    rig = Rig(engine, cpu=cpu)
    rig.block.set("dbat", 0x4000_0002, 14)  # DBAT7: 128 KiB at 0x40000000, supervisor
    rig.block.set("dbat", 0x0002_0002, 15)
    rig.write(0x2_0008, bytes.fromhex("12345678"))
    rig.write(0x1_0000, assemble("mtspr 1008,7; mtmsr 6; lwz 5,8(4)"))
    rig.set(r4=0x4000_0000, r6=MSR_DR, r7=hid0, sdr1=0x8_0000)
    rig.run(3)
    assert (rig.get("nia"), rig.get("r5")) == ((0x1_000C, 0x1234_5678) if mapped else (0x300, 0))


@pytest.mark.parametrize(
    ("cpu", "hid0", "waits"),
    [
        ("604e", 0, True),
        ("750", 0, False),
        ("750", HIGH_BAT_EN, True),  # DOZE there
        ("7455", HIGH_BAT_EN, False),
        ("7455", 0x0040_0000, True),
    ],
)
def test_what_power_saving_needs(cpu: str, hid0: int, waits: bool) -> None:
    rig = Rig(cpu=cpu)
    rig.set(msr=MSR_POW, hid0=hid0)
    assert rig.cpu.waiting is waits
