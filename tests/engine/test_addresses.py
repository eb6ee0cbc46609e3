"""Native code made from bodies has the width of the model's word: LLVM checks it for 64 bits."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import pytest

from gossamer.engine.addresses import NARROW, addresses
from gossamer.engine.context import CONTEXT, TLB_ENTRY, fields_of
from gossamer.engine.emit import CHAIN, METADATA
from gossamer.engine.handlers import handler_text
from gossamer.engine.runtime import service_functions, translation_functions, watch_functions
from gossamer.engine.variants import variants
from gossamer.isa.architecture import architecture
from gossamer.isa.spec.table import Decoder

_CALL = re.compile(r"call (?P<result>\w+) @(?P<name>[\w.]+)\((?P<args>[^)]*)\)")
_SERVED = ("service_", "xlate_", "watch_", "llvm.")


def declarations(text: str) -> set[str]:
    """What `text` calls of the runtime, as it calls it; its tail calls to other handlers."""
    out = set()
    for m in _CALL.finditer(text):
        if not m["name"].startswith(_SERVED):
            types = ", ".join(arg.split()[0] for arg in m["args"].split(", ") if arg)
            out.add(f"declare {m['result']} @{m['name']}({types})")
    defined = set(re.findall(rf"define internal {CHAIN} void @(\w+)", text))
    chained = set(re.findall(rf"musttail call {CHAIN} void @(\w+)", text)) - defined
    return out | {f"declare {CHAIN} void @{name}(ptr, ptr, i64)" for name in chained}


def text_for(width: int) -> str:
    """Handlers of one variant of every row, translation, breakpoints, services."""
    part = architecture("7450", "7455", word=width, mmu="hashed" if width == 32 else "untranslated")
    intrinsics: set[str] = set()
    seen: set[str] = set()
    parts = []
    for v in variants(Decoder(part)):
        if v.row.name not in seen:
            seen.add(v.row.name)
            parts += handler_text(v, intrinsics, addresses(width))
    parts += [translation_functions(intrinsics, part), watch_functions(intrinsics, part)]
    parts.append(service_functions(intrinsics, wide=width == 64))
    body = "\n".join(parts)
    return "\n".join([*sorted(intrinsics), *sorted(declarations(body)), body, METADATA])


@pytest.mark.parametrize("width", [32, 64])
def test_code_made_from_bodies_is_well_typed(width: int) -> None:
    module = llvm.parse_assembly(text_for(width))
    module.verify()
    loads = {f.name: f for f in module.functions}["slow_load"]
    assert [str(a.type) for a in loads.arguments] == ["ptr", f"i{width}", "i32"]


def test_one_function_of_two_widths_is_refused() -> None:
    """The check sees an address of the wrong width: a planted one."""
    text = text_for(64).replace("@slow_load(ptr %cpu, i64", "@slow_load(ptr %cpu, i32", 1)
    with pytest.raises(RuntimeError):
        llvm.parse_assembly(text).verify()


def test_layouts_of_32_bit_models_are_what_they_were() -> None:
    assert (NARROW.type, NARROW.line.size, NARROW.line.write, NARROW.line.addend) == (
        "i32",
        16,
        4,
        8,
    )
    assert TLB_ENTRY == 16
    assert fields_of(32)[0] == CONTEXT
    assert NARROW.line_shift == 8


def test_lines_and_fields_of_wide_words_hold_addresses() -> None:
    wide = addresses(64)
    assert (wide.type, wide.line.size, wide.line.write, wide.line.addend) == ("i64", 32, 8, 16)
    assert wide.line_shift == 7
    assert wide.lines(256) == 255 * 32
    after = sorted(wide.fields.values())
    at = after.index(wide.fields["x_dar"])
    assert after[at + 1] - after[at] == 8
