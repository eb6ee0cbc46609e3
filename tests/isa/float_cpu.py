"""A CPU of registers only: runs one floating-point instruction in the reference evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from gossamer.isa.body import Statement
from gossamer.isa.evaluate import execute
from gossamer.isa.insn import TABLE, trace_word
from gossamer.isa.interrupts import Access, Interrupt
from gossamer.isa.registers import REGISTERS
from gossamer.isa.spec import float_arith, float_compare, float_convert, table

__all__ = ["float_arith", "float_compare", "float_convert", "table"]  # they fill the table

ROWS = {row.name: row for row in TABLE}
FRT, FRA, FRC, FRB = 1, 2, 3, 4
MSR_FP, MSR_FE0, MSR_FE1 = 1 << 13, 1 << 11, 1 << 8
UNTOUCHED = 0x0123_4567_89AB_CDEF


class Cpu:
    """The `Env` of `evaluate`; an interrupt taken is kept as (interrupt, SRR1, SRR0)."""

    cia, word = 0x1000, 0

    def __init__(self) -> None:
        self.regs = {name: [0] * count for name, (_, count) in REGISTERS.items()}
        self.regs["msr"][0] = MSR_FP
        self.interrupt: tuple[Interrupt, int, int] | None = None

    def now(self) -> int:
        return 0

    def read_reg(self, name: str, index: int) -> int:
        return self.regs[name][index]

    def write_reg(self, name: str, index: int, value: int) -> None:
        assert 0 <= value < 1 << REGISTERS[name][0]
        self.regs[name][index] = value

    def take_interrupt(
        self, interrupt: Interrupt, srr1: int, dar: int | None, dsisr: int | None, srr0: int
    ) -> int:
        self.interrupt = interrupt, srr1, srr0
        return int(interrupt)

    def load(self, ea: int, size: int) -> int:
        raise AssertionError("no memory")

    def store(self, ea: int, size: int, value: int) -> None:
        raise AssertionError("no memory")

    def probe(self, ea: int, length: int, access: Access) -> None:
        raise AssertionError("no memory")

    def ram_load(self, ra: int, size: int) -> int:
        raise AssertionError("no memory")

    def ram_store(self, ra: int, size: int, value: int) -> None:
        raise AssertionError("no memory")

    def effect(self, name: str, args: Sequence[int]) -> None:
        raise AssertionError(f"effect {name}")


def word_of(name: str, rc: int = 0) -> int:
    """The instruction word of `name` on the fixed registers; compares go to CR field 5."""
    row = ROWS[name]
    word = row.match
    values = {"FRT": FRT, "FRA": FRA, "FRB": FRB, "FRC": FRC, "BF": 5, "Rc": rc}
    operands = row.asm.split(" ", 1)[1].split(",")
    for field_name in [*operands, *(["Rc"] if row.form.has("Rc") else [])]:
        word |= row.form.field(field_name).put(values[field_name])
    return word


@cache
def trace(name: str, rc: int) -> list[Statement]:
    return trace_word(ROWS[name], word_of(name, rc))


def execute_float(
    name: str, a: int, c: int, b: int, fpscr: int, *, rc: int = 0, fe: int = MSR_FE0
) -> Cpu:
    cpu = Cpu()
    cpu.regs["msr"][0] |= fe
    cpu.regs["fpscr"][0] = fpscr
    cpu.regs["fpr"][FRT] = UNTOUCHED
    cpu.regs["fpr"][FRA], cpu.regs["fpr"][FRC], cpu.regs["fpr"][FRB] = a, c, b
    cpu.regs["crf"][:] = [15] * 8
    execute(trace(name, rc), cpu)
    return cpu
