"""Running a machine up to what a program waits for, and calling its hooks on the way.

A hook or a condition on an address is a native breakpoint or watchpoint: exact, and the guest
executes the same instructions with it and without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.api.stopped import Stopped
from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError
from gossamer.control.debugger import MOST
from gossamer.control.runner import SHUTDOWN
from gossamer.control.vm import Vm
from gossamer.core.clock import NEVER
from gossamer.engine.processor import Stop
from gossamer.engine.stops import Met, Watch
from gossamer.engine.translate import probe

#: Primary opcodes of bc, sc and b; extended ones, below 19, of bclr, rfi and bcctr.
_BRANCHES: Final = frozenset({16, 17, 18})
_BRANCHES_19: Final = frozenset({16, 50, 528})
_WORDS: Final = {Stop.IDLE: "idle", Stop.CHECKSTOP: "checkstop", Stop.REQUEST: "stopped"}


class Hook(Data, frozen=False, eq=False):
    """A call at an address (before its instruction) or behind accesses to what is watched."""

    call: Callable[[Met], object]
    pc: int | None = None
    watch: Watch | None = None
    _remove: Callable[[Hook], None] = field(default=lambda hook: None, repr=False)

    def remove(self) -> None:
        """Call no more."""
        self._remove(self)

    def fits(self, met: Met) -> bool:
        if met.kind == "break":
            return self.pc == met.ea
        w = self.watch
        return w is not None and w.ea == met.ea and (w.reads if met.kind == "read" else w.writes)


class Running:
    """The runs of one machine."""

    def __init__(self, control: Vm) -> None:
        self.control = control
        self.hooks: list[Hook] = []
        #: Called with the address of each block that begins; then instructions are executed one by
        #: one.
        self.blocks: list[Callable[[int], object]] = []
        #: Set by what ends a run: conditions, and hooks that want it.
        self.ends: tuple[str, object] | None = None

    def add(self, hook: Hook) -> Hook:
        if len(self.hooks) >= MOST:
            raise ConfigError(f"{MOST} hooks are set, and no more are kept")
        hook._remove = self.remove
        self.hooks.append(hook)
        return hook

    def remove(self, hook: Hook) -> None:
        if hook in self.hooks:
            self.hooks.remove(hook)
        self._apply()

    def end(self, why: str, what: object = None) -> None:
        """End the run at the next boundary between instructions."""
        if self.ends is None:
            self.ends = why, what
        self.control.machine.processor.request_stop()

    def _apply(self) -> None:
        processor = self.control.machine.processor
        if not self.hooks and processor.stops is None:
            return
        breaks = frozenset(h.pc for h in self.hooks if h.pc is not None)
        watches = tuple(h.watch for h in self.hooks if h.watch is not None)
        processor.debug().set(breaks, watches)

    def go(
        self, *, instructions: int | None = None, ns: int | None = None, until_ns: int | None = None
    ) -> Stopped:
        """Run `instructions` from here, for `ns` or until `until_ns`, or until something ends it.

        A hook's call may run, save or load nothing; `vm.stop()` ends the run where it is.
        """
        control = self.control
        if control.machine.engine.is_running:
            raise ConfigError("run: what is called by the running machine cannot run it")
        last = None if instructions is None else control.instructions + instructions
        until = until_ns if until_ns is not None else None
        if ns is not None:
            until = control.clock_ns + ns
        self.ends = None
        self._apply()
        if self.blocks:
            return self._by_blocks(last, NEVER if until is None else until)
        processor = control.machine.processor
        while True:
            if control.ended or control.run_state == SHUTDOWN:
                return self._stopped("ended")
            stop = control.run_to(last, NEVER if until is None else until)
            processor = control.machine.processor
            met = processor.met
            if stop is Stop.BREAK and met is not None:
                for hook in tuple(self.hooks):
                    if hook.fits(met):
                        hook.call(met)
                self._apply()
                if met.kind == "break":
                    processor.debug().pass_once(met.ea, met.cpu)
            if self.ends is not None:
                return self._stopped(*self.ends)
            if stop is Stop.LIMIT:
                return self._stopped(
                    "seconds" if last is None or control.instructions < last else "instructions"
                )
            if stop is not Stop.BREAK and not control.ended and control.run_state != SHUTDOWN:
                return self._stopped(_WORDS[stop])

    def _by_blocks(self, last: int | None, until: int) -> Stopped:
        """As `go`, one instruction at a time, so that each block that begins can be reported."""
        control = self.control
        if len(control.machine.cpus) > 1:
            raise ConfigError("blocks are those of one CPU, this machine has several")
        block = control.machine.cpu.block
        following = -1
        while True:
            if control.ended or control.run_state == SHUTDOWN:
                return self._stopped("ended")
            here = block.get("nia")
            if here != following and not control.machine.cpu.waiting:
                for call in tuple(self.blocks):
                    call(here)
                if self.ends is not None:
                    return self._stopped(*self.ends)
            count = control.instructions
            if last is not None and count >= last:
                return self._stopped("instructions")
            stop = control.run_to(count + 1, until)
            following = here + 4 & 0xFFFF_FFFF if not self._branches(here) else -1
            met = control.machine.processor.met
            if stop is Stop.BREAK and met is not None:
                for hook in tuple(self.hooks):
                    if hook.fits(met):
                        hook.call(met)
                if met.kind == "break":
                    control.machine.processor.debug().pass_once(met.ea, met.cpu)
                    following = here
            if self.ends is not None:
                return self._stopped(*self.ends)
            if control.clock_ns >= until:
                return self._stopped("seconds")
            if stop in _WORDS and not control.ended:
                return self._stopped(_WORDS[stop])

    def _branches(self, ea: int) -> bool:
        """Whether the instruction at `ea` ends a block: a branch, sc or rfi."""
        m = self.control.machine
        ra = probe(m.cpu.block, m.memory, m.cpu.model.architecture, ea)
        if ra is None:
            return True
        word = int.from_bytes(m.memory.read(ra, 4), "big")
        return word >> 26 in _BRANCHES or (word >> 26 == 19 and word >> 1 & 0x3FF in _BRANCHES_19)

    def _stopped(self, why: str, what: object = None) -> Stopped:
        control = self.control
        return Stopped(why, control.instructions, control.clock_ns, control.register("pc"), what)
