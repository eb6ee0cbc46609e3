"""Which parts have what: a model has a row when one of the row's names is among its features.

A name is that of a part or of the head of its family; `cpu.model` says which names a model has.
"""

from __future__ import annotations

from typing import Final

#: The 32-bit parts with AltiVec.
G4: Final = ("7400", "7450")
#: AltiVec and the data stream instructions.
ALTIVEC: Final = (*G4, "970", "2.06")
THERMAL: Final = ("750", "750fx", "7400")
#: What the 750 brought and its successors kept: ICTC, user names of the monitor's registers.
SINCE_750: Final = (*THERMAL, "7450")
#: The performance monitor, DABR.
MONITOR: Final = ("604e", *SINCE_750)
#: TLBs that software fills, from a table that it searches itself.
SOFTWARE_SEARCH: Final = ("603e",)
#: The embedded environment: no FPU, segments or BATs; PID, PIT, critical interrupts, DCRs.
EMBEDDED: Final = ("405",)
#: BATs 4 to 7 of each kind.
EIGHT_BATS: Final = ("750fx", "7450")


def has(features: frozenset[str], parts: tuple[str, ...]) -> bool:
    """Whether a model with these features is one of `parts` (none: every part)."""
    return not parts or not features.isdisjoint(parts)
