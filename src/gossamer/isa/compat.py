"""Levels of the architecture that a CPU can be set to, below its own (Power ISA 2.07).

A level has a logical PVR, which a guest finds in the device tree, and bits of the Processor
Compatibility Register (PCR).  Values as QEMU 7.2 shows them for a POWER8: `cpu/compat`, SPR 338 and
`ibm,pa-features` after every kind of negotiation (tried).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data

#: The register's number.
PCR: Final = 338


class Level(Data):
    """A level: its logical PVR, the CPU it is named after, PCR, and ibm,pa-features there.

    `features`: None: those of the CPU itself; empty: none are said.  `modern`: vector-scalar
    registers and decimal floating point belong to it.
    """

    pvr: int
    name: str
    pcr: int = 0
    features: bytes | None = None
    modern: bool = True


_2_06: Final = bytes.fromhex("0600f63fc70080c0")
_NO_VSX_TM: Final = 1 << 61

LEVELS: Final = (
    Level(0x0F00_0002, "power6", _NO_VSX_TM | 6, b"", modern=False),
    Level(0x0F00_0003, "power7", _NO_VSX_TM | 4, _2_06),
    Level(0x0F10_0003, "power7+", _NO_VSX_TM | 4, _2_06),
    Level(0x0F00_0004, "power8"),
)
"""Those of a POWER8, the lowest first."""
#: Those that can be named as the highest.
NAMED: Final = tuple(one for one in LEVELS if "+" not in one.name)


def level_of(pvr: int) -> Level | None:
    """The level with this logical PVR."""
    return next((one for one in LEVELS if one.pvr == pvr), None)
