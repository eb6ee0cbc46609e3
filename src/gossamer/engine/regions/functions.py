"""Addresses of tier 0's functions, the internal ones too, by the names of their symbols."""

from __future__ import annotations

from functools import lru_cache

from gossamer.engine.build import Native
from gossamer.engine.regions.elf import function_offsets


@lru_cache(maxsize=4)
def functions_of(native: Native) -> dict[str, int]:
    """Every function of the linked object: all lie in one section."""
    offsets = function_offsets(native.obj)
    base = native.address("run") - offsets["run"]
    return {name: base + offset for name, offset in offsets.items()}
