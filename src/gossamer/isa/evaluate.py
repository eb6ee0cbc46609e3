"""The reference: carries out the statements of a body on Python integers.

Everything that a list's writes, effects and branches need is computed before the list's nested
lists run and before anything is written; a nested list sees what was computed before it, so an
expression made outside a loop and used by a probe or load there keeps its value inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from gossamer.base.bits import ones
from gossamer.isa.architecture import SLB_ENTRIES, USUAL
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
from gossamer.isa.interrupts import Access, Interrupt
from gossamer.isa.ops import OPS
from gossamer.isa.service import SERVICES

Memo = dict[Expr, int]
#: An entry of the SLB is valid; what of a table's doubleword is compared (`Body.table_find`).
SLB_VALID: Final = 0x0800_0000
TABLE_COMPARED: Final = ~0x7C
Act = Callable[[], None]


class Fault(Exception):  # noqa: N818
    """An access that an environment refuses; the interrupt it leads to."""

    def __init__(
        self, interrupt: Interrupt, srr1: int = 0, dar: int | None = None, dsisr: int | None = None
    ) -> None:
        super().__init__(interrupt.name)
        self.interrupt, self.srr1, self.dar, self.dsisr = interrupt, srr1, dar, dsisr


class Env(Protocol):
    """What surrounds a body: the registers, memory and time of one CPU."""

    @property
    def cia(self) -> int:
        """Address of this instruction."""

    @property
    def word(self) -> int:
        """The instruction (read only by traces of a symbolic word)."""

    def now(self) -> int:
        """Virtual time, ns."""

    def read_reg(self, name: str, index: int) -> int: ...
    def write_reg(self, name: str, index: int, value: int) -> None: ...
    def load(self, ea: int, size: int) -> int:
        """The bytes at `ea`, big-endian; raises Fault."""

    def store(self, ea: int, size: int, value: int) -> None:
        """Store, big-endian; raises Fault."""

    def probe(self, ea: int, length: int, access: Access) -> None:
        """Raise the Fault that an access to any of these bytes would."""

    def ram_load(self, ra: int, size: int) -> int: ...
    def ram_store(self, ra: int, size: int, value: int) -> None: ...
    def table_load(self, n: int) -> int:
        """Doubleword `n`, modulo their number, of the hypervisor's hash table; 0: there is none."""

    def table_store(self, n: int, value: int) -> None: ...
    def effect(self, name: str, args: Sequence[int]) -> None: ...
    def take_interrupt(
        self, interrupt: Interrupt, srr1: int, dar: int | None, dsisr: int | None, srr0: int
    ) -> int:
        """Enter the interrupt; the address to go on at."""


class NoTable:
    """Of an `Env` whose bodies look at no hash table."""

    def table_load(self, n: int) -> int:
        raise AssertionError(f"no hash table to read ({n})")

    def table_store(self, n: int, value: int) -> None:
        raise AssertionError(f"no hash table to write ({n}, {value:#x})")


class _Taken(Exception):  # noqa: N818
    """A Raise of the trace ends the instruction; holds the address to go on at."""

    def __init__(self, target: int) -> None:
        self.target = target


def evaluate(e: Expr, env: Env, memo: Memo, args: Sequence[int] = ()) -> int:
    """The value of `e`; sub-expressions found in `memo` keep their values, others are added."""
    if e.op == "const":
        return int(e.arg)
    if e in memo:
        return memo[e]
    memo[e] = value = _compute(e, env, memo, args)
    return value


def _compute(e: Expr, env: Env, memo: Memo, args: Sequence[int]) -> int:
    op = e.op
    if op in ("select", "choose"):
        side = e.args[1] if evaluate(e.args[0], env, memo, args) else e.args[2]
        return evaluate(side, env, memo, args)
    operands = [evaluate(a, env, memo, args) for a in e.args]
    row = OPS.get(op)
    if row is not None:
        return row(e.width, [a.width for a in e.args], operands)
    if op == "reg":
        return env.read_reg(str(e.arg), operands[0])
    if op == "call":
        return SERVICES[str(e.arg)].evaluate(operands)
    if op == "ram":
        return env.ram_load(operands[0], int(e.arg))
    if op == "ram_find":
        ra, wanted = operands
        return sum((env.ram_load(ra + 8 * n, 4) == wanted) << 7 - n for n in range(8))
    if op == "arg":
        return args[int(e.arg)]
    if op in ("table", "table_find"):
        return env.table_load(operands[0]) if op == "table" else _table_find(env, *operands)
    if op == "slb_find":
        return _slb_find(env, operands[0])
    if op == "mode":
        return ones(64 if env.read_reg("msr", 0) >> 63 else 32)
    assert op in ("cia", "word", "now"), f"{op} has no value here"
    return env.now() if op == "now" else env.cia if op == "cia" else env.word


def _table_find(env: Env, group: int, wanted: int) -> int:
    """See `Body.table_find`."""
    first = group << 4
    return sum(
        (env.table_load(first + 2 * n) ^ wanted) & TABLE_COMPARED == 0 and 0x80 >> n
        for n in range(8)
    )


def _slb_find(env: Env, ea: int) -> int:
    """See `Body.slb_find`."""
    for n in range(SLB_ENTRIES):
        esid = env.read_reg("slb_esid", n)
        if not esid & SLB_VALID:
            continue
        shift = 40 if env.read_reg("slb_vsid", n) >> 62 == 1 else 28
        if esid >> shift == ea >> shift:
            return n
    return SLB_ENTRIES


class _Run:
    """One instruction under way."""

    def __init__(self, env: Env, args: Sequence[int], width: int) -> None:
        self.env, self.args = env, args
        self.target = self.following = (env.cia + 4) & ones(width)

    def value(self, e: Expr, memo: Memo) -> int:
        return evaluate(e, self.env, memo, self.args)

    def carry_out(self, statements: Sequence[Statement], memo: Memo) -> None:
        for s in statements:
            self.access(s, memo)
        writes, raises, effects, branches = self.prepare(statements, memo)
        for s in statements:
            self.nested(s, memo)
        for act in (*writes, *raises, *effects, *branches):
            act()

    def access(self, s: Statement, memo: Memo) -> None:
        """1: accesses and raises, in program order."""
        if isinstance(s, Do):
            ea = self.value(s.expr.args[0], memo)
            memo[s.expr] = self.env.load(ea, int(s.expr.arg))
        elif isinstance(s, Store):
            if self.value(s.when, memo):
                self.env.store(self.value(s.ea, memo), s.size, self.value(s.value, memo))
        elif isinstance(s, Probe):
            if self.value(s.when, memo):
                self.env.probe(self.value(s.ea, memo), self.value(s.length, memo), s.access)
        elif isinstance(s, Raise) and not s.commit and self.value(s.when, memo):
            self.raiser(s, memo)()

    def prepare(self, statements: Sequence[Statement], memo: Memo) -> tuple[list[Act], ...]:
        """2: what commits later, with values from the state before."""
        writes: list[Act] = []
        raises: list[Act] = []
        effects: list[Act] = []
        branches: list[Act] = []
        env = self.env
        for s in statements:
            if isinstance(s, Write):
                if self.value(s.when, memo):
                    index, value = self.value(s.index, memo), self.value(s.value, memo)
                    writes.append(partial(env.write_reg, s.reg, index, value))
            elif isinstance(s, RamStore):
                if self.value(s.when, memo):
                    ra, value = self.value(s.ra, memo), self.value(s.value, memo)
                    writes.append(partial(env.ram_store, ra, s.size, value))
            elif isinstance(s, TableStore):
                if self.value(s.when, memo):
                    n, value = self.value(s.n, memo), self.value(s.value, memo)
                    writes.append(partial(env.table_store, n, value))
            elif isinstance(s, Raise):
                if s.commit and self.value(s.when, memo):
                    raises.append(self.raiser(s, memo))
            elif isinstance(s, Effect):
                values = [self.value(a, memo) for a in s.args]
                effects.append(partial(env.effect, s.name, values))
            elif isinstance(s, Branch) and self.value(s.when, memo):
                self.following = self.value(s.target, memo)
                branches.append(partial(self.go, self.following))
        return writes, raises, effects, branches

    def nested(self, s: Statement, memo: Memo) -> None:
        """3: lists of their own."""
        if isinstance(s, When):
            inner = s.body if self.value(s.cond, memo) else s.other
            self.carry_out(inner, dict(memo))
        elif isinstance(s, Loop):
            for k in range(self.value(s.count, memo)):
                self.carry_out(s.body, {**memo, s.index: k})

    def go(self, target: int) -> None:
        self.target = target

    def raiser(self, s: Raise, memo: Memo) -> Act:
        srr1 = self.value(s.srr1, memo)
        dar = None if s.dar is None else self.value(s.dar, memo)
        dsisr = None if s.dsisr is None else self.value(s.dsisr, memo)

        def act() -> None:
            srr0 = self.following if s.after else self.env.cia
            raise _Taken(self.env.take_interrupt(s.interrupt, srr1, dar, dsisr, srr0))

        return act


def execute(
    statements: Sequence[Statement], env: Env, args: Sequence[int] = (), width: int = USUAL
) -> int:
    """Carry out one instruction's trace, for words of `width` bits.

    The address of the next instruction.
    """
    run = _Run(env, args, width)
    try:
        run.carry_out(statements, {})
    except Fault as f:
        return env.take_interrupt(f.interrupt, f.srr1, f.dar, f.dsisr, env.cia)
    except _Taken as taken:
        return taken.target
    return run.target
