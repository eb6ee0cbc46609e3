"""Tier 0: one LLVM function an instruction form and known field values, chained by tail calls.

``void h(ptr cpu, ptr e, i64 K)``: `e` is the predecoded entry, K = e + 16 x (instructions left of
the budget), constant along straight-line code.  A handler of an instruction that accesses memory
comes twice: the fast form goes on in the slow form on a TLB miss, before anything was written; the
slow form calls functions that translate first and then access, and then looks at `exit_request`.
So does an instruction with a quick and an exact way to its result (floating point).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import PAGE_SIZE
from gossamer.engine.addresses import Addresses
from gossamer.engine.context import DTLB_ENTRIES, EFFECT_CODES, ITLB_ENTRIES
from gossamer.engine.emit import LIKELY, TB_ENTRY, TB_MEM, TB_TLB, UNLIKELY, swap_bytes
from gossamer.engine.runtime_fields import dispatch, handler, tail
from gossamer.engine.statements import StatementWriter, is_true, text_of
from gossamer.engine.variants import (
    Variant,
    accesses_memory,
    defers,
    is_deferred,
    looks_at,
    loops,
)
from gossamer.isa.body import Branch, Effect, Probe, Raise, Statement, Store, number
from gossamer.isa.expr import Expr
from gossamer.isa.form import Form
from gossamer.isa.interrupts import Access
from gossamer.isa.service import SERVICES, Answered
from gossamer.isa.spec.alignment import dsisr

#: Bytes of an entry that hold the operand fields at bits 6, 11, 16 and 21, by their shift.
OPERANDS: Final = {21: 12, 16: 13, 11: 14, 6: 15}
#: Bytes that dcbz clears.
LINE: Final = 32
#: Effects that native code sees to; the others call out to Python (EFFECT_CODES).
NATIVE_EFFECTS: Final = {
    *("msr", "translation", "segment", "tlbie", "tlb", "timer"),
    *("pid", "page", "attributes", "slb", "hypercall"),
}


def handler_text(v: Variant, intrinsics: set[str], addresses: Addresses) -> list[str]:
    """The functions of one variant."""
    word = Expr("word", 32)
    trace = v.row.trace(word, v.mask, v.match, width=addresses.width)
    memory = accesses_memory(trace)
    two_forms = memory or defers(trace)
    out = []
    for local, name in zip((True, False), v.names, strict=True):
        slow = f"{name}_slow"
        if two_forms:
            out.append(_Handler(intrinsics, addresses, local, "").text(slow, trace))
        if memory and loops(trace):
            out.append(f"{handler(name)}\n{tail(slow)}\n}}")
        else:
            target = slow if two_forms else ""
            out.append(_Handler(intrinsics, addresses, local, target).text(name, trace))
        if v.kind == 0:
            break
    return out


def operand_place(e: Expr) -> int:
    """Where in a predecoded entry the value of a 5-bit operand field lies; 0: nowhere."""
    if e.op == "trunc" and e.width == 5 and e.args[0].op == "lshr":
        word, shift = e.args[0].args
        if word.op == "word" and shift.is_const:
            return OPERANDS.get(shift.value, 0)
    return 0


class _Handler(StatementWriter):
    """Writes one handler.  `slow` names the slow form to go on in; empty: this is it (or none)."""

    def __init__(self, intrinsics: set[str], addresses: Addresses, local: bool, slow: str) -> None:
        super().__init__(intrinsics, addresses)
        self.ea = addresses.type
        self.local, self.slow = local, slow
        self.pending_ok = ""
        self.calls_out = False
        self.effects: list[tuple[str, list[tuple[str, str]]]] = []
        self.branches: list[tuple[Branch, str, str, str]] = []
        self.raises: list[tuple[Raise, str, str]] = []
        self.leaves = {
            "word": self._word,
            "cia": self._cia,
            "now": self._now,
            "ram": self.ram,
            "mode": self.mode,
            "slb_find": self.slb_find,
        }

    def text(self, name: str, trace: list[Statement]) -> str:
        if looks_at(trace, "fpscr"):
            self._settle()
        self.carry_out(trace)
        self._finish()
        return text_of(self, handler(name))

    def _settle(self) -> None:
        """Make FPSCR what it is, where a region has put it off."""
        pending = self.value(f"icmp ne i32 {self.field('fp_kind', 'i32')}, 0")
        settle, on = self.label("settle"), self.label("on")
        self.line(f"br i1 {pending}, label %{settle}, label %{on}{UNLIKELY}")
        self.start(settle)
        self.line("call void @float_settle(ptr %cpu)")
        self.line(f"br label %{on}")
        self.start(on)

    def _choose(self, e: Expr) -> str:
        """The fast form leaves for the slow one instead of calling a service: no register saved."""
        if not (self.slow and is_deferred(e)):
            return super()._choose(e)
        quick, leave = self.label("quick"), self.label("leave")
        self.line(f"br i1 {self.expr(e.args[0])}, label %{quick}, label %{leave}{LIKELY}")
        self.start(leave)
        self._tail(self.slow, "%e", "%K")
        self.start(quick)
        return self.expr(e.args[1])

    # --- leaves -----------------------------------------------------------------------------------

    def expr(self, e: Expr) -> str:
        """Register numbers come ready from the entry; everything else as everywhere."""
        place = operand_place(e)
        if place and e not in self.memo:
            where = self.value(f"getelementptr i8, ptr %e, i64 {place}")
            byte = self.value(f"load i8, ptr {where}{TB_ENTRY}, !range !6")
            self.memo[e] = self.value(f"trunc i8 {byte} to i5")
        return super().expr(e)

    def _call(self, e: Expr) -> str:
        if isinstance(SERVICES[str(e.arg)], Answered):
            self._note_time()  # what Python is called for may ask for the run's end
        return super()._call(e)

    def _word(self, e: Expr) -> str:
        where = self.value("getelementptr i8, ptr %e, i64 8")
        return self.value(f"load i32, ptr {where}{TB_ENTRY}")

    def _cia(self, e: Expr) -> str:
        return self.value(f"call {self.ea} @cia_of(ptr %cpu, ptr %e)")

    def _now(self, e: Expr) -> str:
        return self.value("call i64 @now_of(ptr %cpu, ptr %e, i64 %K)")

    # --- memory -----------------------------------------------------------------------------------

    def _tlb(self, ea: str, size: int, write: bool) -> tuple[str, str]:
        """(1-bit hit, host pointer valid on a hit) for `size` bytes at `ea`."""
        entry, tag = self._tlb_tag(ea, write)
        last = self.value(f"add {self.ea} {ea}, {size - 1}") if size > 1 else ea
        page = self.value(f"and {self.ea} {last}, {-PAGE_SIZE}")
        hit = self.value(f"icmp eq {self.ea} {page}, {tag}")
        addend = self.value(f"getelementptr i8, ptr {entry}, i64 {self.addresses.line.addend}")
        host = self.value(f"load ptr, ptr {addend}{TB_TLB}")
        offset = self.wide(ea)
        return hit, self.value(f"getelementptr i8, ptr {host}, i64 {offset}")

    def _tlb_tag(self, ea: str, write: bool) -> tuple[str, str]:
        """The TLB's entry for `ea`, and its tag for such an access."""
        entry = self._line(self.field("dtlb", "ptr"), ea, DTLB_ENTRIES)
        at = self.addresses.line.write
        where = self.value(f"getelementptr i8, ptr {entry}, i64 {at}") if write else entry
        return entry, self.value(f"load {self.ea}, ptr {where}{TB_TLB}")

    def _line(self, table: str, ea: str, entries: int) -> str:
        """The line where a table of so many has the page of `ea`, if it has it."""
        shifted = self.value(f"lshr {self.ea} {ea}, {self.addresses.line_shift}")
        index = self.value(f"and {self.ea} {shifted}, {self.addresses.lines(entries)}")
        return self.value(f"getelementptr i8, ptr {table}, i64 {self.wide(index)}")

    def _miss(self, hit: str) -> str:
        """Branch on a TLB hit; in the fast form a miss leaves.  The label of the miss block."""
        ok, miss = self.label("hit"), self.label("miss")
        self.line(f"br i1 {hit}, label %{ok}, label %{miss}{LIKELY}")
        if self.slow:
            self.start(miss)
            self._tail(self.slow, "%e", "%K")
            self.start(ok)
            return ""
        self.pending_ok = ok
        return miss

    def load(self, e: Expr) -> str:
        size = int(e.arg)
        kind = f"i{8 * size}"
        ea = self.expr(e.args[0])
        hit, where = self._tlb(ea, size, write=False)
        miss = self._miss(hit)
        if not miss:
            return self._fast_load(where, kind)
        ok, join = self.pending_ok, self.label("loaded")
        self.start(miss)
        missed = self._slow_load(ea, size)
        from_miss = self.block
        self.line(f"br label %{join}")
        self.start(ok)
        value = self._fast_load(where, kind)
        self.line(f"br label %{join}")
        self.start(join)
        return self.value(f"phi {kind} [ {missed}, %{from_miss} ], [ {value}, %{ok} ]")

    def _fast_load(self, where: str, kind: str) -> str:
        raw = self.value(f"load {kind}, ptr {where}, align 1{TB_MEM}")
        return self._in_order(raw, int(kind[1:]))

    def _in_order(self, raw: str, bits: int) -> str:
        """What lies in memory as a value, or the other way round."""
        turned = swap_bytes(self, bits, raw)
        if bits == 8 or not self.addresses.orders:
            return turned
        return self.value(f"select i1 {self._little()}, i{bits} {raw}, i{bits} {turned}")

    def _little(self) -> str:
        """Whether MSR[LE] is set, 1 bit."""
        return self.value(f"icmp ne i64 {self.field('le', 'i64')}, 0")

    def _halves(self, first: str, second: str) -> tuple[str, str]:
        """Two halves of a value of 128 bits as the other one of value and memory has them."""
        if not self.addresses.orders:
            return first, second
        little = self._little()
        a, b = (
            self.value(f"select i1 {little}, i64 {x}, i64 {y}")
            for x, y in ((second, first), (first, second))
        )
        return a, b

    def _slow_load(self, ea: str, size: int) -> str:
        self._note_time()
        if size == 16:
            first = self._slow_load(ea, 8)
            second = self._slow_load(self.value(f"add {self.ea} {ea}, 8"), 8)
            high, low = self._halves(first, second)
            wide = self.value(f"shl i128 {self.value(f'zext i64 {high} to i128')}, 64")
            return self.value(f"or i128 {wide}, {self.value(f'zext i64 {low} to i128')}")
        raw = self.value(f"call i64 @slow_load(ptr %cpu, {self.ea} {ea}, i32 {size})")
        self._check_fault()
        return raw if size == 8 else self.value(f"trunc i64 {raw} to i{8 * size}")

    def store(self, s: Store) -> None:
        ea = self.expr(s.ea)
        if s.size == LINE:
            self._store_line(ea)
            return
        value = self.expr(s.value)
        kind = f"i{8 * s.size}"
        hit, where = self._tlb(ea, s.size, write=True)
        miss = self._miss(hit)
        if not miss:
            self._fast_store(where, kind, value)
            return
        ok, join = self.pending_ok, self.label("stored")
        self.start(miss)
        self._slow_store(ea, value, s.size)
        self.line(f"br label %{join}")
        self.start(ok)
        self._fast_store(where, kind, value)
        self.line(f"br label %{join}")
        self.start(join)

    def _fast_store(self, where: str, kind: str, value: str) -> None:
        raw = self._in_order(value, int(kind[1:]))
        self.line(f"store {kind} {raw}, ptr {where}, align 1{TB_MEM}")

    def _slow_store(self, ea: str, value: str, size: int) -> None:
        self._note_time()
        if size == 16:
            high = self.value(f"trunc i128 {self.value(f'lshr i128 {value}, 64')} to i64")
            low = self.value(f"trunc i128 {value} to i64")
            first, second = self._halves(high, low)
            self._slow_store(ea, first, 8)
            self._slow_store(self.value(f"add {self.ea} {ea}, 8"), second, 8)
            return
        wide = value if size == 8 else self.value(f"zext i{8 * size} {value} to i64")
        self.line(f"call void @slow_store(ptr %cpu, {self.ea} {ea}, i64 {wide}, i32 {size})")
        self._check_fault()

    def _store_line(self, ea: str) -> None:
        """dcbz: 32 zero bytes; an alignment interrupt where the page is not copy-back cached."""
        if self.slow:
            hit, where = self._tlb(ea, LINE, write=True)
            self._miss(self.value(f"and i1 {hit}, {self._may_clear(ea)}"))
            self.line(f"store <4 x i64> zeroinitializer, ptr {where}, align 1{TB_MEM}")
            return
        self._note_time()
        bits = self.expr(dsisr(Form(Expr("word", 32))))
        self.line(f"call void @zero_line(ptr %cpu, {self.ea} {ea}, i32 {bits})")
        self._check_fault()

    def _may_clear(self, ea: str) -> str:
        """Whether the data TLB's line of `ea` is of a copy-back cached page."""
        behind = DTLB_ENTRIES * self.addresses.line.size
        flags = self.value(f"getelementptr i8, ptr {self.field('dtlb', 'ptr')}, i64 {behind}")
        page = self.value(f"lshr {self.ea} {ea}, 12")
        wide = self.wide(self.value(f"and {self.ea} {page}, {DTLB_ENTRIES - 1}"))
        where = self.value(f"getelementptr i8, ptr {flags}, i64 {wide}")
        flag = self.value(f"load i8, ptr {where}{TB_TLB}")
        return self.value(f"icmp eq i8 {flag}, 0")

    def probe(self, s: Probe) -> None:
        """A walk only where the TLB does not hold the page, as for any access."""
        ea, length = self.expr(s.ea), self.expr(s.length)
        _, tag = self._tlb_tag(ea, s.access is Access.WRITE)
        more = self.value(f"sub i32 {length}, 1")
        end = self.value(f"add {self.ea} {ea}, {self._as_word(more)}")
        first, last = (self.value(f"and {self.ea} {x}, {-PAGE_SIZE}") for x in (ea, end))
        both = (self.value(f"icmp eq {self.ea} {x}, {tag}") for x in (first, last))
        hit = self.value(f"and i1 {', '.join(both)}")
        miss, on = self.label("walk"), self.label("on")
        self.line(f"br i1 {hit}, label %{on}, label %{miss}{LIKELY}")
        self.start(miss)
        self._note_time()
        self.line(f"call void @probe(ptr %cpu, {self.ea} {ea}, i32 {length}, i32 {int(s.access)})")
        self._check_fault()
        self.line(f"br label %{on}")
        self.start(on)

    def _as_word(self, n: str) -> str:
        """A number as wide as an address."""
        return n if self.addresses.width == 32 else self.value(f"zext i32 {n} to {self.ea}")

    def _note_time(self) -> None:
        """Leave the remaining budget where Python finds the time."""
        self.calls_out = True
        here = self.value("ptrtoint ptr %e to i64")
        self.set_field("current_left", "i64", self.value(f"sub i64 %K, {here}"))

    def _check_fault(self) -> None:
        fault = self.field("x_fault", "i32")
        bad, good = self.label("fault"), self.label("good")
        test = self.value(f"icmp ne i32 {fault}, 0")
        self.line(f"br i1 {test}, label %{bad}, label %{good}{UNLIKELY}")
        self.start(bad)
        self._tail("h_data_fault", "%e", "%K")
        self.start(good)

    # --- interrupts, effects, branches ----

    def interrupt(self, s: Raise) -> None:
        cold, on = self.label("raise"), self.label("on")
        outer = dict(self.memo)
        if is_true(s.when):
            self.line(f"br label %{cold}")
        else:
            cond = self.expr(s.when)
            outer = dict(self.memo)
            self.line(f"br i1 {cond}, label %{cold}, label %{on}{UNLIKELY}")
        self.start(cold)
        self._take(s)
        self.memo = outer
        self.start(on)

    def _take(self, s: Raise) -> None:
        srr1 = self.expr(s.srr1)
        self.set_field("x_srr1", self.ea, srr1)
        self.set_field("x_vector", "i32", str(int(s.interrupt)))
        for name, e in (("dar", s.dar), ("dsisr", s.dsisr)):
            if e is not None:
                where = self.register(name, number(0))
                self.line(f"store i{e.width} {self.expr(e)}, ptr {where}")
        self._tail("h_interrupt_after" if s.after else "h_interrupt", "%e", "%K")

    def prepare_ends(self, ends: list[Raise | Effect | Branch]) -> None:
        for s in ends:
            if isinstance(s, Raise) and s.commit:
                assert s.dar is None
                assert s.dsisr is None
                self.raises.append((s, self.expr(s.when), self.expr(s.srr1)))
            elif isinstance(s, Effect):
                args = [(f"i{a.width}", self.expr(a)) for a in s.args]
                self.effects.append((s.name, args))
            elif isinstance(s, Branch) and not (s.when.is_const and not s.when.arg):
                offset = "" if s.offset is None else self.expr(s.offset)
                target = "" if offset and self.local else self.expr(s.target)
                when = "" if is_true(s.when) else self.expr(s.when)
                self.branches.append((s, target, when, offset))

    def _finish(self) -> None:
        for s, when, srr1 in self.raises:
            cold, on = self.label("raise"), self.label("on")
            self.line(f"br i1 {when}, label %{cold}, label %{on}")
            self.start(cold)
            self.set_field("x_srr1", self.ea, srr1)
            self.set_field("x_vector", "i32", str(int(s.interrupt)))
            if s.after and self.branches:
                _, target, condition, _ = self.branches[0]
                assert target
                assert not condition
                nia = self.register("nia", number(0))
                self.line(f"store {self.ea} {target}, ptr {nia}")
                self._tail("h_interrupt_at", "%e", "%K")
            else:
                self._tail("h_interrupt_after" if s.after else "h_interrupt", "%e", "%K")
            self.start(on)
        if self.effects:
            self._finish_effects()
            return
        for _, target, when, offset in self.branches:
            on = ""
            if when:
                taken, on = self.label("taken"), self.label("on")
                self.line(f"br i1 {when}, label %{taken}, label %{on}")
                self.start(taken)
            if offset and self.local:
                self._go_local(offset)
            else:
                self._go_far(target)
            if not on:
                return
            self.start(on)
        self._next()

    def _finish_effects(self) -> None:
        """Effects change what the next fetch sees: go on by address, looking at requests."""
        if self.branches:
            _, target, when, _ = self.branches[0]
            assert not when
            nia = target
        else:
            cia = self.value(f"call {self.ea} @cia_of(ptr %cpu, ptr %e)")
            nia = self.value(f"add {self.ea} {cia}, 4")
        self.line(f"store {self.ea} {nia}, ptr {self.register('nia', number(0))}")
        for name, args in self.effects:
            if name in ("timer", "hypercall"):
                self._note_time()
            if name in NATIVE_EFFECTS:
                more = "".join(f", {kind} {a}" for kind, a in args)
                self.line(f"call void @effect_{name}(ptr %cpu{more})")
            else:
                self._note_time()
                arg = args[0][1] if args else "0"
                code = EFFECT_CODES[name]
                self.line(f"call void @effect_python(ptr %cpu, i32 {code}, i32 {arg})")
        if [name for name, _ in self.effects] == ["segment"] and not self.branches:
            self._go_on_beside(self.effects[0][1][0][1])
        here = self.value("ptrtoint ptr %e to i64")
        left = self.value(f"sub i64 {self.value(f'sub i64 %K, {here}')}, 16")
        self._tail("h_sync", "null", left)

    def _go_on_beside(self, segment: str) -> None:
        """Where this code lies in another segment than the changed one, its fetches stay valid."""
        running = self.value(f"lshr {self.ea} {self.field('fpage', self.ea)}, 28")
        same, other = self.label("same"), self.label("other")
        test = self.value(f"icmp eq {self.ea} {running}, {segment}")
        self.line(f"br i1 {test}, label %{same}, label %{other}{UNLIKELY}")
        self.start(other)
        self._dispatch(self.value("getelementptr i8, ptr %e, i64 16"), "%K")
        self.start(same)

    def _next(self) -> None:
        following = self.value("getelementptr i8, ptr %e, i64 16")
        if self.calls_out:
            self._tail("h_next", following, "%K")
        else:
            self._dispatch(following, "%K")

    def _dispatch(self, entry: str, k: str) -> None:
        self.lines.append(dispatch(entry, k))

    def _tail(self, name: str, entry: str, k: str) -> None:
        self.lines.append(tail(name, entry, k))

    def _go_local(self, offset: str) -> None:
        """To the entry at `offset` bytes of code from here, in this page."""
        narrow = self.addresses.width < 64
        wide = self.value(f"sext i32 {offset} to i64") if narrow else offset
        entry = self.value(f"getelementptr i8, ptr %e, i64 {self.value(f'shl i64 {wide}, 2')}")
        target = self.value(f"ptrtoint ptr {entry} to i64")
        here = self.value("ptrtoint ptr %e to i64")
        moved = self.value(f"sub i64 {target}, {here}")
        k = self.value(f"sub i64 {self.value(f'add i64 %K, {moved}')}, 16")
        self._budget(f"icmp sle i64 {k}, {target}", entry, k, "h_spent")
        self._dispatch(entry, k)

    def _budget(self, test: str, entry: str, k: str, leave: str) -> None:
        out, on = self.label("out"), self.label("on")
        spent = self.value(test)
        self.line(f"br i1 {spent}, label %{out}, label %{on}{UNLIKELY}")
        self.start(out)
        self._tail(leave, entry, k)
        self.start(on)

    def _go_far(self, target: str) -> None:
        """To the entry of effective address `target`, through the fetch TLB."""
        here = self.value("ptrtoint ptr %e to i64")
        left = self.value(f"sub i64 {self.value(f'sub i64 %K, {here}')}, 16")
        line = self._line(self.field("itlb", "ptr"), target, ITLB_ENTRIES)
        tag = self.value(f"load {self.ea}, ptr {line}{TB_TLB}")
        page = self.value(f"and {self.ea} {target}, {-PAGE_SIZE}")
        same = self.value(f"icmp eq {self.ea} {tag}, {page}")
        enough = self.value(f"icmp sgt i64 {left}, 0")
        go, leave = self.label("go"), self.label("leave")
        both = self.value(f"and i1 {same}, {enough}")
        self.line(f"br i1 {both}, label %{go}, label %{leave}{LIKELY}")
        self.start(leave)
        self.line(f"store {self.ea} {target}, ptr {self.register('nia', number(0))}")
        self._tail("h_jump", "%e", left)
        self.start(go)
        where = self.value(f"getelementptr i8, ptr {line}, i64 {self.addresses.line.addend}")
        entries = self.value(f"load ptr, ptr {where}{TB_TLB}")
        self.line(f"store {self.ea} {page}, ptr {self.at(self.addresses.fields['fpage'])}")
        low = self.value(f"and {self.ea} {target}, {PAGE_SIZE - 4}")
        offset = self.wide(self.value(f"shl {self.ea} {low}, 2"))
        entry = self.value(f"getelementptr i8, ptr {entries}, i64 {offset}")
        k = self.value(f"add i64 {left}, {self.value(f'ptrtoint ptr {entry} to i64')}")
        self._dispatch(entry, k)
