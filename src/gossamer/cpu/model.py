"""CPU models: what differs between the parts.  Source: the parts' user's manuals; QEMU's names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.base.errors import ConfigError


@dataclass(frozen=True)
class CpuModel:
    """A part: its PVR, what `isa` features it has, and the reset value of HID1 (PLL settings)."""

    name: str
    title: str
    pvr: int
    features: frozenset[str]
    hid1: int = 0


MODELS: Final = {
    m.name: m
    for m in (
        CpuModel("750", "PowerPC 750 v3.1 (G3)", 0x0008_0301, frozenset({"750"})),
        CpuModel("7400", "PowerPC 7400 v2.9 (G4)", 0x000C_0209, frozenset({"7400"})),
    )
}


def find(name: str) -> CpuModel:
    """The model called `name`; ConfigError lists what exists."""
    if name not in MODELS:
        raise ConfigError(f"unknown CPU {name!r} (there is: {', '.join(sorted(MODELS))})")
    return MODELS[name]
