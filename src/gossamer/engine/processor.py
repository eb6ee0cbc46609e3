"""The run loop: alarms, interrupts, idling, and exact stops, around an engine.

`run` goes on until an instruction count or a virtual time, both exact: it stops between two
instructions with everything due by then delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from gossamer.core.clock import NEVER, Clock
from gossamer.cpu.breakpoints import IABR_BE, is_branch, is_return, stops_at, watches_data
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.msr import MSR_BE, MSR_ME, MSR_SE
from gossamer.engine.context import EFFECT_CODES
from gossamer.engine.protocol import Engine
from gossamer.engine.tier0 import Tier0
from gossamer.isa.interrupts import Access, Interrupt, Irq

if TYPE_CHECKING:
    from gossamer.engine.stops import Met, Stops, StopsOfAll

#: Instructions in one native run at the most, so that the host is never kept out for long.
CHUNK: Final = 1 << 22
_ENDLESS: Final = 1 << 62
_TIMER, _BREAKPOINT, _DCR, _HYPERCALL = (
    EFFECT_CODES[n] for n in ("timer", "breakpoint", "dcr", "hypercall")
)


class Stop(Enum):
    """Why `run` came back."""

    LIMIT = "limit"
    IDLE = "idle"
    REQUEST = "request"
    BREAK = "break"
    CHECKSTOP = "checkstop"


class Processor:
    """One CPU, its engine and the machine's clock.

    `idle_warps` True: an idle CPU moves virtual time on to the next alarm (deterministic mode);
    False: `run` comes back with `Stop.IDLE` and the caller waits.
    """

    def __init__(self, cpu: Cpu, engine: Engine, clock: Clock) -> None:
        self.cpu, self.engine, self.clock = cpu, engine, clock
        self.idle_warps = True
        #: Virtual time up to which an idle CPU need not wait, whatever `idle_warps` says.
        self.idle_until = 0
        self._stop = False
        self._checkstop = False
        cpu.changed = engine.look_at_interrupts
        clock.deadline_moved = lambda: engine.end_by(clock.deadline)
        clock.read_now = self._now
        engine.effect = self._effect
        engine.timer_moved = cpu.decrement.set

    #: What a debugger waits for (`debug`), and what of it ended the last run.
    stops: Stops | StopsOfAll | None = None
    met: Met | None = None
    #: No interrupt is taken while this is set (single steps of a debugger that masks them).
    holds_interrupts = False

    def debug(self) -> Stops | StopsOfAll:
        """Breakpoints and watchpoints; `run` comes back with `Stop.BREAK` at one of them."""
        if self.stops is None:
            from gossamer.engine.stops import Stops  # noqa: PLC0415 - most runs need none

            assert isinstance(self.engine, Tier0), "the reference engine has none"
            self.stops = Stops(self.engine)
        return self.stops

    def resumed(self) -> None:
        """The CPU has been given another state: it has met nothing, and stands for no reason."""
        self._checkstop = self._stop = False
        self.met = None

    def _now(self) -> int:
        return self.engine.time_at(self.engine.count_now)

    def _effect(self, code: int, argument: int) -> None:
        if code == _TIMER:
            self.cpu.rearm()
            if self.cpu.pending() is not None:  # mtdec itself raised the exception
                self.engine.request_exit()
        elif code == _BREAKPOINT:
            self.breakpoints_changed()
        elif code == _HYPERCALL:
            self._call_hypervisor()
        elif code == _DCR:
            self.cpu.access_dcr(argument)
        else:
            self.request_stop()

    def _call_hypervisor(self) -> None:
        """Most calls change general registers and memory alone, and the CPU goes straight on.

        Lines and alarms that move ask for a look themselves.
        """
        block = self.cpu.block
        before = block.beside("gpr")
        self.cpu.hypercall()
        if block.beside("gpr") != before:
            self.breakpoints_changed()  # DABR is one of them; ends the native run, too

    def request_stop(self) -> None:
        """End `run` at the next instruction boundary."""
        self._stop = True
        self.engine.request_exit()

    # --- time -------------------------------------------------------------------------------------

    def set_clock(self, ns: int) -> None:
        """Set virtual time without firing alarms (load)."""
        self.set_rate(self._rate, ns)

    _rate = 1 << 20

    def set_rate(self, rate: int, ns: int | None = None) -> None:
        """From here on an instruction takes `rate` / 2**20 ns."""
        now = self.engine.time_at(self.engine.count) if ns is None else ns
        self._rate = rate
        self.engine.set_time(now, rate)

    # --- running ------------------------------------------------------------------------------

    def run(
        self,
        count: int | None = None,
        until_ns: int = NEVER,
        enough: Callable[[], bool] = lambda: False,
    ) -> Stop:
        """Run until `count` instructions have been executed in all, or until virtual `until_ns`.

        `enough` is asked now and then, at the latest after a few million instructions or a few
        hundred accesses to devices, and ends the run too (`Stop.LIMIT`).
        """
        self._stop = False
        self.met = None
        clock = self.clock
        start = self.engine.count
        fired = -1
        self.engine.take_interrupts(self.cpu.ENGINE_INTERRUPTS and not self.holds_interrupts)
        last = _ENDLESS if count is None else count
        self.breakpoints_changed()  # a load or a debugger may have set them
        while True:
            engine = self.engine  # of the CPU whose turn it is
            deadline = self._boundary()
            if self._stop:
                return Stop.REQUEST
            if self._checkstop:
                return Stop.CHECKSTOP
            done = engine.count
            if done >= last or (until_ns < NEVER and engine.time_at(done) >= until_ns):
                return Stop.LIMIT
            if done > start and enough():
                return Stop.LIMIT
            deadline = min(deadline, until_ns)
            if self.cpu.waiting:
                if not self._idle(deadline, until_ns):
                    return Stop.IDLE
                continue
            clock.horizon = deadline
            end = engine.count_at(deadline) if deadline < NEVER else _ENDLESS
            engine.calm, fired = fired == clock.fired, clock.fired
            self._execute(min(end, done + CHUNK, last))
            if self.stops is not None and self.stops.active:
                self.met = self.stops.take()
                if self.met is not None:
                    return Stop.BREAK

    def _boundary(self) -> int:
        """Fire due alarms and take an interrupt: what happens between two instructions.

        The ns at which the next alarm is due.
        """
        clock, cpu = self.clock, self.cpu
        deadline = clock.deadline
        if deadline < NEVER and self.engine.count_at(deadline) <= self.engine.count:
            clock.advance(clock.now)
            deadline = clock.deadline
        if self.holds_interrupts or not cpu.block.any("irq"):
            return deadline
        while (found := cpu.pending()) is not None:
            source, vector, edge = found
            if edge:
                cpu.acknowledge(source)
            self.engine.deliver(vector)
        if cpu.block.get("irq", Irq.MACHINE_CHECK) and not cpu.block.get("msr") & MSR_ME:
            self._checkstop = True
        return deadline

    def _idle(self, deadline: int, until_ns: int) -> bool:
        """Let an idle CPU wait; False when the caller must do it, or nothing can wake it."""
        if deadline >= NEVER or not (self.idle_warps or deadline <= self.idle_until):
            return False
        if not self._can_wake() and until_ns >= NEVER:
            return False  # the decrementer's alarm comes again and again and wakes no CPU
        end = min(self.clock.idle_deadline, until_ns)
        if self.idle_warps and deadline < end < NEVER:
            self.clock.skip_quiet(end)
            deadline = min(self.clock.deadline, until_ns)
        self.engine.set_time(deadline, self._rate)
        return True

    def _can_wake(self) -> bool:
        """Whether an interrupt can end the waiting."""
        return bool(self.cpu.block.get("msr") & self.cpu.WAKING_MSR)

    def _execute(self, end: int) -> None:
        """Execute up to instruction count `end`, tracing where MSR[SE] or MSR[BE] asks for it."""
        limit = end - self.engine.count
        if limit <= 0:
            return
        msr = self.cpu.block.get("msr")
        if msr & self.cpu.TRACING_MSR == 0 and not self._watching:
            self.engine.run(limit)
            return
        self._trace_one(msr)

    # --- trace, IABR, DABR --------------------------------------------------------------------

    _watching = _watching_data = False

    def breakpoints_changed(self) -> None:
        """IABR or DABR was written: look at each instruction, or at each data access, or not."""
        self._watching = bool(self.cpu.block.get("iabr") & IABR_BE)
        data = watches_data(self.cpu.block.get("dabr"))
        if data != self._watching_data:
            self._watching_data = data
            self.engine.bypass(data)
        self.engine.request_exit()

    def _trace_one(self, msr: int) -> None:
        """One instruction, then the trace interrupt if it completed; IABR is checked first."""
        nia = self.cpu.block.get("nia")
        if stops_at(self.cpu.block.get("iabr"), nia, msr):
            self.engine.deliver(Interrupt.IABR)
            self.engine.count += 1  # as any interrupt in place of an instruction
            return
        word = self._word_at(nia)
        self.engine.run(1)
        # An interrupt has cleared both bits.
        asked = msr & self.cpu.block.get("msr")
        if (asked & MSR_SE and not is_return(word)) or (asked & MSR_BE and is_branch(word)):
            self.engine.deliver(Interrupt.TRACE)

    def _word_at(self, cia: int) -> int:
        """The instruction word that a fetch from `cia` finds; 0 when it faults."""
        from gossamer.engine.translate import translate  # noqa: PLC0415 - a trace is rare

        memory = self.engine.memory
        cpu = self.cpu
        ra, fault, _ = translate(
            cpu.block, memory, cpu.model.architecture, cia, Access.FETCH, update=False
        )
        return 0 if fault else int.from_bytes(memory.read(ra, 4), "big")
