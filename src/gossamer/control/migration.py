"""Handing a machine to another emulator, and taking one over.

Stop and copy: the guest stands still from the first byte to the receiver's acknowledgement; RAM
goes in one round (the seam for more rounds is `save_stream`'s RAM part over dirty pages).  A
failure at any byte leaves the sender's machine as it was and running.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from gossamer.base.errors import ConfigError, GossamerError, StreamError
from gossamer.base.units import NS_PER_S, tick_time
from gossamer.control import repair
from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import OURS, READING, Receiver, receiver
from gossamer.control.profiles_losses import losses
from gossamer.control.stream import Extra, read_stream, save_stream
from gossamer.core import host
from gossamer.isa.body import Irq
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.migrate.channels import Limits, Listener, connect, parse
from gossamer.migrate.incoming import Incoming
from gossamer.migrate.outgoing import Outgoing
from gossamer.state.transfer import Profile

if TYPE_CHECKING:
    from gossamer.control.vm import Vm

_FIRST_STEP_NS: Final = 20_000
_SETTLE_NS: Final = 50_000_000
"""How much virtual time a guest is given to come to a place where nothing is lost."""
_TICK_32: Final = 1 << 32
_MAX_CLOCK: Final = 1 << 62
_KEEP_TB: Final = ",keep-tb"
_POWER_ON_DEC: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Sent:
    """A transfer to somebody.  Times in ns of the host, `settled_ns` of the guest."""

    uri: str
    profile: str
    stream_bytes: int
    standstill_ns: int
    settled_ns: int
    lost: tuple[str, ...]

    @property
    def text(self) -> str:
        """For a person."""
        lines = [
            f"sent to {self.uri} as {self.profile}: {self.stream_bytes} bytes, the guest stood "
            f"still for {self.standstill_ns / 1e6:.1f} ms"
        ]
        return "\n".join(lines + [f"lost: {line}" for line in self.lost])


@dataclass(frozen=True, slots=True)
class Received:
    """A transfer from somebody; `repaired` as of `control.repair`."""

    uri: str
    foreign: bool
    stream_bytes: int
    load_ns: int
    repaired: tuple[str, ...]

    @property
    def text(self) -> str:
        """For a person."""
        whose = "QEMU's" if self.foreign else "gossamer's"
        head = f"received {whose} stream of {self.stream_bytes} bytes from {self.uri}"
        return "\n".join([head, *(f"repaired: {line}" for line in self.repaired)])


# --- the form of a stream for a receiver ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cut:
    """How a machine is to be written for a receiver, and what that loses."""

    profile: Profile
    lost: tuple[str, ...] = ()


def cut_for(m: Machine, to: Receiver, *, keep_tb: bool = False) -> Cut:
    """Choose the stream's virtual clock so that the guest's time base goes on."""
    if to.ours:
        return Cut(Profile())
    clock, hz = int(m.clock.now), m.cpu.tb_hz
    target, lost = _target_clock(m, to, keep_tb)
    shift = target - clock
    seconds = target // NS_PER_S - clock // NS_PER_S
    values: dict[tuple[str, str], Callable[[Any], Any]] = {}
    if seconds:
        values["cuda", "tick_offset"] = lambda offset: (offset - seconds) & 0xFFFF_FFFF
    if to.reads_decrementer and m.cpu.block.get("irq", Irq.DECREMENTER):
        # A counter about to pass zero: the pending interrupt comes there at once.
        values["cpu", "env.spr"] = lambda sprs: [*sprs[:22], 1, *sprs[23:]]
    if not to.reads_decrementer:
        dec = m.cpu.decrementer
        if dec != (_POWER_ON_DEC - target * hz // NS_PER_S) & 0xFFFF_FFFF:
            lost.append(
                f"cpu: the decrementer ({dec:#x}); {to.title} raises its interrupt at once, an "
                "operating system sets it anew there"
            )
    return Cut(Profile(to.name, ours=False, shift=shift, values=values), tuple(lost))


def _target_clock(m: Machine, to: Receiver, keep_tb: bool) -> tuple[int, list[str]]:
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
    if to.stale_decrementer and tb < _TICK_32 and (waiting or not as_at_power_on):
        seconds = (_TICK_32 - tb) / hz
        if keep_tb:
            raise ConfigError(
                f"{to.title} would give this guest no decrementer interrupt for {seconds:.1f} s, "
                "and its time base may not be moved on: not sent (--keep-tb)"
            )
        text = f"cpu: the time base jumps on by {seconds:.1f} s to 2**32, where {to.title} ticks"
        return int(tick_time(_TICK_32, hz)), [f"{text} again; the date stays right"]
    return target, []


def settle(vm: Vm, to: Receiver) -> int:
    """Run the guest on to where nothing is under way that cannot be told; ns of guest time."""
    start, step = vm.clock_ns, _FIRST_STEP_NS
    while any(loss.passes for loss in losses(vm.machine, to)):
        if vm.clock_ns - start >= _SETTLE_NS:
            break
        before = vm.instructions, vm.clock_ns
        vm.run(until_ns=vm.clock_ns + step)
        if (vm.instructions, vm.clock_ns) == before:
            break
        step = min(step * 2, _SETTLE_NS // 20)
    return vm.clock_ns - start


# --- sending --------------------------------------------------------------------------------------


def send(
    vm: Vm,
    uri: str,
    profile: str = OURS,
    *,
    keep_tb: bool = False,
    answers: bool = True,
    limits: Limits | None = None,
) -> Sent:
    """Send the machine; afterwards it is the receiver's.

    HostError or ConfigError: it is still ours, as it was.
    """
    to = receiver(profile)
    state = vm.run_state
    if state in ("postmigrate", "shutdown"):
        raise ConfigError(f"the machine cannot be sent: it is in state {state}")
    parse(uri)
    settled = settle(vm, to)
    vm.run_state = state
    cut = cut_for(vm.machine, to, keep_tb=keep_tb)
    lost = [loss.text for loss in losses(vm.machine, to)]
    began = host.monotonic_ns()
    with connect(uri, limits) as channel, vm.progress.operation(f"sending to {uri}"):
        out = Outgoing(channel, answers=answers)
        extra = Extra("globalstate", GlobalState(state))
        try:
            with vm.disks.handed_over():
                save_stream(
                    vm.machine,
                    out,
                    extra,
                    cut.profile,
                    carried=vm.carried,
                    commands=out.commands,
                    switchover=to.switchover,
                    progress=vm.progress,
                )
                sent = channel.sent
                vm.progress.phase("waiting for the receiver")
                out.finish()
        except BaseException:
            if vm.disks.lent:  # somebody has them open: `cont` tries again
                vm.run_state = "postmigrate"
            else:
                vm.plug_disks()
            raise
    took = host.monotonic_ns() - began
    vm.run_state = "postmigrate"
    return Sent(uri, profile, sent, took, settled, (*cut.lost, *lost))


# --- receiving ------------------------------------------------------------------------------------


def receive(
    vm: Vm, uri: str | Listener, *, mend: bool = True, limits: Limits | None = None
) -> Received:
    """Wait for a machine and become it; GossamerError: `vm` is as it was."""
    listener = Listener(uri, limits) if isinstance(uri, str) else uri
    with listener, listener.accept() as channel, vm.progress.operation("receiving"):
        began = host.monotonic_ns()
        talk = Incoming(channel)
        try:
            foreign, lines = take_over(vm, cast(BinaryIO, channel), mend=mend, talk=talk)
        except StreamError as fault:
            talk.refused()
            raise StreamError(f"{channel.name}: {fault}") from None
        except GossamerError:
            talk.refused()
            raise
        took = host.monotonic_ns() - began
        return Received(listener.place.text, foreign, channel.received, took, tuple(lines))


def take_over(
    vm: Vm,
    file: BinaryIO,
    *,
    mend: bool = True,
    talk: Incoming | None = None,
    before: Callable[[], None] = lambda: None,
    into: Machine | None = None,
) -> tuple[bool, list[str]]:
    """Load a stream of anybody's into a fresh machine and put it in the place of `vm`'s.

    `before` is the last that happens before that, and the last that can fail.  Returns whether
    the stream was foreign, and what was repaired.  `into`: a machine that nobody has used.
    """
    fresh = into or build(vm.config)
    state = GlobalState("running")
    command = (lambda command: None) if talk is None else talk.command
    extra, progress = Extra("globalstate", state), vm.progress
    loaded = read_stream(fresh, file, extra, READING, command=command, progress=progress)
    loaded.modern |= state.is_modern
    lines = repair.finish(fresh, loaded, mend=mend)
    vm.disks.open()  # the sender has let go of them before its last byte
    if talk is not None:
        talk.accepted()
    before()
    vm.adopt(fresh, state.name, loaded.carried)
    return loaded.foreign, lines


def _form_and_uri(text: str) -> tuple[str, str]:
    """``FORM+URI`` taken apart; a plain URI has no form."""
    form, plus, uri = text.partition("+")
    return (form, uri) if plus and ":" not in form else ("", text)


class Migrating:
    """What a `Vm` offers for transfers.  The monitor's words; see `front.vm_protocol.Migrates`."""

    #: The receiver that `migrate` writes for.
    wire_profile: str = OURS
    keep_tb: bool = False
    mends: bool = True
    last_sent: Sent | None = None
    last_received: Received | None = None

    def migrate(self, uri: str, *, background: bool = False, profile: str = "") -> Sent:
        """Send the machine to `uri`.  Stop and copy: `background` makes no difference.

        In one word for a monitor: ``qemu-7.2+unix:/path`` or ``qemu-7.2,keep-tb+unix:/path``.
        """
        vm = cast("Vm", self)
        form, uri = _form_and_uri(uri)
        named, keep_tb = form.removesuffix(_KEEP_TB), form.endswith(_KEEP_TB)
        chosen = profile or named or self.wire_profile
        self.last_sent = send(vm, uri, chosen, keep_tb=self.keep_tb or keep_tb)
        return self.last_sent

    def migrate_cancel(self) -> None:
        raise ConfigError("no migration is under way: a machine is sent in one step")

    def migration_text(self) -> str:
        """Of the last transfers."""
        done = [t.text for t in (self.last_received, self.last_sent) if t is not None]
        return "\n".join(done) or "no migration yet"

    def incoming(
        self, uri: str | Listener, *, mend: bool | None = None, limits: Limits | None = None
    ) -> Received:
        """Wait at `uri` for a machine and become it."""
        vm = cast("Vm", self)
        mend = self.mends if mend is None else mend
        self.last_received = receive(vm, uri, mend=mend, limits=limits)
        return self.last_received
