"""What the run loop asks of an engine, and the time that instructions take in any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gossamer.core.memory import AddressMap
from gossamer.cpu.block import RegisterBlock

RATE_BITS: Final = 20


class Engine(Protocol):
    """Executes instructions on a register block and an address map.

    `count` is the number of instructions executed so far; `effect` is called with a code of
    `context.EFFECT_CODES` and an argument.
    """

    count: int
    effect: Callable[[int, int], None]
    #: Nothing outside has touched a chip since the last `run`; taken back by the next.
    calm: bool
    #: Called with the virtual ns at which DEC expires next, where `run` saw to that itself.
    timer_moved: Callable[[int], None]

    @property
    def memory(self) -> AddressMap: ...
    @property
    def block(self) -> RegisterBlock: ...
    @property
    def count_now(self) -> int:
        """Instructions completed, exact inside a call that an instruction makes too."""

    def run(self, limit: int) -> int:
        """Execute at most `limit` instructions; how many.  Raises what a device raised.

        Fewer after `request_exit`, and where the run loop has something to do: an interrupt that
        MSR lets through, MSR[POW], MSR[SE], MSR[BE].
        """

    def request_exit(self) -> None:
        """End the run at the next instruction boundary."""

    def look_at_interrupts(self) -> None:
        """See to what is pending at the next instruction boundary: end the run, or take it."""

    def end_by(self, ns: int) -> None:
        """End the run where virtual time comes to `ns`, if not before."""

    def deliver(self, vector: int, srr1: int = 0) -> None:
        """Take an interrupt now, between two instructions."""

    def take_interrupts(self, on: bool) -> None:
        """Whether `run` may take external and decrementer interrupts itself."""

    def answer_calls(self, memory: int) -> None:
        """Hypercalls that map pages below real address `memory` may be answered without Python."""

    def answer_terminal(self, unit: int, take: Callable[[bytes], None]) -> None:
        """Hypercalls of the terminal at `unit` may be answered so: `take` gets what it prints.

        Later than at their instruction only where that can wait (`core.faces`, `at_leisure`).
        """

    def terminal_silent(self, silent: bool) -> None:
        """Whether the terminal has nothing for the guest."""

    def forget_entry(self, n: int, v: int) -> None:
        """Forget what an entry of the hash table translated (`core.htab`): its number and V."""

    def attach(self) -> None:
        """Be the engine that hears of changes of memory; what others changed is forgotten."""

    def take_over(self, other: Engine) -> None:
        """Go on from the count of another CPU's engine, at its time."""

    def flush(self) -> None:
        """Forget every translation (map, dirty bits or registers were changed from outside).

        So do the engines of other CPUs, before they run again.
        """

    def bypass(self, on: bool) -> None:
        """Compare every data access with DABR, or none."""

    def set_time(self, ns: int, rate: int) -> None:
        """From here on virtual time is `ns` + instructions x `rate` / 2**20 ns."""

    def time_at(self, count: int) -> int:
        """Virtual ns when `count` instructions have been executed."""

    def count_at(self, ns: int) -> int:
        """The first instruction count at which virtual time is `ns` or later."""


class InstructionTime:
    """Virtual time as a function of instructions executed."""

    count: int

    def __init__(self) -> None:
        self.count = 0
        self._base_ns = self._base_count = 0
        self._rate = 1 << RATE_BITS

    def set_time(self, ns: int, rate: int) -> None:
        self._base_ns, self._base_count, self._rate = ns, self.count, rate
        self._note_time()

    def take_over(self, other: Engine) -> None:
        assert isinstance(other, InstructionTime)
        self.count, self._base_count = other.count, other._base_count
        self._base_ns, self._rate = other._base_ns, other._rate
        self._note_time()

    def _note_time(self) -> None:
        """The line of time changed."""

    def time_at(self, count: int) -> int:
        return self._base_ns + ((count - self._base_count) * self._rate >> RATE_BITS)

    def count_at(self, ns: int) -> int:
        if ns <= self._base_ns:
            return self._base_count
        return self._base_count - (-((ns - self._base_ns) << RATE_BITS) // self._rate)
