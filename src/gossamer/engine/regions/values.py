"""Registers inside a region: values while in a block, variables between blocks, and their block.

A kept register's value is known in a block (`now`), lies in a variable (an alloca, which LLVM makes
a value) where blocks meet, and is stored in the register block before the next way out: a write
that another follows before that is never stored.  CR fields that a compare makes are kept as a
difference (`Difference`) and made only where they are read, and by exits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gossamer.base.data import Data
from gossamer.engine.addresses import addresses
from gossamer.engine.emit import TB_CPU
from gossamer.engine.emit_vector import PAIR, enter, leave
from gossamer.engine.regions.code import KEPT, Code, Key
from gossamer.engine.regions.forming import Place, Region
from gossamer.engine.statements import PendingWrite, StatementWriter, is_true
from gossamer.isa.architecture import USUAL, WIDTHS
from gossamer.isa.body import Write
from gossamer.isa.expr import Expr

_RANGES: Final = {"crf": ", !range !20", "so": ", !range !21", "ov": ", !range !21",
                  "ca": ", !range !21"}  # fmt: skip
RANGE_METADATA: Final = "!20 = !{i8 0, i8 16}\n!21 = !{i8 0, i8 2}\n"


class Difference(Data):
    """A CR field not made yet: the difference of what was compared (i64), SO, the conditions.

    Two words of 64 bits have none of 64 bits: there `value` and `other` are compared, as signed.
    """

    value: str
    other: str
    so: str
    less: str
    equal: str


class _KeptWrite(PendingWrite):
    key: Key
    new: str | Difference


class Compare(Data):
    """What a compare's CR code is made from."""

    less: Expr
    equal: Expr
    so: Expr


def compare_of(e: Expr) -> Compare | None:
    """The parts of a `Body.compare_code` of integers, None for anything else."""
    if e.op != "or" or e.width != 8:
        return None
    code, so = e.args
    if code.op != "select" or code.args[2].op != "select":
        return None
    less, equal = code.args[0], code.args[2].args[0]
    values = [a.value for a in (code.args[1], *code.args[2].args[1:]) if a.is_const]
    if values != [8, 2, 4] or less.op not in ("lts", "ltu") or equal.op != "eq":
        return None
    a, b = less.args
    if a.width not in WIDTHS or not (same(a, equal.args[0]) and same(b, equal.args[1])):
        return None
    return Compare(less, equal, so)


def same(a: Expr, b: Expr) -> bool:
    return a is b or (a.is_const and b.is_const and a.value == b.value and a.width == b.width)


def compared_fields(region: Region) -> set[Key]:
    """The CR fields that some compare of the region makes."""
    return {
        (s.reg, s.index.value)
        for code in region.codes()
        for s in code.trace
        if isinstance(s, Write) and s.reg == "crf" and is_true(s.when) and compare_of(s.value)
    }


#: What is put off of FPSCR (`floats`), as keys: kept as registers are.
RECORD: Final = {"fp_a": "double", "fp_b": "double", "fp_c": "double", "fp_convert": "double",
                 "fp_kind": "i32"}  # fmt: skip


def record_of(code: Code) -> set[Key]:
    """What of the record an instruction may write."""
    if not code.put_off:
        return set()
    return {(name, 0) for name in RECORD}


#: Stores on ways out that sinking may add to a region, at the most.
_MOST_SUNK: Final = 400


class Sinking:
    """Loops of a region whose registers are stored on ways out only, not as they are written.

    The host stores once or twice a cycle: in a short loop that is what bounds it.  Each way out
    has to store all of them then, so that only short loops are worth it.
    """

    def __init__(self, region: Region) -> None:
        self.places: set[Place] = set()
        self.keys: set[Key] = set()
        for loop in sorted(region.natural, key=len):
            places = self.places | loop
            codes = [code for p in places for _, code in region.blocks[p].instructions]
            keys = {key for code in codes for key in code.writes | record_of(code)}
            keys = {key for key in keys if key[0] != "vsl"}  # floats write those by the way
            ways_out = sum(code.put_off or code.touches_memory for code in codes) + len(places)
            if ways_out * len(keys) <= _MOST_SUNK:
                self.places, self.keys = places, keys


class Values(StatementWriter):
    """Writes statements on kept registers."""

    def __init__(self, intrinsics: set[str], region: Region) -> None:
        super().__init__(intrinsics, addresses(region.width, region.orders))
        self.region, self.ea = region, self.addresses.type
        self.fields = compared_fields(region)
        self.now: dict[Key, str | Difference] = {}
        #: Doubles in `now`, also as the 64 bits that they are.
        self.as_bits: dict[Key, str] = {}
        self.written: set[Key] = set()
        self.unstored: dict[Key, str] = {}
        self.sinking = Sinking(region)
        #: Registers that have variables: the others are read where they are needed.
        self.held = self._held()
        #: Whether the block being written is one of those that store sunk registers on ways out.
        self.is_tight = False
        #: Registers whose values may not be in their block yet at this point.
        self.owed: set[Key] = set()
        self.nested = 0

    # --- variables --------------------------------------------------------------------------------

    def _held(self) -> set[Key]:
        """What is stored on ways out only, and what loops use.

        On other ways a register is used once or twice for each time that the region is entered.
        """
        used = {
            key
            for place in set().union(*self.region.natural)
            for _, code in self.region.blocks[place].instructions
            for key in code.reads | code.writes
        }
        kept = {key for key in self.region.kept() if key in self.fields or key[0] in RECORD}
        return used | kept | self.sinking.keys

    def type_of(self, key: Key) -> str:
        """LLVM type of a kept register between instructions."""
        if key[0] in RECORD:
            return RECORD[key[0]]
        if key[0] == "fpr":
            return "double"
        return PAIR if key[0] == "vr" else f"i{self.addresses.layout.registers[key[0]][0]}"

    def offset_of(self, key: Key) -> int:
        if key[0] in RECORD:
            return self.addresses.fields[key[0]]
        layout = self.addresses.layout
        return layout.offset[key[0]] + layout.registers[key[0]][0] // 8 * key[1]

    @property
    def _parts(self) -> tuple[tuple[str, str], ...]:
        """What a variable of a difference has: names and types of its parts."""
        other = () if self.addresses.width == USUAL else (("other", "i64"),)
        return (("value", "i64"), *other, ("so", "i8"), ("made", "i1"))

    @staticmethod
    def variable(key: Key) -> str:
        return f"%{key[0]}.{key[1]}"

    def declare(self, key: Key) -> None:
        """The variable of a held register, set from its block."""
        kind, name = self.type_of(key), self.variable(key)
        self.allocas.append(f"  {name} = alloca {kind}")
        if key in self.fields:
            for part, of in self._parts:
                self.allocas.append(f"  {name}.{part} = alloca {of}")
                self.line(f"store {of} {'true' if part == 'made' else '0'}, ptr {name}.{part}")
        self.line(f"store {kind} {self._from_block(key)}, ptr {name}")

    def _from_block(self, key: Key) -> str:
        """What the register block has."""
        where, kind = self.at(self.offset_of(key)), self.type_of(key)
        align = ", align 8" if key[0] == "vr" else ""
        return self.value(f"load {kind}, ptr {where}{align}{TB_CPU}{_RANGES.get(key[0], '')}")

    def begin(self, place: Place, owed: set[Key]) -> None:
        """Forget values: a block begins, where `owed` may not be in the register block yet."""
        self.now, self.as_bits, self.written, self.unstored = {}, {}, set(), {}
        self.owed, self.is_tight = set(owed), place in self.sinking.places

    def is_put_off(self, key: Key) -> bool:
        """Whether a register is stored on ways out only, in this block."""
        if key in self.fields or key[0] in RECORD:
            return True
        return self.is_tight and key in self.sinking.keys

    def leave_in_variables(self) -> None:
        """Put what the block wrote where following blocks find it."""
        self.store_all()
        for key in sorted(self.written & self.held):
            name, value = self.variable(key), self.now[key]
            if isinstance(value, Difference):
                self.line(f"store i64 {value.value}, ptr {name}.value")
                if value.other:
                    self.line(f"store i64 {value.other}, ptr {name}.other")
                self.line(f"store i8 {value.so}, ptr {name}.so")
                self.line(f"store i1 false, ptr {name}.made")
                continue
            self.line(f"store {self.type_of(key)} {value}, ptr {name}")
            if key in self.fields:
                self.line(f"store i1 true, ptr {name}.made")

    # --- reading ----------------------------------------------------------------------------------

    def read(self, key: Key) -> str:
        """The value of a kept register, of `type_of`."""
        value = self.now.get(key)
        if isinstance(value, Difference):
            return self._make(value)
        if value is None:
            name = self.variable(key)
            if key not in self.held:
                value = self._from_block(key)
            else:
                value = self.value(f"load {self.type_of(key)}, ptr {name}")
            if key in self.fields:
                value = self._made_or(name, value)
            if not self.nested:
                self.now[key] = value
        return value

    def _make(self, d: Difference) -> str:
        low = self.value(f"select i1 {d.equal}, i8 2, i8 4")
        return self.value(f"or i8 {self.value(f'select i1 {d.less}, i8 8, i8 {low}')}, {d.so}")

    def _made_or(self, name: str, made: str) -> str:
        """A CR field where blocks meet: made already, or a difference."""
        value, other = self.value(f"load i64, ptr {name}.value"), ""
        if self.addresses.width != USUAL:
            other = self.value(f"load i64, ptr {name}.other")
        so = self.value(f"load i8, ptr {name}.so")
        is_made = self.value(f"load i1, ptr {name}.made")
        less = self.value(f"icmp slt i64 {value}, {other or 0}")
        equal = self.value(f"icmp eq i64 {value}, {other or 0}")
        code = self._make(Difference(value, other, so, less, equal))
        return self.value(f"select i1 {is_made}, i8 {made}, i8 {code}")

    def bits(self, number: int) -> str:
        """FPR `number` as 64 bits."""
        key = ("fpr", number)
        if key in self.as_bits:
            return self.as_bits[key]
        text = self.value(f"bitcast double {self.read(key)} to i64")
        if not self.nested:
            self.as_bits[key] = text
        return text

    def expr(self, e: Expr) -> str:
        if e.op == "reg":
            if e.arg in KEPT:
                return self._kept(e)
            if e.arg == "msr":
                return "%msr"
        return super().expr(e)

    def _kept(self, e: Expr) -> str:
        key = (str(e.arg), e.args[0].value)
        if key[0] == "fpr":
            return self.bits(key[1])
        return leave(self, PAIR, self.read(key)) if key[0] == "vr" else self.read(key)

    def _choose(self, e: Expr) -> str:
        self.expr(e.args[0])
        self.store_all()
        self.nested += 1
        text = super()._choose(e)
        self.nested -= 1
        return text

    def conditionally(self, cond: Expr, action: object) -> None:
        if is_true(cond):
            super().conditionally(cond, action)
            return
        self.expr(cond)
        self.store_all()
        self.nested += 1
        super().conditionally(cond, action)
        self.nested -= 1

    # --- writing ----------------------------------------------------------------------------------

    def prepare_write(self, s: Write) -> PendingWrite:
        if s.reg not in KEPT:
            return super().prepare_write(s)
        return _KeptWrite("", "", "", "", (s.reg, s.index.value), self.new_value(s))

    def commit_write(self, p: PendingWrite) -> None:
        if isinstance(p, _KeptWrite):
            self.write(p.key, p.new)
        else:
            super().commit_write(p)

    def write(self, key: Key, value: str | Difference) -> None:
        """Set a kept register to a value of `type_of`."""
        if key[0] == "vsl" and self.now.get(key) == value:
            return  # zero, after another write to the same floating-point register
        self.now[key] = value
        self.as_bits.pop(key, None)
        self.written.add(key)
        if self.is_put_off(key):
            self.owed.add(key)
        else:
            assert isinstance(value, str)
            self.unstored[key] = value

    def new_value(self, s: Write) -> str | Difference:
        """The value that a write to a kept register gives it."""
        key = (s.reg, s.index.value)
        if key in self.fields and is_true(s.when) and (c := compare_of(s.value)) is not None:
            a, b = (self._compared(x, is_signed=c.less.op == "lts") for x in c.less.args)
            less, equal = self.expr(c.less), self.expr(c.equal)
            if self.addresses.width != USUAL:
                return Difference(a, b, self.expr(c.so), less, equal)
            return Difference(self.value(f"sub i64 {a}, {b}"), "", self.expr(c.so), less, equal)
        value = self.expr(s.value)
        if key[0] == "fpr":
            value = self.value(f"bitcast i64 {value} to double")
        elif key[0] == "vr":
            value = enter(self, PAIR, value)
        if is_true(s.when):
            return value
        kind = self.type_of(key)
        return self.value(f"select i1 {self.expr(s.when)}, {kind} {value}, {kind} {self.read(key)}")

    def _compared(self, e: Expr, *, is_signed: bool) -> str:
        """An operand of a compare as 64 bits that give the same order when they are signed."""
        text = self.expr(e)
        if e.width == USUAL:
            return self.value(f"{'sext' if is_signed else 'zext'} i32 {text} to i64")
        return text if is_signed else self.value(f"xor i64 {text}, {-(1 << 63)}")

    def store_all(self) -> None:
        """Store what was written since the last way out."""
        for key, value in self.unstored.items():
            align = ", align 8" if key[0] == "vr" else ""
            where = self.at(self.offset_of(key))
            self.line(f"store {self.type_of(key)} {value}, ptr {where}{align}{TB_CPU}")
        self.unstored = {}

    def store_owed(self, keys: Iterable[Key]) -> None:
        """Store those of `keys` that may not be in the block yet (on a way out)."""
        for key in sorted(self.owed.intersection(keys)):
            align = ", align 8" if key[0] == "vr" else ""
            where = self.at(self.offset_of(key))
            self.line(f"store {self.type_of(key)} {self.read(key)}, ptr {where}{align}{TB_CPU}")

    def store_record(self) -> None:
        """Store what is put off of FPSCR where a block ends; short loops do so where they end."""
        if self.is_tight:
            return
        record = {key for key in self.owed if key[0] in RECORD}
        self.store_owed(record)
        self.owed -= record
        if not record <= self.sinking.keys:  # no variable, then
            self.written -= record
            for key in record:
                self.now.pop(key, None)
