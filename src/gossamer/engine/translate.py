"""Address translation in Python: the same body as native code, on the reference evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from gossamer.core.memory import MMIO, AddressMap
from gossamer.cpu import mmu
from gossamer.cpu.block import RegisterBlock
from gossamer.cpu.data_breakpoint import data_breakpoint
from gossamer.cpu.translation import MSR_DR, MSR_IR, Translation
from gossamer.isa.architecture import Architecture, NotDescribedError
from gossamer.isa.body import Body, RamStore, TableStore
from gossamer.isa.evaluate import evaluate
from gossamer.isa.expr import Expr
from gossamer.isa.interrupts import Access, Interrupt
from gossamer.isa.registers import NUMBER

PAGE: Final = 4096


@lru_cache(maxsize=24)
def _trace(
    access: Access, architecture: Architecture
) -> tuple[Translation, list[RamStore | TableStore]]:
    s = Body(architecture.word)
    t = mmu.of(architecture).translate(s, Expr("arg", s.width, (), 0), access)
    return t, [x for x in s.trace if isinstance(x, RamStore | TableStore)]


class Surroundings:
    """What the translation body reads: registers and RAM.  Changes are not made here."""

    cia = 0
    word = 0

    def __init__(self, block: RegisterBlock, memory: AddressMap) -> None:
        self.block, self.memory = block, memory

    def now(self) -> int:
        raise AssertionError("translation does not look at the time")

    def read_reg(self, name: str, index: int) -> int:
        return self.block.get(name, index)

    def write_reg(self, name: str, index: int, value: int) -> None:
        self.block.set(name, value, index)

    def ram_load(self, ra: int, size: int) -> int:
        """RAM bytes, zero where there is none."""
        page = self.memory.page(ra)
        if page == MMIO:
            return 0
        at = (page & 0x7FFF_FFFF) * PAGE + ra % PAGE
        self.memory.arena.need(at, size)
        return int.from_bytes(self.memory.arena.view[at : at + size], "big")

    def ram_store(self, ra: int, size: int, value: int) -> None:
        page = self.memory.page(ra)
        if page < 0x8000_0000:
            at = page * PAGE + ra % PAGE
            self.memory.write_arena(at, value.to_bytes(size, "big"))

    def table_load(self, n: int) -> int:
        table = self.memory.hash_table
        return 0 if table is None else table.read(n // 2 % table.count)[n & 1]

    def table_store(self, n: int, value: int) -> None:
        table = self.memory.hash_table
        if table is not None:
            pair = list(table.read(n // 2 % table.count))
            pair[n & 1] = value
            table.write(n // 2 % table.count, *pair)

    def load(self, ea: int, size: int) -> int:
        raise AssertionError("translation makes no access by effective address")

    def store(self, ea: int, size: int, value: int) -> None:
        raise AssertionError("translation makes no access by effective address")

    def probe(self, ea: int, length: int, access: Access) -> None:
        raise AssertionError("translation makes no access by effective address")

    def effect(self, name: str, args: Sequence[int]) -> None:
        raise AssertionError("translation has no effects")

    def take_interrupt(
        self, interrupt: Interrupt, srr1: int, dar: int | None, dsisr: int | None, srr0: int
    ) -> int:
        raise AssertionError("translation reports faults")


def translate(
    block: RegisterBlock,
    memory: AddressMap,
    architecture: Architecture,
    ea: int,
    access: Access,
    *,
    update: bool = True,
) -> tuple[int, int, int]:
    """(real address, fault bits, WIMG with the flags of `cpu.translation`) on such a part.

    `update` writes R and C back.
    NotDescribedError where MSR asks for a translation that the part's MMU does not have yet.
    """
    lacking = mmu.of(architecture).lacking
    if lacking and block.get("msr") & (MSR_IR | MSR_DR):
        raise NotDescribedError(f"{lacking} of a model whose words have {architecture.word} bits")
    env = Surroundings(block, memory)
    t, stores = _trace(access, architecture)
    memo: dict[Expr, int] = {}
    args = (ea,)
    ra, fault, wimg = (evaluate(e, env, memo, args) for e in (t.ra, t.fault, t.wimg))
    if t.special is not None:
        wimg |= evaluate(t.special, env, memo, args) << 5
    if update:
        due = [s for s in stores if evaluate(s.when, env, memo, args)]
        for s in due:
            value = evaluate(s.value, env, memo, args)
            if isinstance(s, TableStore):
                env.table_store(evaluate(s.n, env, memo, args), value)
            else:
                env.ram_store(evaluate(s.ra, env, memo, args), s.size, value)
    return ra, fault, wimg


@lru_cache(maxsize=4)
def _watch(access: Access, word: int) -> Expr:
    ea, length = Expr("arg", word, (), 0), Expr("arg", NUMBER, (), 1)
    return data_breakpoint(Body(word), ea, length, access)


def watched(
    block: RegisterBlock,
    memory: AddressMap,
    architecture: Architecture,
    ea: int,
    length: int,
    access: Access,
) -> int:
    """DSISR bits of the data breakpoint that an access meets, or zero."""
    watch = _watch(access, architecture.word)
    return evaluate(watch, Surroundings(block, memory), {}, (ea, length))


def probe(
    block: RegisterBlock, memory: AddressMap, architecture: Architecture, ea: int
) -> int | None:
    """The real address that a load of `ea` would reach, or None; changes nothing."""
    ra, fault, _ = translate(block, memory, architecture, ea, Access.READ, update=False)
    return None if fault else ra
