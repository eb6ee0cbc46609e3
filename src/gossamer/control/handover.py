"""What a stream for a receiver is like.

The guest's time base goes on at the receiver's; what that does not carry is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gossamer.base.data import Data, replace
from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S, tick_time
from gossamer.control.losses import losses
from gossamer.control.profiles import profile_of
from gossamer.control.runner import Runner
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.cpu_64 import Cpu64
from gossamer.cpu.exceptions_64 import AIL_2, AIL_3
from gossamer.cpu.msr import MSR_EE
from gossamer.engine.turns import Turns
from gossamer.isa.interrupts import Interrupt, Irq
from gossamer.machines.machine import Machine
from gossamer.migrate.releases import Release
from gossamer.state.transfer import Profile

_FIRST_STEP_NS: Final = 20_000
_SETTLE_NS: Final = 50_000_000
"""How much virtual time a guest is given to come to a place where nothing is lost."""
_LONGEST_DEC_NS: Final = 5 * NS_PER_S
"""Longer than an operating system can have set DEC to: 2**31 ticks of 512 MHz."""
_MASKED_STEPS: Final = 50_000
"""Instructions for which a guest may hold an interrupt back."""
_MASKED_TRIES: Final = 50
"""How often a CPU is run on to its decrementer's interrupt: others may hold it back."""
_LOOK_NS: Final = 100_000
"""How often it is looked whether DEC was set anew meanwhile."""
_TICK_32: Final = 1 << 32
_MAX_CLOCK: Final = 1 << 62
_POWER_ON_DEC: Final = 0xFFFF_FFFF


class Cut(Data):
    """How a machine is to be written for a receiver, and what that loses."""

    profile: Profile
    lost: tuple[str, ...] = ()


def cut_for(m: Machine, to: Release, *, keep_tb: bool = False) -> Cut:
    """Choose the stream's virtual clock so that the guest's time base goes on."""
    if to.ours:
        return Cut(Profile())
    check_rate(m, to)
    clock, hz = int(m.clock.now), m.cpu.tb_hz
    target, lost = _target_clock(m, to, keep_tb)
    shift = target - clock
    seconds = target // NS_PER_S - clock // NS_PER_S
    values: dict[tuple[str, str], Callable[[Any], Any]] = {}
    if seconds:
        values["cuda", "tick_offset"] = lambda offset: (offset - seconds) & 0xFFFF_FFFF
    waiting = [cpu.decrementer for cpu in m.cpus if cpu.block.get("irq", Irq.DECREMENTER)]
    if m.cpu.HAS_DECREMENTER and to.reads_decrementer and waiting:
        # A counter about to pass zero: the pending interrupt comes there at once.
        values["cpu", "env.spr"] = lambda sprs: (
            [*sprs[:22], 1, *sprs[23:]] if sprs[22] in waiting else sprs
        )
    if m.cpu.HAS_DECREMENTER and not to.reads_decrementer:
        for n, cpu in enumerate(m.cpus):
            dec = cpu.decrementer
            if _at_decrementer(cpu) or dec == (_POWER_ON_DEC - target * hz // NS_PER_S) % _TICK_32:
                continue
            name = f"cpu/{n}" if n else "cpu"
            lost.append(
                f"{name}: the decrementer ({dec:#x}); {to.title} raises its interrupt at once, an "
                "operating system sets it anew there"
            )
    return Cut(replace(profile_of(to), shift=shift, values=values), tuple(lost))


def check_rate(m: Machine, to: Release) -> None:
    """ConfigError when the receiver has no such machine, or one with another time base."""
    if m.name in to.without:
        raise ConfigError(f"{to.title} has no machine {m.name}")
    theirs, mine = to.timebase.get(m.name), m.cpu.tb_hz
    if theirs is None or theirs == mine or not m.engine.count:
        return
    speed = "slow" if theirs < mine else "fast"
    times = max(theirs, mine) / min(theirs, mine)
    raise ConfigError(
        f"the guest counts on a time base of {mine:,} Hz, {m.name} of {to.title} has {theirs:,} "
        f"Hz: its clock would run {times:g} times too {speed}; a machine started with "
        f"-M {m.name},timebase={theirs} can go there"
    )


def _target_clock(m: Machine, to: Release, keep_tb: bool) -> tuple[int, list[str]]:
    """The clock to write, and what is lost with it."""
    cpu, hz = m.cpu, m.cpu.tb_hz
    tb = cpu.timebase
    target = int(tick_time(tb, hz))
    if target >= _MAX_CLOCK:
        text = f"cpu: the time base of {tb:#x} is more than {to.title}'s clock can show"
        if keep_tb:
            raise ConfigError(f"{text}: not sent (--keep-tb)")
        here = int(m.clock.now)
        return here, [f"{text}; it reads {here * hz // NS_PER_S:#x} there"]
    as_at_power_on = cpu.decrementer == (_POWER_ON_DEC - tb) & 0xFFFF_FFFF
    waiting = cpu.block.get("irq", Irq.DECREMENTER)
    if (
        m.cpu.HAS_DECREMENTER
        and to.stale_decrementer
        and not _at_decrementer(cpu)
        and tb < _TICK_32
        and (waiting or not as_at_power_on)
    ):
        seconds = (_TICK_32 - tb) / hz
        if keep_tb:
            raise ConfigError(
                f"{to.title} would give this guest no decrementer interrupt for {seconds:.1f} s, "
                "and its time base may not be moved on: not sent (--keep-tb)"
            )
        text = f"cpu: the time base jumps on by {seconds:.1f} s to 2**32, where {to.title} ticks"
        return int(tick_time(_TICK_32, hz)), [f"{text} again; the date stays right"]
    return target, []


def _at_decrementer(cpu: Cpu) -> bool:
    """Whether its guest is about to set DEC: at the first instruction of DEC's interrupt.

    A receiver that does not load DEC takes nothing from it there.  LPCR[AIL] moves the vectors.
    """
    if not isinstance(cpu, Cpu64):
        return False
    return cpu.block.get("nia") in (n + Interrupt.DECREMENTER for n in (0, AIL_2, AIL_3))


def _to_decrementers(m: Machine) -> None:
    """Run a guest on to where its decrementers' interrupts have just been taken, if they come.

    One CPU after the other comes there, and stands there until all do.  What comes last comes
    first, so that none stands for long.  An idle guest is there at once, at the virtual time at
    which it would have been woken.
    """
    # A CPU that stood still for the first one sets its own anew when it goes on.
    processor, end = m.processor, m.clock.now + _LONGEST_DEC_NS * min(len(m.cpus), 2)
    coming = [n for n, cpu in enumerate(m.cpus) if not _stopped(cpu)]
    arrived: list[int] = []
    warps, processor.idle_warps = processor.idle_warps, True
    try:
        while coming and m.clock.now < end:
            n = max(coming, key=lambda n: m.cpus[n].decrement.when)
            if not _to_decrementer(m, n, arrived, end):
                break
            coming.remove(n)
            arrived.append(n)
    finally:
        processor.idle_warps = warps
        if isinstance(processor, Turns):
            processor.hold(())


def _stopped(cpu: Cpu) -> bool:
    """Whether no interrupt wakes a CPU: there it may have been stopped, or not started yet."""
    return cpu.waiting and not cpu.block.get("msr") & MSR_EE


def _to_decrementer(m: Machine, n: int, arrived: Sequence[int], end: int) -> bool:
    """Run a CPU on to its decrementer's interrupt, while those that have arrived stand still."""
    processor, cpu = m.processor, m.cpus[n]
    others = [other for other in range(len(m.cpus)) if other != n]
    for _ in range(_MASKED_TRIES):
        if _at_decrementer(cpu):
            return True
        if m.clock.now >= end:
            break
        if isinstance(processor, Turns):
            processor.hold(arrived)
        if cpu.block.get("irq", Irq.DECREMENTER):
            processor.run(until_ns=min(m.clock.now + _FIRST_STEP_NS, end))  # others hold it back
        else:
            # In steps: the guest may set DEC anew, to a nearer time.
            while (left := min(cpu.decrement.when, end) - m.clock.now) > 0:
                processor.run(until_ns=m.clock.now + min(left, _LOOK_NS))
                if cpu.block.get("irq", Irq.DECREMENTER) or _at_decrementer(cpu):
                    break
        if isinstance(processor, Turns):
            processor.hold(others)
            processor.run(m.engine.count)  # it may have waited for its turn to take it
        for _ in range(_MASKED_STEPS):
            # Held back by MSR[EE]: step by step, so that nothing behind the entry is executed.
            if _at_decrementer(cpu) or not cpu.block.get("irq", Irq.DECREMENTER):
                break
            processor.run(m.engine.count + 1)
    return _at_decrementer(cpu)


def settle(vm: Runner, to: Release) -> int:
    """Run the guest on to where nothing is under way that cannot be sent; ns of guest time."""
    start, step = vm.clock_ns, _FIRST_STEP_NS
    while any(loss.passes for loss in losses(vm.machine, to)):
        if vm.clock_ns - start >= _SETTLE_NS:
            break
        before = vm.instructions, vm.clock_ns
        vm.run(until_ns=vm.clock_ns + step)
        if (vm.instructions, vm.clock_ns) == before:
            break
        step = min(step * 2, _SETTLE_NS // 20)
    cpu = vm.machine.cpu
    # One that never ran has set no decrementer, and its first instructions may set none for long.
    if isinstance(cpu, Cpu64) and cpu.timebase and not to.ours and not to.reads_decrementer:
        _to_decrementers(vm.machine)
    return vm.clock_ns - start
