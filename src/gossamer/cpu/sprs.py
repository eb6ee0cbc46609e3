"""QEMU's array of 1024 special-purpose registers as a view of the register block.

Source: facts section 7 (which entries carry state).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer.cpu.cpu import Cpu

#: SPR number to (register, element); XER, DEC and PVR are seen to below.
PLAIN: Final[dict[int, tuple[str, int]]] = {
    8: ("lr", 0),
    9: ("ctr", 0),
    18: ("dsisr", 0),
    19: ("dar", 0),
    25: ("sdr1", 0),
    26: ("srr0", 0),
    27: ("srr1", 0),
    **{272 + n: ("sprg", n) for n in range(4)},
    282: ("ear", 0),
    **{528 + n: ("ibat", n) for n in range(8)},
    **{536 + n: ("dbat", n) for n in range(8)},
    952: ("mmcr", 0),
    953: ("pmc", 0),
    954: ("pmc", 1),
    955: ("sia", 0),
    956: ("mmcr", 1),
    957: ("pmc", 2),
    958: ("pmc", 3),
    1008: ("hid0", 0),
    1009: ("hid1", 0),
    1010: ("iabr", 0),
    1013: ("dabr", 0),
    1019: ("ictc", 0),
    1020: ("thrm", 0),
    1021: ("thrm", 1),
    1022: ("thrm", 2),
}
VECTOR_PLAIN: Final[dict[int, tuple[str, int]]] = {
    256: ("vrsave", 0),
    944: ("mmcr", 2),
    951: ("bamr", 0),
    1014: ("msscr", 0),
    1015: ("msscr", 1),
    1023: ("pir", 0),
}
XER: Final = 1
DEC: Final = 22
PVR: Final = 287


def _plain(cpu: Cpu) -> dict[int, tuple[str, int]]:
    return PLAIN | VECTOR_PLAIN if "7400" in cpu.model.features else PLAIN


def get_sprs(cpu: Cpu) -> list[int]:
    out = [0] * 1024
    for number, (register, element) in _plain(cpu).items():
        out[number] = cpu.block.get(register, element)
    out[XER], out[PVR] = cpu.block.xer, cpu.model.pvr
    out[DEC] = cpu.decrementer
    return out


def put_sprs(cpu: Cpu, values: list[int]) -> None:
    if values[PVR] != cpu.model.pvr:
        raise ValueError(f"PVR must be {cpu.model.pvr:#010x}, got {values[PVR]:#010x}")
    for number, (register, element) in _plain(cpu).items():
        cpu.block.set(register, values[number], element)
    cpu.block.xer = values[XER]
    cpu.set_decrementer(values[DEC])
