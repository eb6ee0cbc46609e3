"""What gdb is shown of the target: registers in their order, their types, and the memory map.

Sources: Debugging with GDB, appendix G (Target Descriptions; PowerPC Features) and E (Memory Map
Format).  The numbers of the standard features are those that QEMU 7.2 gives them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from xml.sax.saxutils import quoteattr

from gossamer.base.data import Data
from gossamer.control.registers import Register, registers
from gossamer.core.memory import RamBlock
from gossamer.cpu.model import PVRS_405, CpuModel
from gossamer.machines.machine import Machine

#: gdb's names of architectures, by the model's name.
ARCHITECTURES: Final = {
    "603e": "powerpc:603",
    "604e": "powerpc:604",
    "750": "powerpc:750",
    "750fx": "powerpc:750",
    "7400": "powerpc:7400",
    "7447a": "powerpc:7400",
    "7455": "powerpc:7400",
    **dict.fromkeys(PVRS_405, "powerpc:403"),
}
_CORE: Final = "org.gnu.gdb.power.core"
_FPU: Final = "org.gnu.gdb.power.fpu"
_ALTIVEC: Final = "org.gnu.gdb.power.altivec"
_VSX: Final = "org.gnu.gdb.power.vsx"
_SYSTEM: Final = "org.gossamer.power.sprs"
_MSR_BITS: Final = (
    ("LE", 31), ("RI", 30), ("PM", 29), ("DR", 27), ("IR", 26), ("IP", 25), ("FE1", 23),
    ("BE", 22), ("SE", 21), ("FE0", 20), ("ME", 19), ("FP", 18), ("PR", 17), ("EE", 16),
    ("ILE", 15), ("POW", 13), ("VEC", 6),
)  # fmt: skip
#: Bits of the upper half: 0 is the most significant of all.
_MSR_BITS_64: Final = (("SF", -32), ("VSX", 8))
_XER_BITS: Final = (("CA", 2), ("OV", 1), ("SO", 0))


class Numbered(Data):
    """A register with gdb's number of it; they stand in the packet ``g`` in order of numbers."""

    number: int
    feature: str
    kind: str
    register: Register


def _feature(r: Register) -> str:
    if r.group == "float":
        return _FPU
    if r.group == "vector":
        return _VSX if r.name.startswith("vs") and r.name.endswith("h") else _ALTIVEC
    return _SYSTEM if r.group == "system" and r.name != "msr" else _CORE


def _kind(r: Register) -> str:
    if r.name in ("pc", "lr"):
        return "code_ptr"
    if r.name in ("msr", "xer"):
        return f"{r.name}_bits"
    if r.group == "float" and r.name != "fpscr":
        return "ieee_double"
    return "vec128" if r.bits == 128 else f"uint{r.bits}"


#: Numbers at which the registers of each feature begin, after the 32 GPRs.
_FIRST: Final = {_CORE: 64, _FPU: 71, _ALTIVEC: 104, _SYSTEM: 138, _VSX: 512}


@lru_cache(maxsize=16)
def layout(model: CpuModel) -> tuple[Numbered, ...]:
    """Every register with its number, ascending."""
    following = dict(_FIRST)
    out = []
    for n, r in enumerate(registers(model).values()):
        feature = _feature(r)
        number = n if n < 32 else following[feature]
        if n >= 32:
            following[feature] += 1
        out.append(Numbered(number, feature, _kind(r), r))
    return tuple(sorted(out, key=lambda entry: entry.number))


def _flags(name: str, bits: tuple[tuple[str, int], ...], size: int = 4) -> str:
    """A type with named bits (of 32); gdb counts them from the least significant."""
    fields = "".join(
        f'<field name="{field}" start="{31 - n}" end="{31 - n}"/>' for field, n in bits
    )
    return f'<flags id="{name}_bits" size="{size}">{fields}</flags>'


def _vector_type() -> str:
    views = (("uint128", "uint128", 1), ("v4_float", "ieee_single", 4), ("v4_int32", "int32", 4),
             ("v8_int16", "int16", 8), ("v16_int8", "int8", 16))  # fmt: skip
    vectors = "".join(
        f'<vector id="{name}" type="{kind}" count="{count}"/>'
        for name, kind, count in views
        if count > 1
    )
    members = ((name, name if count > 1 else kind) for name, kind, count in views)
    fields = "".join(f'<field name="{name}" type="{kind}"/>' for name, kind in members)
    return f'{vectors}<union id="vec128">{fields}</union>'


_TYPES: Final = {
    32: {
        _CORE: _flags("msr", _MSR_BITS) + _flags("xer", _XER_BITS),
        _ALTIVEC: _vector_type(),
    },
    64: {
        _CORE: _flags("msr", (*_MSR_BITS, *_MSR_BITS_64), 8) + _flags("xer", _XER_BITS),
        _ALTIVEC: _vector_type(),
    },
}
_COMMON: Final = {32: "powerpc:common", 64: "powerpc:common64"}


def description(model: CpuModel) -> str:
    """The target description, one document without includes."""
    entries, word = layout(model), model.architecture.word
    parts = [
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">',
        f"<architecture>{ARCHITECTURES.get(model.name, _COMMON[word])}</architecture>",
    ]
    for feature in (_CORE, _FPU, _ALTIVEC, _VSX, _SYSTEM):
        mine = [entry for entry in entries if entry.feature == feature]
        if mine:
            parts.append(f'<feature name="{feature}">{_TYPES[word].get(feature, "")}')
            parts += [_element(entry) for entry in mine]
            parts.append("</feature>")
    return "".join(parts) + "</target>"


def _element(entry: Numbered) -> str:
    r = entry.register
    group = f" group={quoteattr(r.group)}" if r.group != "general" else ""
    return (
        f'<reg name="{r.name}" bitsize="{r.bits}" type="{entry.kind}" '
        f'regnum="{entry.number}"{group}/>'
    )


def memory_map(m: Machine) -> str:
    """ROM as what it is, so that breakpoints in it are asked for as hardware's; all else as RAM.

    gdb looks at effective addresses, and takes what is not named for absent.
    """
    roms = [
        (start, end)
        for start, end, mapping in m.memory.mappings
        if isinstance(mapping.target, RamBlock) and mapping.target.read_only
    ]
    rows, at = [], 0
    for start, end in [*sorted(roms), (1 << 32, 1 << 32)]:
        if start > at:
            rows.append(("ram", at, start - at))
        if end > start:
            rows.append(("rom", start, end - start))
        at = max(at, end)
    text = "".join(
        f'<memory type="{kind}" start="{start:#x}" length="{length:#x}"/>'
        for kind, start, length in rows
    )
    return (
        '<?xml version="1.0"?><!DOCTYPE memory-map PUBLIC "+//IDN gnu.org//DTD GDB Memory Map '
        f'V1.0//EN" "http://sourceware.org/gdb/gdb-memory-map.dtd"><memory-map>{text}</memory-map>'
    )
