"""The whole LLVM module of tier 0 for one CPU model, as text."""

from __future__ import annotations

from gossamer.engine.addresses import addresses_of
from gossamer.engine.emit import METADATA
from gossamer.engine.handlers import handler_text
from gossamer.engine.runtime import (
    DECLARATIONS,
    call_functions,
    entry_functions,
    fixed_functions,
    service_functions,
    translation_functions,
    watch_functions,
)
from gossamer.engine.variants import Variant, variants
from gossamer.isa.architecture import Architecture
from gossamer.isa.spec.table import Decoder


def module_text(architecture: Architecture) -> str:
    """LLVM text: every handler, the runtime and the decode table."""
    decoder = Decoder(architecture)
    intrinsics: set[str] = set(DECLARATIONS)
    rows, words = variants(decoder), addresses_of(architecture)
    handlers = [text for v in rows for text in handler_text(v, intrinsics, words)]
    parts = [
        translation_functions(intrinsics, architecture),
        watch_functions(intrinsics, architecture),
        entry_functions(intrinsics, architecture),
        call_functions(intrinsics, architecture),
        service_functions(intrinsics, wide=architecture.word == 64),
        fixed_functions(architecture),
        *handlers,
        decode_rows(rows),
    ]
    return "\n".join([*sorted(intrinsics), *parts, METADATA])


def decode_rows(rows: list[Variant]) -> str:
    """Constant tables: for each primary opcode its variants, most particular first.

    A row is mask, match, kind, 0, handler (target in this page), handler (target elsewhere); the
    last of each list matches every word and is the illegal instruction.
    """
    kind = "{ i32, i32, i32, i32, ptr, ptr }"
    out, heads = [], []
    for opcode in range(64):
        lines = [
            f"{kind} {{ i32 {v.mask}, i32 {v.match}, i32 {v.kind}, i32 0, "
            f"ptr @{v.names[0]}, ptr @{v.names[1]} }}"
            for v in rows
            if v.match >> 26 == opcode
        ]
        lines.append(f"{kind} {{ i32 0, i32 0, i32 0, i32 0, ptr @h_illegal, ptr @h_illegal }}")
        body = ",\n  ".join(lines)
        out.append(f"@rows_{opcode} = internal constant [{len(lines)} x {kind}] [\n  {body} ]")
        heads.append(f"ptr @rows_{opcode}")
    out.append(f"@decode_rows = internal constant [64 x ptr] [ {', '.join(heads)} ]")
    return "\n".join(out)
