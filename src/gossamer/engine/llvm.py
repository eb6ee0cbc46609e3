"""Compiling with LLVM: imported where code is compiled only, for it takes a while to load."""

from __future__ import annotations

import atexit
from functools import lru_cache
from threading import Lock
from typing import Final

import llvmlite.binding as llvm


def target_machine(level: int, *, pic: bool = True) -> llvm.TargetMachine:
    """This host, for code generation at a level from 0 to 3.

    Without `pic` an address of a symbol is a number in an instruction.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # for inline assembly: AArch64 has some, x86-64 empty ones
    return llvm.Target.from_default_triple().create_target_machine(
        opt=level,
        cpu=llvm.get_host_cpu_name(),
        features=host_features(),
        codemodel="small",
        reloc="pic" if pic else "static",
        jit=True,
    )


def host_features() -> str:
    features: str = llvm.get_host_cpu_features().flatten()
    return features


def host_processor() -> str:
    """What code is compiled for here, as text."""
    return f"{llvm.get_host_cpu_name()} {host_features()}"


@lru_cache(maxsize=2)
def _target(pic: bool) -> llvm.TargetMachine:
    return target_machine(2, pic=pic)


#: Held while a thread that ends with the process (`core.ahead`) may be inside LLVM.  The process
#: waits for it at its end: LLVM aborts where its own data go away under it.
_compiling: Final = Lock()
atexit.register(_compiling.acquire)


def compile_object(text: str, *, pic: bool = True, quick: bool = False) -> bytes:
    """Optimise LLVM text and emit an object file; `quick`: by few passes, in half the time."""
    with _compiling:
        target = _target(pic)
        module = llvm.parse_assembly(text)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        builder = llvm.create_pass_builder(target, options)
        passes = _few_passes() if quick else builder.getModulePassManager()
        passes.run(module, builder)
        obj: bytes = target.emit_object(module)
        return obj


def _few_passes() -> llvm.ModulePassManager:
    """Each once: handlers are straight lines, and the usual passes found nothing more in them."""
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_post_order_function_attributes_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_new_gvn_pass()
    passes.add_dead_store_elimination_pass()
    passes.add_global_dead_code_eliminate_pass()
    return passes
