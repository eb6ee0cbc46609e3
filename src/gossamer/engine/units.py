"""Units: instructions whose handlers lie in an object of their own, made when one is first met.

A guest runs with the core: integers, floating point, the supervisor.  What few need at first, or
ever, would be most of the code of a large model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.isa.architecture import Architecture

if TYPE_CHECKING:
    from gossamer.isa.insn import Insn

#: By number; the first is the core.
UNITS: Final = ("core", "vector", "vsx", "scalar", "parallel", "decimal")
#: The unit of the rows that a file of `isa.spec` has: the core where it is not here.
_BY_FILE: Final = {
    "vector_float": "vector",
    "vector_integer": "vector",
    "vector_memory": "vector",
    "vector_multiply": "vector",
    "vector_permute": "vector",
    "wide.vector_crypto": "vector",
    "wide.vector_later": "vector",
    "wide.vsx": "vsx",
    "wide.vsx_arith": "parallel",
    "wide.vsx_compare": "parallel",
    "wide.vsx_convert": "parallel",
    "wide.decimal": "decimal",
}
_ROOT: Final = "gossamer.isa.spec."
#: What begins the names of VSX' arithmetic on one element alone.
_SCALAR: Final = "xs"


def unit_of(row: Insn) -> int:
    """The number of a row's unit."""
    name = _BY_FILE.get(row.body.__module__.removeprefix(_ROOT), UNITS[0])
    if name == "parallel" and row.name.startswith(_SCALAR):
        name = "scalar"
    return UNITS.index(name)


def units_of(architecture: Architecture) -> list[int]:
    """The units that a model has, beside the core."""
    from gossamer.isa.spec.table import Decoder  # noqa: PLC0415 - not needed to run what is kept

    return sorted({unit_of(row) for row in Decoder(architecture).rows} - {0})
