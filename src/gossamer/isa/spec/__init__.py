"""The instruction set itself.  Importing this package fills `gossamer.isa.insn.TABLE`."""

from gossamer.isa.spec import (
    branch,
    cache,
    cr,
    data_stream,
    fixed_arith,
    float_arith,
    float_compare,
    float_convert,
    float_memory,
    float_status,
    load_store,
    logical,
    rotate,
    spr,
    system,
)

__all__ = [
    "branch",
    "cache",
    "cr",
    "data_stream",
    "fixed_arith",
    "float_arith",
    "float_compare",
    "float_convert",
    "float_memory",
    "float_status",
    "load_store",
    "logical",
    "rotate",
    "spr",
    "system",
]
