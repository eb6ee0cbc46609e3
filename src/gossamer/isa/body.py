"""What a body may do: read and write registers, access memory, branch, raise, act on conditions.

A body runs once, over symbolic values, and leaves a list of statements (its *trace*).  The order
in which an engine must carry out the statements of one list:

1. `Do` (a load), `Probe`, `Store` and `Raise` in program order; a `Raise` or a fault ends the
   instruction with nothing written;
2. every value, index and condition of the list's writes is computed from the state before;
3. `When` and `Loop` in program order, each a list of its own (a loop: once an iteration);
4. the list's `Write`s and `RamStore`s;
5. a `Raise` with `commit`, then `Effect`s, then the `Branch`.

So a body reads the state before the instruction and its writes commit together after the last
access that can fault; nothing in a `When` or `Loop` may fault unless it was probed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, overload

from gossamer.base.data import Data, field
from gossamer.isa.expr import Expr, const, eq, lift, lts, ne, select, sext, trunc, zext
from gossamer.isa.interrupts import SRR1_ILLEGAL, SRR1_PRIVILEGED, Access, Interrupt
from gossamer.isa.registers import NUMBER, registers


class Write(Data, eq=False):
    """Set a register (element `index` of `reg`) when `when` holds."""

    reg: str
    index: Expr
    value: Expr
    when: Expr


class Do(Data, eq=False):
    """Carry out the access of a `load` expression here."""

    expr: Expr


class Store(Data, eq=False):
    """Store the low `size` bytes of `value` at `ea` when `when` holds."""

    ea: Expr
    size: int
    value: Expr
    when: Expr


class Probe(Data, eq=False):
    """Translate every byte of [ea, ea + length) for `access`; fault as that access would."""

    ea: Expr
    length: Expr
    access: Access
    when: Expr


class RamStore(Data, eq=False):
    """Store at a real address that is RAM (elsewhere: nothing happens) when `when` holds."""

    ra: Expr
    size: int
    value: Expr
    when: Expr


class TableStore(Data, eq=False):
    """Set doubleword `n` of the hypervisor's hash table (see `Body.table`) when `when` holds."""

    n: Expr
    value: Expr
    when: Expr


class Raise(Data, eq=False):
    """Take an interrupt when `when` holds; `srr1` holds the bits to set in SRR1.

    `dar` and `dsisr`, where given, are set too.  With `commit` the writes are made first and SRR0
    is the next instruction when `after` is set (system call; the target of an unconditional
    branch of the same list), else this one.
    """

    interrupt: Interrupt
    when: Expr
    srr1: Expr
    dar: Expr | None = None
    dsisr: Expr | None = None
    commit: bool = False
    after: bool = False


class Branch(Data, eq=False):
    """Go on at `target` when `when` holds; `offset` is set when target is cia + offset."""

    target: Expr
    when: Expr
    offset: Expr | None = None


class Effect(Data, eq=False):
    """Something outside the register block follows from this instruction; see `EFFECTS`."""

    name: str
    args: tuple[Expr, ...] = ()


class When(Data, eq=False):
    """Carry out `body` when `cond` holds, else `other`."""

    cond: Expr
    body: list[Statement] = field(default_factory=list)
    other: list[Statement] = field(default_factory=list)


class Loop(Data, eq=False):
    """Carry out `body` `count` times; the `index` expression counts from zero."""

    count: Expr
    index: Expr
    body: list[Statement] = field(default_factory=list)


Statement = (
    Write | Do | Store | Probe | RamStore | TableStore | Raise | Branch | Effect | When | Loop
)

EFFECTS: Final[dict[str, str]] = {
    "msr": "MSR changed: translation mode, endianness, pending interrupts now enabled, POW, SE, BE",
    "translation": "a BAT, SDR1 or HID0 changed: forget all translations",
    "segment": "one argument, its number: a segment register changed",
    "slb": "the segment lookaside buffer changed: forget all translations",
    "hypercall": "the hypervisor is asked for what GPR 3 says, behind this instruction",
    "tlbie": "one argument, ea: forget the translations of its page, in every segment",
    "tlb": "forget all translations",
    "timer": "DEC, the timebase or a 405's timer was written: alarms follow",
    "pid": "PID or ZPR of a 405 changed: translations of other processes count",
    "page": "one argument, its tag: forget the translations of a page of the 405's TLB",
    "attributes": "a register of real mode's attributes changed: forget all translations",
    "dcr": "one argument, number | GPR << 10 | 1 << 15 for a write: a device control register",
    "breakpoint": "IABR or DABR changed",
    "stop": "end this run after the instruction (checkstop, sleep, unsupported request)",
}


class Registers:
    """A register file: reads see the state before the instruction."""

    def __init__(self, s: Body, name: str) -> None:
        self._s, self._name = s, name
        self._width, self._count = s.registers[name]

    def _index(self, index: Expr | int) -> Expr:
        if isinstance(index, int):
            assert 0 <= index < self._count, f"{self._name}[{index}]"
        return number(index)

    def __getitem__(self, index: Expr | int) -> Expr:
        return Expr("reg", self._width, (self._index(index),), self._name)

    def __setitem__(self, index: Expr | int, value: Expr | int) -> None:
        self._s.write(self._name, self._index(index), lift(value, self._width))


def number(n: Expr | int) -> Expr:
    """A register's number or a count, as wide as those are in bodies."""
    return const(n, NUMBER) if isinstance(n, int) else zext(n, NUMBER)


class Register:
    """A single register as an attribute of `Body`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, s: None, owner: type) -> Register: ...
    @overload
    def __get__(self, s: Body, owner: type) -> Expr: ...
    def __get__(self, s: Body | None, owner: type) -> Register | Expr:
        if s is None:
            return self
        return Expr("reg", s.registers[self.name][0], (number(0),), self.name)

    def __set__(self, s: Body, value: Expr | int) -> None:
        s.write(self.name, 0, lift(value, s.registers[self.name][0]))


_ALWAYS: Final = const(1, 1)


class Body:
    """The CPU as a body sees it; `width` is that of its word, in bits.

    `sf` says in which mode a 64-bit CPU computes: None where MSR[SF] has to be asked.
    """

    so, ov, ca, xer = Register(), Register(), Register(), Register()
    lr, ctr, nia = Register(), Register(), Register()
    fpscr, vscr, vrsave = Register(), Register(), Register()
    reserved, reserve_ea = Register(), Register()
    msr, srr0, srr1, dar, dsisr = Register(), Register(), Register(), Register(), Register()
    sdr1, ear, pvr = Register(), Register(), Register()
    tb_offset, dec_zero, tb_hz = Register(), Register(), Register()
    hid0, hid1, l2cr, ictc = Register(), Register(), Register(), Register()
    iabr, dabr = Register(), Register()
    sia, bamr, pir, sda = Register(), Register(), Register(), Register()
    hid2, ictrl, ldstcr = Register(), Register(), Register()
    l3cr, l3pm, l3itcr0 = Register(), Register(), Register()
    dmiss, dcmp, imiss, icmp = Register(), Register(), Register(), Register()
    hash1, hash2, rpa = Register(), Register(), Register()
    srr2, srr3, esr, dear, evpr = Register(), Register(), Register(), Register(), Register()
    usprg0, pid, zpr, ccr0 = Register(), Register(), Register(), Register()
    dbsr, icdbdr, tcr, tsr = Register(), Register(), Register(), Register()
    pit_reload, pit_zero = Register(), Register()
    halted, ctrl, ppr, lpcr = Register(), Register(), Register(), Register()
    drn, fscr, tar = Register(), Register(), Register()

    def __init__(self, width: int, sf: bool | None = None) -> None:
        self.width, self._sf = width, sf
        self.registers = registers(width)
        self.trace: list[Statement] = []
        for name, (_, count) in self.registers.items():
            if count > 1:
                setattr(self, name, Registers(self, name))

    gpr: Registers
    fpr: Registers
    vr: Registers
    crf: Registers
    sprg: Registers
    sr: Registers
    ibat: Registers
    dbat: Registers
    thrm: Registers
    mmcr: Registers
    pmc: Registers
    msscr: Registers
    irq: Registers
    tgpr: Registers
    tlb_upper: Registers
    tlb_lower: Registers
    tlb_page: Registers
    tlb_way: Registers
    real_mode: Registers
    utlb_tag: Registers
    utlb_data: Registers
    utlb_pid: Registers
    dcr_there: Registers
    slb_esid: Registers
    slb_vsid: Registers
    vsl: Registers
    tm: Registers
    ebb: Registers
    monitor: Registers

    @property
    def cia(self) -> Expr:
        """Address of this instruction."""
        return Expr("cia", self.width)

    @property
    def now(self) -> Expr:
        """Virtual time at this instruction, 64 bits, ns."""
        return Expr("now", 64)

    def write(self, reg: str, index: Expr | int, value: Expr, when: Expr = _ALWAYS) -> None:
        """Set element `index` of a register when `when` holds."""
        if not (when.is_const and when.arg == 0):
            self.trace.append(Write(reg, number(index), value, when))
            if reg == "fpr" and self.width == 64:  # of its vector-scalar register, Book I 7.2
                self.trace.append(Write("vsl", number(index), const(0, 64), when))

    # --- the word ---------------------------------------------------------------------------------

    def word(self, x: Expr | int) -> Expr:
        """A number, or a value of at most so many bits with zeros above it, as a word."""
        return const(x, self.width) if isinstance(x, int) else zext(x, self.width)

    def signed(self, x: Expr) -> Expr:
        """A value of at most so many bits, with copies of its sign above it, as a word."""
        return sext(x, self.width)

    @property
    def mode(self) -> Expr:
        """The bits of a word that the CPU computes with: all, or the low 32 in 32-bit mode.

        A 64-bit CPU is in that where MSR[SF] is 0 (Power ISA Book I 1.10.3, Book III-S 3.2.1).
        """
        if self.width == 32 or self._sf:
            return self.word(-1)
        return Expr("mode", self.width) if self._sf is None else self.word(0xFFFF_FFFF)

    @property
    def sign(self) -> Expr:
        """The sign's bit of what the CPU computes with."""
        return self.mode & ~(self.mode >> 1)

    def in_mode(self, x: Expr) -> Expr:
        """A word with zeros for the bits that 32-bit mode leaves out."""
        return x if self.width == 32 or self._sf else x & self.mode

    def address(self, ea: Expr) -> Expr:
        """A word as an effective address."""
        return self.in_mode(ea)

    def negative(self, x: Expr) -> Expr:
        """Whether a result is below zero, 1 bit."""
        whole = self.width == 32 or self._sf
        return lts(x, 0) if whole or x.width < self.width else ne(x & self.sign, 0)

    # --- memory -------------------------------------------------------------------------------

    @property
    def le(self) -> Expr:
        """Whether bytes lie in little-endian order, 1 bit: MSR[LE], 0 on parts with one order."""
        return trunc(self.msr, 1) if self.width == 64 else const(0, 1)

    def ra0(self, ra: Expr) -> Expr:
        """(RA|0): register RA, or zero when the field is 0."""
        return select(eq(ra, 0), self.word(0), self.gpr[ra])

    def load(self, ea: Expr, size: int) -> Expr:
        """The `size` bytes (1, 2, 4, 8, 16) at `ea`, in order `le`; faults as the MMU says."""
        e = Expr("load", size * 8, (ea,), size)
        self.trace.append(Do(e))
        return e

    def store(self, ea: Expr, value: Expr, size: int, when: Expr = _ALWAYS) -> None:
        """Store the low `size` bytes (1, 2, 4, 8, 16, 32) of `value` at `ea`, in order `le`."""
        assert value.width >= size * 8
        self.trace.append(Store(ea, size, trunc(value, size * 8), when))

    def probe(self, ea: Expr, length: Expr | int, access: Access, when: Expr = _ALWAYS) -> None:
        """Fault now if any byte of [ea, ea + length), at most 4096 bytes, can't be accessed."""
        self.trace.append(Probe(ea, lift(length, NUMBER), access, when))

    def ram(self, ra: Expr, size: int = 4) -> Expr:
        """The bytes at a real address that is RAM, zero elsewhere; no effect, never faults."""
        return Expr("ram", size * 8, (ra,), size)

    def ram_find(self, ra: Expr, wanted: Expr) -> Expr:
        """Which of the eight doublewords of RAM at real `ra` begin with the word `wanted`: 8 bits.

        Bit 0 (the first as books count) stands for the first doubleword.
        """
        return Expr("ram_find", 8, (ra, wanted))

    def ram_store(self, ra: Expr, value: Expr, size: int, when: Expr = _ALWAYS) -> None:
        self.trace.append(RamStore(ra, size, value, when))

    def table(self, n: Expr) -> Expr:
        """Doubleword `n`, modulo their number, of the hypervisor's hash table; 64 bits.

        Entry k has doublewords 2k and 2k + 1.  Zero where there is no table.
        """
        return Expr("table", 64, (n,))

    def table_find(self, group: Expr, wanted: Expr) -> Expr:
        """Which of a group's eight entries have the first doubleword `wanted`: 8 bits.

        `group` counts modulo the number of groups; bits 57 to 61 (software's, L) do not count.
        Bit 0 (the first as books count) stands for the first entry.
        """
        return Expr("table_find", 8, (group, wanted))

    def table_store(self, n: Expr, value: Expr, when: Expr = _ALWAYS) -> None:
        self.trace.append(TableStore(n, value, when))

    def slb_find(self, ea: Expr) -> Expr:
        """Number of the first SLB entry that translates `ea`, 8 bits; 64 where none does."""
        return Expr("slb_find", 8, (ea,))

    # --- control ------------------------------------------------------------------------------

    def interrupt(
        self,
        interrupt: Interrupt,
        when: Expr = _ALWAYS,
        srr1: Expr | int = 0,
        *,
        dar: Expr | None = None,
        dsisr: Expr | int | None = None,
        commit: bool = False,
        after: bool = False,
    ) -> None:
        """Take `interrupt` when `when` holds; see `Raise`."""
        if not (when.is_const and when.arg == 0):
            bits = lift(srr1, self.width)
            if isinstance(dsisr, int):
                dsisr = const(dsisr, self.registers["dsisr"][0])
            self.trace.append(Raise(interrupt, when, bits, dar, dsisr, commit, after))

    def illegal(self, when: Expr = _ALWAYS) -> None:
        self.interrupt(Interrupt.PROGRAM, when, SRR1_ILLEGAL)

    def privileged(self, when: Expr = _ALWAYS) -> None:
        """Privileged-instruction program interrupt when in user mode (and `when`)."""
        user = trunc(self.msr >> 14, 1)
        self.interrupt(Interrupt.PROGRAM, user & when, SRR1_PRIVILEGED)

    def branch(self, target: Expr, when: Expr = _ALWAYS) -> None:
        """Go on at `target` (its low two bits are dropped) when `when` holds."""
        self.trace.append(Branch(self.address(target & ~3), when))

    def branch_anywhere(self, target: Expr) -> None:
        """Go on at `target` (its low two bits are dropped), whatever the mode was."""
        self.trace.append(Branch(target & ~3, _ALWAYS))

    def branch_by(self, offset: Expr, when: Expr = _ALWAYS) -> None:
        """Go on at cia + offset (a multiple of 4) when `when` holds."""
        self.trace.append(Branch(self.address(self.cia + offset), when, offset))

    def effect(self, name: str, *args: Expr) -> None:
        assert name in EFFECTS, name
        self.trace.append(Effect(name, args))

    @contextmanager
    def when(self, cond: Expr) -> Iterator[None]:
        """What the `with` block does is done when `cond` holds."""
        outer, self.trace = self.trace, []
        try:
            yield
        finally:
            inner, self.trace = self.trace, outer
        if not cond.is_const or cond.arg:
            self.trace.append(When(cond, inner))

    def loop(self, count: Expr | int, body: Callable[[Expr], None]) -> None:
        """Do `body(k)` for k (a number) from 0 to count - 1, each iteration committing in turn."""
        outer, self.trace = self.trace, []
        index = Expr("index", NUMBER)
        try:
            body(index)
        finally:
            inner, self.trace = self.trace, outer
        self.trace.append(Loop(lift(count, NUMBER), index, inner))

    # --- condition register and XER -------------------------------------------------------------

    def compare_code(self, less: Expr, equal: Expr) -> Expr:
        """LT, GT, EQ, SO as a CR field from two conditions and XER[SO]."""
        code = select(less, const(8, 8), select(equal, const(2, 8), const(4, 8)))
        return code | self.so

    def record(self, rc: Expr, value: Expr, so: Expr | None = None) -> None:
        """Set CR0 from the signed `value` when the 1-bit `rc` is one.

        `so` (8 bits, 0 or 1) is the summary overflow after this instruction when it sets it.
        """
        zero = eq(self.in_mode(value) if value.width == self.width else value, 0)
        code = select(self.negative(value), const(8, 8), select(zero, const(2, 8), const(4, 8)))
        summary = self.so if so is None else so
        self.write("crf", 0, code | summary, rc)

    def cr_bit(self, n: Expr) -> Expr:
        """CR bit `n` (5 bits, 0 is the most significant) as one bit."""
        field_value = self.crf[number(n) >> 2]
        return trunc(field_value >> trunc((number(n) & 3) ^ 3, 8), 1)

    def set_cr_bit(self, n: Expr, value: Expr) -> None:
        index = number(n) >> 2
        shift = trunc((number(n) & 3) ^ 3, 8)
        old = self.crf[index]
        self.crf[index] = old & ~(const(1, 8) << shift) | zext(value, 8) << shift

    def mark_overflow(self, oe: Expr, overflow: Expr) -> Expr:
        """Set OV (and SO) from `overflow` when `oe` is one; the SO that CR0 shall copy (8 bits)."""
        ov8 = zext(overflow, 8)
        new_so = self.so | ov8
        self.write("ov", 0, ov8, oe)
        self.write("so", 0, new_so, oe)
        return select(oe, new_so, self.so)
