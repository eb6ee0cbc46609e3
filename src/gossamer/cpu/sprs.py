"""QEMU's array of 1024 special-purpose registers as a view of the register block.

Source: facts section 7 (which entries carry state).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gossamer.isa.architecture import USUAL
from gossamer.isa.registers import REGISTERS, registers
from gossamer.isa.spec.parts import ALTIVEC, EMBEDDED, SOFTWARE_SEARCH, has

if TYPE_CHECKING:
    from gossamer.cpu.cpu import Cpu
    from gossamer.isa.spec.spr_row import Spr

XER: Final = 1
DEC: Final = 22
PVR: Final = 287
#: QEMU 7.2 keeps nothing of L2CR; ours travels in `cpu/gossamer`.
NOT_SENT: Final = (1017,)
#: Registers beyond SPRs that only the 405 has, and that it alone has not.
OF_405: Final = (
    *("utlb_tag", "utlb_data", "utlb_pid", "pit_reload", "pit_zero", "reset_cause", "dcr_there"),
)
NOT_OF_405: Final = ("fpr", "fpscr", "sr", "dec_zero", "dar", "dsisr")
#: Registers beyond SPRs of a part with table search by software.
OF_TLBS: Final = ("tgpr", "tlb_upper", "tlb_lower", "tlb_page", "tlb_way")


def _rows() -> tuple[Spr, ...]:
    """The table of SPRs; what only runs a CPU does without it, and the instructions it is for."""
    from gossamer.isa.spec.spr import SPRS  # noqa: PLC0415 - a start needs none

    return SPRS


@lru_cache(maxsize=8)
def plain(features: frozenset[str], word: int = USUAL) -> dict[int, tuple[str, int]]:
    """The SPR numbers of a model that stand for a whole register: its name and element.

    XER, DEC and PVR are seen to below.
    """
    rows = (s for s in _rows() if s.belongs(features, word) and s.number not in NOT_SENT)
    return {s.number: s.state for s in rows if s.state}


def elements(features: frozenset[str], word: int = USUAL) -> dict[str, list[int]]:
    """The registers of the block that a model has, each with the elements that it has."""
    some = {s.state for s in _rows() if s.state}
    mine = {s.state for s in _rows() if s.state and s.belongs(features, word)}
    absent = some - mine
    if word == 64:
        absent |= {("sr", n) for n in range(16)}
        absent |= set() if "2.07" in features else {("vsl", n) for n in range(32)}
    if not has(features, ALTIVEC):
        absent |= {("vscr", 0), *(("vr", n) for n in range(32))}
    if not has(features, SOFTWARE_SEARCH):
        absent |= {(name, n) for name in OF_TLBS for n in range(REGISTERS[name][1])}
    lacking = NOT_OF_405 if has(features, EMBEDDED) else OF_405
    absent |= {(name, n) for name in lacking for n in range(REGISTERS[name][1])}
    out = {
        name: [n for n in range(count) if (name, n) not in absent]
        for name, (_, count) in registers(word).items()
    }
    return {name: numbers for name, numbers in out.items() if numbers}


def get_sprs(cpu: Cpu) -> list[int]:
    out = [0] * 1024
    for number, (register, element) in plain(cpu.model.features).items():
        out[number] = cpu.block.get(register, element)
    out[XER], out[PVR] = cpu.block.xer, cpu.model.pvr
    if not has(cpu.model.features, EMBEDDED):
        out[DEC] = cpu.decrementer
    return out


def put_sprs(cpu: Cpu, values: list[int]) -> None:
    if values[PVR] != cpu.model.pvr:
        raise ValueError(
            f"PVR must be {cpu.model.pvr:#010x} ({cpu.model.name}), got {values[PVR]:#010x}"
        )
    for number, (register, element) in plain(cpu.model.features).items():
        cpu.block.set(register, values[number], element)
    cpu.block.xer = values[XER]
    cpu.set_decrementer(values[DEC])
