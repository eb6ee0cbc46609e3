"""The run loop: alarms, interrupts, idling, and exact stops, around an engine.

`run` goes on until an instruction count or a virtual time, both exact: it stops between two
instructions with everything due by then delivered.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from gossamer.core.clock import NEVER, Clock
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.exceptions import MSR_BE, MSR_EE, MSR_ME, MSR_SE
from gossamer.engine.handlers import EFFECT_CODES
from gossamer.engine.tier0 import Tier0
from gossamer.isa.body import Interrupt, Irq

#: Instructions in one native run at the most, so that the host is never kept out for long.
CHUNK: Final = 1 << 22
_TIMER, _BREAKPOINT, _STOP = (EFFECT_CODES[n] for n in ("timer", "breakpoint", "stop"))


class Stop(Enum):
    """Why `run` came back."""

    LIMIT = "limit"
    IDLE = "idle"
    REQUEST = "request"
    CHECKSTOP = "checkstop"


class Processor:
    """One CPU, its engine and the machine's clock.

    `idle_warps` True: an idle CPU moves virtual time on to the next alarm (deterministic mode);
    False: `run` comes back with `Stop.IDLE` and the caller waits.
    """

    def __init__(self, cpu: Cpu, engine: Tier0, clock: Clock) -> None:
        self.cpu, self.engine, self.clock = cpu, engine, clock
        self.idle_warps = True
        self._stop = False
        self._checkstop = False
        cpu.changed = engine.request_exit
        clock.deadline_moved = engine.request_exit
        clock.read_now = self._now
        engine.effect = self._effect

    def _now(self) -> int:
        return self.engine.time_at(self.engine.count_now)

    def _effect(self, code: int, argument: int) -> None:
        if code == _TIMER:
            self.cpu.rearm()
            self.engine.request_exit()
        elif code == _BREAKPOINT:
            self.breakpoints_changed()
        else:
            self.request_stop()

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

    def run(self, count: int | None = None, until_ns: int = NEVER) -> Stop:
        """Run until `count` instructions have been executed in all, or until virtual `until_ns`."""
        self._stop = False
        while True:
            self._boundary()
            if self._stop:
                return Stop.REQUEST
            if self._checkstop:
                return Stop.CHECKSTOP
            now = self.clock.now
            if now >= until_ns or (count is not None and self.engine.count >= count):
                return Stop.LIMIT
            deadline = min(self.clock.deadline, until_ns)
            if self.cpu.waiting:
                if not self._idle(deadline, until_ns):
                    return Stop.IDLE
                continue
            end = self.engine.count_at(deadline) if deadline < NEVER else 1 << 62
            end = min(end, self.engine.count + CHUNK, 1 << 62 if count is None else count)
            self._execute(end)

    def _boundary(self) -> None:
        """Fire due alarms and take an interrupt: what happens between two instructions."""
        now = self.clock.now
        if self.clock.deadline <= now:
            self.clock.advance(now)
        while (found := self.cpu.pending()) is not None:
            source, vector, edge = found
            if edge:
                self.cpu.acknowledge(source)
            self.engine.deliver(vector)
        if self.cpu.block.get("irq", Irq.MACHINE_CHECK) and not (
            self.cpu.block.get("msr") & MSR_ME
        ):
            self._checkstop = True

    def _idle(self, deadline: int, until_ns: int) -> bool:
        """Let an idle CPU wait; False when the caller must do it, or nothing can wake it."""
        if not self.idle_warps or deadline >= NEVER:
            return False
        if not self.cpu.block.get("msr") & MSR_EE and until_ns >= NEVER:
            return False  # the decrementer's alarm comes again and again and wakes nobody
        self.engine.set_time(deadline, self._rate)
        return True

    def _execute(self, end: int) -> None:
        """Execute up to instruction count `end`, tracing where MSR[SE] or MSR[BE] asks for it."""
        limit = end - self.engine.count
        if limit <= 0:
            return
        msr = self.cpu.block.get("msr")
        if msr & (MSR_SE | MSR_BE) == 0 and not self._watching:
            self.engine.run(limit)
            return
        self._trace_one(msr)

    # --- trace, IABR, DABR --------------------------------------------------------------------

    _watching = False

    def breakpoints_changed(self) -> None:
        """IABR or DABR was written."""
        self._watching = bool(self.cpu.block.get("iabr") & 2)
        self.engine.request_exit()

    def _trace_one(self, msr: int) -> None:
        """One instruction, then the trace interrupt if it completed; IABR is checked first."""
        nia = self.cpu.block.get("nia")
        iabr = self.cpu.block.get("iabr")
        if self._watching and (iabr ^ nia) & ~3 == 0 and bool(iabr & 1) == bool(msr & 0x20):
            self.engine.deliver(Interrupt.IABR)
            return
        self.engine.run(1)
        after = self.cpu.block.get("msr")
        branched = self.cpu.block.get("nia") != (nia + 4) & 0xFFFF_FFFF
        if after & MSR_SE & msr or (after & MSR_BE & msr and branched):
            self.engine.deliver(Interrupt.TRACE)
