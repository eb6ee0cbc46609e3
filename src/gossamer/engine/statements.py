"""Statements to LLVM text, in the order that `gossamer.isa.body` lays down.

The subclass of a `StatementWriter` says how an access, an interrupt, an effect and a branch look
where it is used: in a handler (`handlers`) or in a function of the runtime (`services`).
"""

from __future__ import annotations

from gossamer.base.data import Data
from gossamer.engine.emit import TB_CPU, TB_MEM, Function
from gossamer.isa.body import (
    Branch,
    Do,
    Effect,
    Loop,
    Probe,
    Raise,
    RamStore,
    Statement,
    Store,
    TableStore,
    When,
    Write,
)
from gossamer.isa.expr import Expr


class PendingWrite(Data):
    """A write whose operands are computed: pointer, type, value, condition (none: always)."""

    where: str
    kind: str
    value: str
    when: str


def is_true(cond: Expr) -> bool:
    return cond.is_const and bool(cond.arg)


class StatementWriter(Function):
    """Carries out one list of statements after the other."""

    def carry_out(self, statements: list[Statement]) -> None:
        """Phases 1 to 4 of a list; the ends (phase 5) are left to `finish`."""
        for s in statements:
            if isinstance(s, Do):
                self.memo[s.expr] = self.load(s.expr)
            elif isinstance(s, Store):
                self.conditionally(s.when, lambda s=s: self.store(s))
            elif isinstance(s, Probe):
                self.conditionally(s.when, lambda s=s: self.probe(s))
            elif isinstance(s, Raise) and not s.commit:
                self.interrupt(s)
        pending = [self.prepare_write(s) for s in statements if isinstance(s, Write)]
        ram = [self._prepare_ram(s) for s in statements if isinstance(s, RamStore | TableStore)]
        self.prepare_ends([s for s in statements if isinstance(s, Raise | Effect | Branch)])
        for s in statements:
            if isinstance(s, When):
                self._when(s)
            elif isinstance(s, Loop):
                self._loop(s)
        for p in pending:
            self.commit_write(p)
        for call in ram:
            self.line(call)

    # --- writes -----------------------------------------------------------------------------------

    def prepare_write(self, s: Write) -> PendingWrite:
        value = self.expr(s.value)
        when = "" if is_true(s.when) else self.expr(s.when)
        return PendingWrite(self.register(s.reg, s.index), f"i{s.value.width}", value, when)

    def commit_write(self, p: PendingWrite) -> None:
        value = p.value
        if p.when:
            old = self.value(f"load {p.kind}, ptr {p.where}{TB_CPU}")
            value = self.value(f"select i1 {p.when}, {p.kind} {value}, {p.kind} {old}")
        self.line(f"store {p.kind} {value}, ptr {p.where}{TB_CPU}")

    def _prepare_ram(self, s: RamStore | TableStore) -> str:
        place = self.expr(s.n if isinstance(s, TableStore) else s.ra)
        value, when = self.expr(s.value), self.expr(s.when)
        if isinstance(s, TableStore):
            return f"call void @table_store(ptr %cpu, i64 {place}, i64 {value}, i1 {when})"
        assert s.size == 4, s.size
        return f"call void @ram_store_word(ptr %cpu, i32 {place}, i32 {value}, i1 {when})"

    # --- structure --------------------------------------------------------------------------------

    def conditionally(self, cond: Expr, action: object) -> None:
        """Do `action` when `cond` holds."""
        assert callable(action)
        if is_true(cond):
            action()
            return
        yes, on = self.label("do"), self.label("on")
        self.line(f"br i1 {self.expr(cond)}, label %{yes}, label %{on}")
        outer = dict(self.memo)
        self.start(yes)
        action()
        self.line(f"br label %{on}")
        self.memo = outer
        self.start(on)

    def _when(self, s: When) -> None:
        self.conditionally(s.cond, lambda: self.carry_out(s.body))
        assert not s.other

    def _loop(self, s: Loop) -> None:
        count = self.expr(s.count)
        counter = f"%index{self.label('')}"
        self.allocas.append(f"  {counter} = alloca i32")
        head, body, out = self.label("loop"), self.label("body"), self.label("out")
        self.line(f"store i32 0, ptr {counter}")
        self.line(f"br label %{head}")
        self.start(head)
        index = self.value(f"load i32, ptr {counter}")
        more = self.value(f"icmp ult i32 {index}, {count}")
        self.line(f"br i1 {more}, label %{body}, label %{out}")
        outer = self.memo
        # Registers are read anew in each iteration; only what was computed outside is kept.
        self.memo = {e: t for e, t in outer.items() if e.op != "reg"}
        self.memo[s.index] = index
        self.start(body)
        self.carry_out(s.body)
        again = self.value(f"add i32 {index}, 1")
        self.line(f"store i32 {again}, ptr {counter}")
        self.line(f"br label %{head}")
        self.memo = outer
        self.start(out)

    # --- what the subclass gives ----

    def load(self, e: Expr) -> str:
        raise NotImplementedError

    def store(self, s: Store) -> None:
        raise NotImplementedError

    def probe(self, s: Probe) -> None:
        raise NotImplementedError

    def interrupt(self, s: Raise) -> None:
        raise NotImplementedError

    def prepare_ends(self, ends: list[Raise | Effect | Branch]) -> None:
        """Compute the operands of the list's ends from the state before."""

    # --- real memory without effects ----

    def ram(self, e: Expr) -> str:
        """The bytes at a real address that is RAM, zero elsewhere."""
        size = int(e.arg)
        where = self.value(f"call ptr @ram_pointer(ptr %cpu, i32 {self.expr(e.args[0])})")
        kind = f"i{8 * size}"
        raw = self.value(f"load {kind}, ptr {where}, align 4{TB_MEM}")
        return self.call(f"llvm.bswap.{kind}", kind, (kind, raw))

    def ram_find(self, e: Expr) -> str:
        """Which doublewords of a PTE group begin with a word: one vector comparison."""
        where = self.value(f"call ptr @ram_pointer(ptr %cpu, i32 {self.expr(e.args[0])})")
        group = self.value(f"load <16 x i32>, ptr {where}, align 64{TB_MEM}")
        places = "<8 x i32> <i32 0, i32 2, i32 4, i32 6, i32 8, i32 10, i32 12, i32 14>"
        heads = f"shufflevector <16 x i32> {group}, <16 x i32> poison, {places}"
        first = self.value(heads)
        wanted = self.call("llvm.bswap.i32", "i32", ("i32", self.expr(e.args[1])))
        one = self.value(f"insertelement <8 x i32> poison, i32 {wanted}, i32 0")
        same = "shufflevector <8 x i32> {}, <8 x i32> poison, <8 x i32> zeroinitializer"
        all_ = self.value(same.format(one))
        found = self.value(f"icmp eq <8 x i32> {first}, {all_}")
        mask = self.value(f"bitcast <8 x i1> {found} to i8")
        return self.call("llvm.bitreverse.i8", "i8", ("i8", mask))

    # --- what only 64-bit models have ----

    def mode(self, e: Expr) -> str:
        """What the CPU computes with, as MSR[SF] says."""
        return self.field("mode", "i64")

    def table(self, e: Expr) -> str:
        """A doubleword of the hypervisor's hash table."""
        return self.value(f"call i64 @table_load(ptr %cpu, i64 {self.expr(e.args[0])})")

    def table_find(self, e: Expr) -> str:
        """Which entries of a group have a first doubleword."""
        group, wanted = (self.expr(a) for a in e.args)
        return self.value(f"call i8 @table_find(ptr %cpu, i64 {group}, i64 {wanted})")

    def slb_find(self, e: Expr) -> str:
        """The first entry of the SLB that translates an address."""
        return self.value(f"call i8 @slb_find(ptr %cpu, i64 {self.expr(e.args[0])})")


def text_of(f: Function, head: str) -> str:
    """The whole function: `head` with the opening brace, entry block, body."""
    return "\n".join([head, "entry:", *f.allocas, *f.lines, "}"])
