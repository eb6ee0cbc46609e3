"""The part of native code that is no instruction: dispatch, slow paths, translation, services.

`translate` and exception entry come from the same bodies as everywhere (`cpu.mmu`,
`cpu.exceptions`); the rest is LLVM text in `runtime_*`, a file a purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.cpu import mmu, table_calls, terminal_calls
from gossamer.cpu.data_breakpoint import data_breakpoint
from gossamer.engine.addresses import NARROW, Addresses, addresses, addresses_of
from gossamer.engine.context import ANSWER_SIZE, EFFECT_CODES
from gossamer.engine.emit import TB_CPU
from gossamer.engine.runtime_banks import choosing
from gossamer.engine.runtime_calls import hypercalls
from gossamer.engine.runtime_code import code
from gossamer.engine.runtime_decode import decode
from gossamer.engine.runtime_devices import devices
from gossamer.engine.runtime_dispatch import exits, faults, jump, misses
from gossamer.engine.runtime_effects import effects
from gossamer.engine.runtime_faces import irqs, learned
from gossamer.engine.runtime_fields import Text
from gossamer.engine.runtime_float import float_settling
from gossamer.engine.runtime_host import fresh_code
from gossamer.engine.runtime_journal import journal
from gossamer.engine.runtime_memory import memory
from gossamer.engine.runtime_orders import orders
from gossamer.engine.runtime_parts import parts as parts_of
from gossamer.engine.runtime_real import bus, leaves
from gossamer.engine.runtime_sampler import sampler
from gossamer.engine.runtime_slow import slow
from gossamer.engine.runtime_step import entries, run, step
from gossamer.engine.runtime_stops import stops
from gossamer.engine.runtime_tables import tables
from gossamer.engine.runtime_timer import drive, timer
from gossamer.engine.statements import StatementWriter, text_of
from gossamer.isa.architecture import Architecture
from gossamer.isa.body import Body, Branch, Effect, Raise, number
from gossamer.isa.expr import Expr
from gossamer.isa.interrupts import Access
from gossamer.isa.registers import NUMBER
from gossamer.isa.service import SERVICES, Answered, Service


class _BodyFunction(StatementWriter):
    """A function made from a body: parameters are ``arg`` leaves, a branch writes NIA."""

    def __init__(self, intrinsics: set[str], addresses: Addresses = NARROW) -> None:
        super().__init__(intrinsics, addresses)
        self.leaves = {
            "arg": lambda e: f"%a{e.arg}",
            "ram": self.ram,
            "ram_find": self.ram_find,
            "table": self.table,
            "table_find": self.table_find,
            "slb_find": self.slb_find,
            "mode": self.mode,
        }
        self.ends: list[str] = []

    def prepare_ends(self, ends: list[Raise | Effect | Branch]) -> None:
        for s in ends:
            if isinstance(s, Branch):
                nia = self.register("nia", number(0))
                store = f"store {self.addresses.type} {self.expr(s.target)}, ptr {nia}{TB_CPU}"
                self.ends.insert(0, store)
            elif isinstance(s, Effect):
                self.ends.append(f"call void @effect_{s.name}(ptr %cpu)")


def service_functions(intrinsics: set[str], *, wide: bool = False) -> str:
    """One function for each registered service of `isa.service`: `wide`, those of 64 bits too."""
    names = [name for name, s in SERVICES.items() if wide or not s.wide]
    return "\n".join(service_function(name, intrinsics) for name in names)


def service_function(name: str, intrinsics: set[str], linkage: str = "internal") -> str:
    """The function of one service."""
    s = SERVICES[name]
    head = f"define {linkage} i{s.width} @service_{name}({_parameters(s)}) nounwind noinline {{"
    if isinstance(s, Answered):
        return _answered(s, head)
    f = _BodyFunction(intrinsics)
    result = f.expr(s.result)
    f.line(f"ret i{s.width} {result}")
    return text_of(f, head)


def service_declaration(name: str) -> str:
    """A service whose function is in another module."""
    s = SERVICES[name]
    return f"declare hidden i{s.width} @service_{name}({_parameters(s)}) nounwind"


def _parameters(s: Service) -> str:
    values = [f"i{w} %a{n}" for n, w in enumerate(s.widths)]
    return ", ".join(["ptr %cpu", *values] if isinstance(s, Answered) else values)


def _answered(s: Answered, head: str) -> str:
    """A service that Python answers: its arguments and result go through the context."""
    words = addresses(64)
    given, result = words.fields["answer"], words.fields["answered"]
    lines = []
    for n, width in enumerate(s.widths):
        place = given + ANSWER_SIZE * n
        lines.append(f"  %p{n} = getelementptr i8, ptr %cpu, i64 {place}")
        lines.append(f"  store i{width} %a{n}, ptr %p{n}, align 8")
    code = EFFECT_CODES["answer"]
    return "\n".join(
        (
            head,
            *lines,
            f"  call void @effect_python(ptr %cpu, i32 {code}, i32 {s.number})",
            f"  %r = getelementptr i8, ptr %cpu, i64 {result}",
            f"  %v = load i{s.width}, ptr %r, align 8",
            f"  ret i{s.width} %v",
            "}",
        )
    )


def translation_functions(intrinsics: set[str], architecture: Architecture) -> str:
    """``xlate_<kind>(cpu, ea)``: real address; above, fault | special | writable | WIMG."""
    out = []
    words = addresses_of(architecture)
    for access in Access:
        f = _BodyFunction(intrinsics, words)
        s = Body(architecture.word)
        t = mmu.of(architecture).translate(s, Expr("arg", s.width, (), 0), access)
        ra, fault, wimg, writable = (f.expr(e) for e in (t.ra, t.fault, t.wimg, t.writable))
        f.carry_out(s.trace)
        special = None if t.special is None else f.value(f"zext i2 {f.expr(t.special)} to i32")
        x, up = words.outcome, int(words.real[1:])
        low = f.value(f"zext i{t.ra.width} {ra} to {x}")
        attributes = f.value(f"zext i4 {wimg} to i32")
        flag = f.value(f"select i1 {writable}, i32 16, i32 0")
        joined = f.value(f"or i32 {f.value(f'or i32 {attributes}, {flag}')}, {fault}")
        if special is not None:
            joined = f.value(f"or i32 {joined}, {f.value(f'shl i32 {special}, 5')}")
        high = f.value(f"shl {x} {f.value(f'zext i32 {joined} to {x}')}, {up}")
        f.line(f"ret {x} {f.value(f'or {x} {high}, {low}')}")
        name = f"xlate_{access.name.lower()}"
        out.append(
            text_of(f, f"define internal {x} @{name}(ptr %cpu, {words.type} %a0) nounwind {{")
        )
    return "\n".join(out)


def watch_functions(intrinsics: set[str], architecture: Architecture) -> str:
    """``i32 watch_<kind>(cpu, ea, length)``: DSISR bits of a data breakpoint, or zero."""
    out = []
    words = addresses_of(architecture)
    for access in (Access.READ, Access.WRITE):
        f = _BodyFunction(intrinsics, words)
        s = Body(architecture.word)
        ea, length = Expr("arg", s.width, (), 0), Expr("arg", NUMBER, (), 1)
        result = f.expr(data_breakpoint(s, ea, length, access))
        f.line(f"ret i32 {result}")
        name = f"watch_{access.name.lower()}"
        head = f"define internal i32 @{name}(ptr %cpu, {words.type} %a0, i32 %a1) nounwind {{"
        out.append(text_of(f, head))
    return "\n".join(out)


def entry_functions(intrinsics: set[str], architecture: Architecture) -> str:
    """``void enter(cpu, vector, srr0, srr1)``: exception entry.

    Where the MMU has a second way in, ``void enter_miss(cpu, vector, srr0, ea)`` too.
    """
    args = [Expr("arg", architecture.word, (), n) for n in range(3)]
    strategy = mmu.of(architecture)
    s = Body(architecture.word)
    mmu.enter(s, args[0], args[1], args[2], architecture)
    words = addresses_of(architecture)
    out = [_entry_text("enter", s, intrinsics, words)]
    if strategy.miss:
        s = Body(architecture.word)
        strategy.enter_miss(s, args[0], args[1], args[2])
        out.append(_entry_text("enter_miss", s, intrinsics, words))
    return "\n".join(out)


def call_functions(intrinsics: set[str], architecture: Architecture) -> str:
    """``call_<name>(cpu, …)``: hypercalls that native code answers.

    Of `cpu.table_calls`: ``i64 call_enter(cpu, memory, entries)``, ``i64 call_remove(cpu,
    entries)``, ``i64 call_protect(cpu, entries)`` and ``i64 call_bulk_remove(cpu, i32 k)`` give an
    outcome; ``i1 call_bulk_is_usual(cpu, entries)`` says whether all of a call is answered.  Of
    `cpu.terminal_calls`: ``i1 call_put_is_usual(cpu, unit)``, ``i1 call_get_nothing(cpu, unit)``.
    """
    if architecture.word == 32:
        return ""
    words = addresses_of(architecture)
    out = []
    for name, answer, widths in (
        ("enter", table_calls.enter, (64, 64)),
        ("remove", table_calls.remove, (64,)),
        ("protect", table_calls.protect, (64,)),
        ("bulk_is_usual", table_calls.bulk_is_usual, (64,)),
        ("bulk_remove", table_calls.bulk_remove, (NUMBER,)),
        ("put_is_usual", terminal_calls.put_is_usual, (64,)),
        ("get_nothing", terminal_calls.get_nothing, (64,)),
    ):
        f, s = _BodyFunction(intrinsics, words), Body(architecture.word)
        body: Callable[..., Expr] = answer
        outcome = body(s, *(Expr("arg", width, (), n) for n, width in enumerate(widths)))
        result = f.expr(outcome)
        f.carry_out(s.trace)
        f.line(f"ret i{outcome.width} {result}")
        given = "".join(f", i{width} %a{n}" for n, width in enumerate(widths))
        head = (
            f"define internal i{outcome.width} @call_{name}(ptr %cpu{given}) nounwind noinline {{"
        )
        out.append(text_of(f, head))
    return "\n".join(out)


def _entry_text(name: str, s: Body, intrinsics: set[str], words: Addresses) -> str:
    f = _BodyFunction(intrinsics, words)
    f.carry_out(s.trace)
    for end in f.ends:
        f.line(end)
    f.line("ret void")
    given = ", ".join(f"{words.type} %a{n}" for n in range(3))
    head = f"define internal void @{name}(ptr %cpu, {given}) nounwind noinline {{"
    return text_of(f, head)


def fixed_functions(architecture: Architecture) -> str:
    """Everything that is not made from bodies."""
    w = Text(addresses_of(architecture))
    strategy = mmu.of(architecture)
    return "\n".join(
        (
            leaves(w),
            exits(w),
            misses(w, strategy.miss, strategy.miss_vectors) if strategy.miss else faults(w),
            jump(w),
            sampler(w),
            decode(w),
            code(w),
            irqs(w),
            learned(w),
            devices(w),
            bus(w) + memory(w),
            parts_of(architecture, w),
            slow(w),
            tables(w) + choosing(w) + hypercalls(w) + effects(w),
            journal(w),
            orders(w),
            timer(w),
            float_settling(w),
            stops(w),
            entries(w),
            run(),
            step(w),
            drive(w),
            fresh_code(),
        )
    )


DECLARATIONS: Final = (
    "declare i16 @llvm.bswap.i16(i16)",
    "declare i32 @llvm.bswap.i32(i32)",
    "declare i64 @llvm.bswap.i64(i64)",
    "declare i32 @llvm.umax.i32(i32, i32)",
    "declare i64 @llvm.umin.i64(i64, i64)",
    "declare i64 @llvm.smin.i64(i64, i64)",
    "declare i64 @llvm.umax.i64(i64, i64)",
    "declare i64 @llvm.cttz.i64(i64, i1)",
    "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
    "declare i32 @llvm.vector.reduce.add.v16i32(<16 x i32>)",
    "declare i32 @llvm.vector.reduce.or.v16i32(<16 x i32>)",
)
