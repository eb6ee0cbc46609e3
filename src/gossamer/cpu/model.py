"""CPU models: what differs between the parts.  Source: the parts' user's manuals; QEMU's names.

The SPR table (`isa.spec.spr`) and the instruction rows name the parts that have them; here is what
else distinguishes one from another.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.isa.architecture import Architecture, architecture

#: HID0[DOZE, NAP, SLEEP] (MPC750UM 10.2).
DOZE_750: Final = 0x00E0_0000
#: HID0[NAP, SLEEP]: bit 8 is HIGH_BAT_EN there (MPC7450UM 2.1.5).
DOZE_7450: Final = 0x0060_0000


#: Parts with the 405 core, which differ in nothing else here, in QEMU's names.
PVRS_405: Final = {
    "405ep": 0x5121_0950,
    "405d2": 0x2001_0000,
    "405d4": 0x4181_0000,
    "405cra": 0x4011_0041,
    "405crb": 0x4011_00C5,
    "405crc": 0x4011_0145,
    "405gpa": 0x4011_0000,
    "405gpb": 0x4011_0040,
    "405gpc": 0x4011_0082,
    "405gpd": 0x4011_00C4,
    "405gpr": 0x5091_0951,
    "405ez": 0x4151_1460,
    "405lp": 0x41F1_0000,
}


class CpuModel(Data):
    """A part: its PVR, what its instructions are read for, the reset value of HID1 (PLL settings).

    `doze` gives the HID0 bits of which one must be set for MSR[POW] to save power; none: MSR[POW]
    alone does.  `lacking` says what of the part is not here yet; a model with such a note can't be
    run.
    """

    name: str
    title: str
    pvr: int
    architecture: Architecture
    hid1: int = 0
    doze: int = DOZE_750
    lacking: str = ""

    @property
    def features(self) -> frozenset[str]:
        """Names of the part, its families and levels, as rows of `isa` have them."""
        return self.architecture.features


MODELS: Final = {
    m.name: m
    for m in (
        CpuModel("750", "PowerPC 750 v3.1 (G3)", 0x0008_0301, architecture("750")),
        CpuModel("7400", "PowerPC 7400 v2.9 (G4)", 0x000C_0209, architecture("7400")),
        CpuModel("603e", "PowerPC 603e v4.1", 0x0006_0401, architecture("603e", mmu="loaded")),
        CpuModel("604e", "PowerPC 604e v2.4", 0x0009_0204, architecture("604e"), doze=0),
        CpuModel("750fx", "PowerPC 750FX v2.3", 0x7000_0203, architecture("750fx")),
        *(
            CpuModel(name, f"PowerPC {name.upper()}", pvr, architecture("405", mmu="embedded"))
            for name, pvr in PVRS_405.items()
        ),
        CpuModel(
            "970mp_v1.1",
            "PowerPC 970MP v1.1 (G5)",
            0x0044_0101,
            architecture("970", level="2.01", word=64, mmu="slb"),
            doze=0,
        ),
        CpuModel(
            "power8_v2.0",
            "POWER8 v2.0",
            0x004D_0200,
            architecture("power8", level="2.07", word=64, mmu="slb"),
            doze=0,
        ),
        CpuModel(
            "7447a", "PowerPC 7447A v1.2 (G4)", 0x8003_0102, architecture("7450"), doze=DOZE_7450
        ),
        CpuModel(
            "7455",
            "PowerPC 7455 v3.2 (G4)",
            0x8001_0302,
            architecture("7450", "7455"),
            doze=DOZE_7450,
        ),
    )
}


def find(name: str) -> CpuModel:
    """The model called `name`; ConfigError lists what exists, or what this one lacks."""
    there = [m.name for m in MODELS.values() if not m.lacking]
    if name not in MODELS:
        raise ConfigError(f"unknown CPU {name!r} (there is: {', '.join(sorted(there))})")
    model = MODELS[name]
    if model.lacking:
        raise ConfigError(
            f"CPU {name!r} ({model.title}) can't be run: what it needs is not here: "
            f"{model.lacking} (there is: {', '.join(sorted(there))})"
        )
    return model
