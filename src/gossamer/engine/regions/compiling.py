"""LLVM text of a region to an object file."""

from __future__ import annotations

from functools import lru_cache

import llvmlite.binding as llvm

from gossamer.engine import build


@lru_cache(maxsize=1)
def _target() -> llvm.TargetMachine:
    """For this host, with quick instruction selection: optimising more gained nothing measured."""
    return build.target_machine(1)


def compile_region(text: str) -> bytes:
    """The object file; LLVM works without the GIL."""
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
