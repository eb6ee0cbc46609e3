"""The LLVM modules of tier 0 for one CPU model, as text: the core's, and one for each unit."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from gossamer.engine.addresses import Addresses, addresses_of
from gossamer.engine.emit import CHAIN, METADATA
from gossamer.engine.handlers import handler_text
from gossamer.engine.runtime import (
    DECLARATIONS,
    call_functions,
    entry_functions,
    fixed_functions,
    service_declaration,
    service_function,
    translation_functions,
    watch_functions,
)
from gossamer.engine.runtime_decode import MISSING
from gossamer.engine.variants import Variant, variants
from gossamer.isa.architecture import Architecture
from gossamer.isa.spec.table import Decoder

#: How the text calls a service, and any function.
_SERVICE: Final = re.compile(r"@service_(\w+)")
_CALLED: Final = re.compile(r"@([a-z]\w*)")


def module_text(architecture: Architecture) -> str:
    """LLVM text of the core: its handlers, the runtime and the decode table."""
    intrinsics: set[str] = set(DECLARATIONS)
    rows, words = variants(Decoder(architecture)), addresses_of(architecture)
    handlers = [t for v in rows if v.unit == 0 for t in handler_text(v, intrinsics, words)]
    parts = [
        translation_functions(intrinsics, architecture),
        watch_functions(intrinsics, architecture),
        entry_functions(intrinsics, architecture),
        call_functions(intrinsics, architecture),
        fixed_functions(architecture),
        *handlers,
        decode_rows(rows, 0),
    ]
    parts += _services(parts, intrinsics, "hidden")
    return "\n".join([*sorted(intrinsics), *parts, METADATA])


def unit_text(architecture: Architecture, unit: int, core: Collection[str]) -> str:
    """LLVM text of a unit: its handlers and decode table, and services that the core has not.

    `core` are the names of the core's symbols.
    """
    intrinsics: set[str] = set()
    words = addresses_of(architecture)
    rows = [v for v in variants(Decoder(architecture)) if v.unit == unit]
    parts = [text for v in rows for text in handler_text(v, intrinsics, words)]
    called = {name for text in parts for name in _CALLED.findall(text)}
    declared = [text for name, text in _runtime(words).items() if name in called]
    parts += _services(parts, intrinsics, "internal", core)
    parts.append(decode_rows(rows, unit))
    return "\n".join([*sorted(intrinsics), *declared, *parts, METADATA])


def _runtime(words: Addresses) -> dict[str, str]:
    """Declarations of what handlers of units call of the core, by name."""
    ea = words.type
    out = {
        name: f"declare hidden {CHAIN} void @{name}(ptr, ptr, i64)"
        for name in ("h_interrupt", "h_next", "h_data_fault")
    }
    return out | {
        "float_settle": "declare hidden void @float_settle(ptr) nounwind",
        "slow_load": f"declare hidden i64 @slow_load(ptr, {ea}, i32) nounwind",
        "slow_store": f"declare hidden void @slow_store(ptr, {ea}, i64, i32) nounwind",
        "probe": f"declare hidden void @probe(ptr, {ea}, i32, i32) nounwind",
    }


def _services(
    parts: list[str], intrinsics: set[str], linkage: str, core: Collection[str] = ()
) -> Iterator[str]:
    """The services that the text calls, and those that they call; of `core` declared alone."""
    work = [name for text in parts for name in _SERVICE.findall(text)]
    seen: set[str] = set()
    while work:
        name = work.pop()
        if name in seen:
            continue
        seen.add(name)
        if f"service_{name}" in core:
            yield service_declaration(name)
            continue
        text = service_function(name, intrinsics, linkage)
        work += _SERVICE.findall(text)
        yield text


def decode_rows(rows: list[Variant], unit: int) -> str:
    """Constant tables: for each primary opcode its variants, most particular first.

    A row is mask, match, kind, unit, handler (target in this page), handler (target elsewhere); the
    last of each list matches every word and is the illegal instruction.  A row of another unit has
    the handler that asks for it.
    """
    kind = "{ i32, i32, i32, i32, ptr, ptr }"
    last = f"{kind} {{ i32 0, i32 0, i32 0, i32 0, ptr null, ptr null }}"
    if unit == 0:
        last = f"{kind} {{ i32 0, i32 0, i32 0, i32 0, ptr @h_illegal, ptr @h_illegal }}"
    out, heads = [], []
    for opcode in range(64):
        lines = [_row(v, unit, kind) for v in rows if v.match >> 26 == opcode]
        body = ",\n  ".join([*lines, last])
        out.append(f"@rows_{opcode} = internal constant [{len(lines) + 1} x {kind}] [\n  {body} ]")
        heads.append(f"ptr @rows_{opcode}")
    out.append(f"@decode_rows = hidden constant [64 x ptr] [ {', '.join(heads)} ]")
    return "\n".join(out)


def _row(v: Variant, unit: int, kind: str) -> str:
    if v.unit == unit:
        number, k, (local, far) = 0, v.kind, v.names
    else:
        number, k, local = v.unit, 0, f"{MISSING}{v.unit}"
        far = local
    fields = f"i32 {v.mask}, i32 {v.match}, i32 {k}, i32 {number}"
    return f"{kind} {{ {fields}, ptr @{local}, ptr @{far} }}"
