"""A region to an object file, through LLVM text."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import llvmlite.binding as llvm
import xxhash

from gossamer.base.data import Data
from gossamer.core import host
from gossamer.engine.llvm import target_machine
from gossamer.engine.regions.forming import Region
from gossamer.engine.regions.names import Names
from gossamer.engine.regions.writer import Writer

# Loop strength reduction costs registers and additions here: exits need the values themselves.
# CodeGen Prepare takes a fifth of the time, and what it does for a region nothing measured gained
# by.  LLVM takes an option once in a process.
llvm.set_option("regions", "-disable-lsr")
llvm.set_option("regions", "-disable-cgp")


class Compiled(Data):
    """An object file, and the CPU time that it took, ns."""

    obj: bytes
    ns: int


def compile_text(region: Region, names: Names) -> Compiled:
    """Write a region's text and compile it."""
    start = host.thread_cpu_ns()
    obj = compile_region(Writer(set(), region, names).module())
    return Compiled(obj, host.thread_cpu_ns() - start)


@lru_cache(maxsize=1)
def _target() -> llvm.TargetMachine:
    """For this host, with quick instruction selection: optimising more gained nothing measured."""
    return target_machine(1)


#: Object files of the latest texts, by digest: what was dropped is often made again.
_KEPT: Final = 256
_objects: dict[bytes, bytes] = {}


def compile_region(text: str) -> bytes:
    """The object file; LLVM works without the GIL."""
    digest = xxhash.xxh3_128_digest(text.encode())
    obj = _objects.get(digest)
    if obj is None:
        obj = _emit(text)
        while len(_objects) >= _KEPT:
            _objects.pop(next(iter(_objects)), None)
        _objects[digest] = obj
    return obj


def _emit(text: str) -> bytes:
    target = _target()
    module = llvm.parse_assembly(text)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(target, options)
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)
    obj: bytes = target.emit_object(module)
    return obj
