"""The reference engine: the bodies on Python integers, one instruction at a time, no caches.

Slow (some hundred microseconds an instruction) and simple; tier 0 is compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from gossamer.base.bits import ones
from gossamer.base.units import PAGE_SIZE
from gossamer.core.memory import MMIO, AddressMap
from gossamer.cpu import exceptions_405, mmu
from gossamer.cpu.block import RegisterBlock, layout
from gossamer.cpu.msr import MSR_BE, MSR_EE, MSR_POW, MSR_SE
from gossamer.cpu.translation import STORE, SWAPPED_FLAG, WIMG_I, WIMG_W
from gossamer.engine.context import EFFECT_CODES
from gossamer.engine.protocol import InstructionTime
from gossamer.engine.translate import Surroundings, translate, watched
from gossamer.isa.architecture import MSR_SF, Architecture
from gossamer.isa.body import Body, Statement
from gossamer.isa.evaluate import Fault, evaluate, execute
from gossamer.isa.expr import Expr, const
from gossamer.isa.form import Form
from gossamer.isa.insn import trace_word
from gossamer.isa.interrupts import SRR1_ILLEGAL, Access, Interrupt
from gossamer.isa.spec.alignment import dsisr
from gossamer.isa.spec.parts import EMBEDDED
from gossamer.isa.spec.table import Decoder

_LINE: Final = 32
#: MSR[SF]: words of 64 bits are computed with (Book III-S 3.2.1).


@lru_cache(maxsize=8)
def _entry(architecture: Architecture) -> list[Statement]:
    s = Body(architecture.word)
    vector, srr0, srr1 = (Expr("arg", s.width, (), n) for n in range(3))
    mmu.enter(s, vector, srr0, srr1, architecture)
    return s.trace


@lru_cache(maxsize=2)
def _miss(architecture: Architecture) -> list[Statement]:
    s = Body(architecture.word)
    vector, srr0, ea = (Expr("arg", s.width, (), n) for n in range(3))
    mmu.of(architecture).enter_miss(s, vector, srr0, ea)
    return s.trace


class _Env(Surroundings):
    """One instruction's surroundings."""

    def __init__(self, engine: Reference) -> None:
        super().__init__(engine.block, engine.memory)
        self.engine = engine
        self.last = ones(engine.architecture.word)  # the last address
        self._swapped = False

    def now(self) -> int:
        return self.engine.time_at(self.engine.count)

    def _real(self, ea: int, length: int, access: Access) -> list[int]:
        """Real addresses of the first byte and of the first byte in a second page."""
        out = []
        last = (ea + length - 1) & self.last
        for at in (ea,) if ea // PAGE_SIZE == last // PAGE_SIZE else (ea, last & -PAGE_SIZE):
            ra, fault, wimg = self._translate(at, access)
            if fault:
                raise Fault(Interrupt.DSI, dar=at, dsisr=fault)
            if at == ea:
                self._watch(ea, length, access)
                self._swapped = bool(wimg & SWAPPED_FLAG)
            if length == _LINE and wimg & (WIMG_W | WIMG_I):
                bits = evaluate(dsisr(Form(const(self.word, 32))), self, {})
                raise Fault(Interrupt.ALIGNMENT, dar=ea, dsisr=bits)
            out.append(ra)
        return out

    def _translate(self, ea: int, access: Access) -> tuple[int, int, int]:
        return translate(self.block, self.memory, self.engine.architecture, ea, access)

    def _watch(self, ea: int, length: int, access: Access) -> None:
        """Fault where DABR watches any of these bytes."""
        if bits := watched(self.block, self.memory, self.engine.architecture, ea, length, access):
            raise Fault(Interrupt.DSI, dar=ea, dsisr=bits)

    def _in_order(self, value: int, size: int) -> int:
        """A value as the byte order of the CPU and of the page looked at last has it."""
        if self._swapped == self.engine.little:
            return value
        return int.from_bytes(value.to_bytes(size, "big"), "little")

    def load(self, ea: int, size: int) -> int:
        real = self._real(ea, size, Access.READ)
        return self._in_order(self._load(real, ea, size), size)

    def _load(self, real: list[int], ea: int, size: int) -> int:
        if len(real) == 1:
            if size == 16:
                high = self.memory.load(real[0], 8)
                return high << 64 | self.memory.load(real[0] + 8, 8)
            return self.memory.load(real[0], size)
        value = 0
        for n in range(size):
            at = (ea + n) & self.last
            second = at // PAGE_SIZE != ea // PAGE_SIZE
            ra = real[1] + at % PAGE_SIZE if second else real[0] + n
            value = value << 8 | self.memory.load(ra, 1)
        return value

    def store(self, ea: int, size: int, value: int) -> None:
        real = self._real(ea, size, Access.WRITE)
        value = self._in_order(value, size)
        if len(real) == 1:
            step = min(size, 8)
            for n in range(0, size, step):
                part = value >> 8 * (size - n - step) & (1 << 8 * step) - 1
                self.memory.store(real[0] + n, part, step)
            return
        for n in range(size):
            at = (ea + n) & self.last
            second = at // PAGE_SIZE != ea // PAGE_SIZE
            ra = real[1] + at % PAGE_SIZE if second else real[0] + n
            self.memory.store(ra, value >> 8 * (size - 1 - n) & 0xFF, 1)

    def probe(self, ea: int, length: int, access: Access) -> None:
        at, left = ea, length
        while left:
            _, fault, _ = self._translate(at, access)
            if fault:
                raise Fault(Interrupt.DSI, dar=at, dsisr=fault)
            if at == ea:
                self._watch(ea, length, access)
            step = min(left, PAGE_SIZE - at % PAGE_SIZE)
            at, left = (at + step) & self.last, left - step

    def effect(self, name: str, args: Sequence[int]) -> None:
        if name in EFFECT_CODES:
            self.engine.effect(EFFECT_CODES[name], args[0] if args else 0)

    def take_interrupt(
        self, interrupt: Interrupt, srr1: int, dar: int | None, dsisr: int | None, srr0: int
    ) -> int:
        architecture = self.engine.architecture
        strategy = mmu.of(architecture)
        if strategy.miss:
            fetch, load, store = strategy.miss_vectors
            if interrupt is Interrupt.ISI and srr1 & strategy.miss:
                return execute(_miss(architecture), self, (int(fetch), srr0, srr0))
            if dar is not None and dsisr is not None and dsisr & strategy.miss:
                vector = store if dsisr & STORE else load
                return execute(_miss(architecture), self, (int(vector), srr0, dar))
        if dar is not None:
            self.block.set("dar", dar)
        if dsisr is not None:
            self.block.set("dsisr", dsisr)
        return execute(_entry(architecture), self, (int(interrupt), srr0, srr1))


class Reference(InstructionTime):
    """The reference engine on an address map, over a register block of its own."""

    def __init__(self, memory: AddressMap, architecture: Architecture) -> None:
        super().__init__()
        self.memory, self.architecture = memory, architecture
        word = architecture.word
        self.block = RegisterBlock(bytearray(layout(word).size), word)
        self.effect: Callable[[int, int], None] = lambda code, argument: None
        self.timer_moved: Callable[[int], None] = lambda when: None
        self._decoder = Decoder(architecture)
        self._env = _Env(self)
        self._traces: dict[int, list[Statement] | None] = {}
        self._exit = self.calm = False

    @property
    def little(self) -> bool:
        """Whether MSR[LE] says that bytes lie in little-endian order."""
        return self.architecture.both_orders and bool(self.block.get("msr") & 1)

    def request_exit(self) -> None:
        """End the run at the next boundary."""
        self._exit = True

    def look_at_interrupts(self) -> None:
        self._exit = True

    def end_by(self, ns: int) -> None:
        self._exit = True

    @property
    def count_now(self) -> int:
        return self.count

    def run(self, limit: int) -> int:
        """Execute at most `limit` instructions; how many."""
        self._exit = False
        start = self.count
        while self.count - start < limit and not self._exit:
            self._step()
            if self._must_look():
                break
        return self.count - start

    def _must_look(self) -> bool:
        """Whether the run loop has something to do at this boundary."""
        msr = self.block.get("msr")
        irq = self.block.all("irq")
        if self.architecture.is_one(EMBEDDED):
            return exceptions_405.is_due(irq, msr) or bool(msr & MSR_POW)
        if self.architecture.word == 64 and self.block.get("halted"):
            return True
        due = any(irq) if msr & MSR_EE else any(irq[:2])
        return due or bool(msr & (MSR_POW | MSR_SE | MSR_BE))

    def _step(self) -> None:
        env, block = self._env, self.block
        cia = block.get("nia")
        env.cia = cia
        sf = self.architecture.word == 64 and bool(block.get("msr") & MSR_SF)
        env.last = ones(64 if sf else 32)
        ra, fault, wimg = translate(block, self.memory, self.architecture, cia, Access.FETCH)
        if fault:
            nia = env.take_interrupt(Interrupt.ISI, fault, None, None, cia)
        else:
            page = self.memory.page(ra)
            # Where no RAM is, every word is illegal (opcode 0 is).
            word = 0 if page == MMIO else env.ram_load(ra & ~3, 4)
            if bool(wimg & SWAPPED_FLAG) != self.little:
                word = int.from_bytes(word.to_bytes(4, "big"), "little")
            env.word = word
            trace = self._trace(word, sf)
            if trace is None:
                nia = env.take_interrupt(Interrupt.PROGRAM, SRR1_ILLEGAL, None, None, cia)
            else:
                nia = execute(trace, env, width=64 if sf else 32)
        block.set("nia", nia)
        self.count += 1

    def _trace(self, word: int, sf: bool) -> list[Statement] | None:
        key = word << 1 | sf
        if key not in self._traces:
            row = self._decoder.decode(word)
            width = self.architecture.word
            self._traces[key] = None if row is None else trace_word(row, word, width, sf)
        return self._traces[key]

    def deliver(self, vector: int, srr1: int = 0) -> None:
        """Take an interrupt now, between two instructions."""
        nia = self.block.get("nia")
        self._env.cia = nia
        self.block.set("nia", execute(_entry(self.architecture), self._env, (vector, nia, srr1)))

    def take_interrupts(self, on: bool) -> None:
        """It comes back for each."""

    def answer_calls(self, memory: int) -> None:
        """Every hypercall is Python's."""

    def answer_terminal(self, unit: int, take: Callable[[bytes], None]) -> None:
        """It is, of a terminal too."""

    def terminal_silent(self, silent: bool) -> None:
        """It need not know."""

    def forget_entry(self, n: int, v: int) -> None:
        """Nothing is kept."""

    def attach(self) -> None:
        """Nothing is kept that a change of memory could make wrong."""

    def flush(self) -> None:
        """Nothing is kept."""

    def bypass(self, on: bool) -> None:
        """Every access is compared with DABR anyway."""
