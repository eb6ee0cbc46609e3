"""Handing a machine to another emulator through a channel, while it runs.

Memory goes in rounds over its dirty pages; when little enough is left the machine is stopped, and
the rest and the devices follow (`migrate.precopy` has the rules).  A failure at any byte leaves the
sender's machine as it was, and running if it ran: it is the receiver's only when that has said so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from gossamer.base.data import Data, make_ready, replace
from gossamer.base.errors import ConfigError, HostError
from gossamer.base.units import PAGE_SIZE
from gossamer.control.events import MigrationPass, Stopped
from gossamer.control.globalstate import GlobalState
from gossamer.control.handover import Cut, cut_for, settle
from gossamer.control.joined import Joined
from gossamer.control.losses import losses
from gossamer.control.postcopy_out import CAPABILITY as POSTCOPY
from gossamer.control.postcopy_out import Following, discards
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps, Wait
from gossamer.control.stream_out import Extra, StreamOut
from gossamer.control.switchover import Switchover
from gossamer.control.tls_objects import TlsObjects
from gossamer.control.transfer import FOLLOWS, Transfer
from gossamer.core import host
from gossamer.machines.machine import Machine
from gossamer.migrate import mapped_out, multifd_out
from gossamer.migrate.channels import Channel, Limits, connect, parse
from gossamer.migrate.dirty import DirtyPages, Pages
from gossamer.migrate.framing import Cmd
from gossamer.migrate.incoming import CAUGHT_UP
from gossamer.migrate.mapped_out import MappedOut
from gossamer.migrate.multifd_out import MultifdOut
from gossamer.migrate.outgoing import ARRIVED, Outgoing, RefusedError
from gossamer.migrate.precopy import (
    SLICE_NS,
    Chunk,
    Parameters,
    Pause,
    Precopy,
    Step,
    Switch,
    Sync,
)
from gossamer.migrate.releases import OURS, Release, release
from gossamer.migrate.writer import package
from gossamer.state.transfer import Profile

_KEEP_TB: Final = ",keep-tb"
PAUSE_FIRST: Final = "pause-before-switchover"
MULTIFD: Final = "multifd"
MAPPED: Final = mapped_out.CAPABILITY
AUTO_CONVERGE: Final = "auto-converge"
_FIRST_LOOK_NS: Final = 1_000_000
_LOOK_NS: Final = 20_000_000
"""So soon at first, and so often later, is looked whether a transfer that waits before its
switch-over may go on."""
DOUBT: Final = (
    "whether the receiver has the machine is not known: look there; if it has not, "
    "cont goes on here"
)
_NS_PER_MS: Final = 1_000_000


def wanted(text: str) -> tuple[str, str, bool]:
    """``FORM,keep-tb+URI`` taken apart: the profile ("" for none), the URI, whether TB is kept."""
    form, plus, uri = text.partition("+")
    if not plus or ":" in form:
        return "", text, False
    return form.removesuffix(_KEEP_TB), uri, form.endswith(_KEEP_TB)


class Sent(Data):
    """A transfer to another emulator.  Times in ns of the host, `settled_ns` of the guest."""

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
            f"still for {self.standstill_ns / 1e6:.2f} ms"
        ]
        return "\n".join(lines + [f"lost: {line}" for line in self.lost])


def connector(
    uri: str, tls: TlsObjects | None, limits: Limits | None = None
) -> Callable[[], Channel]:
    """What connects to a receiver, by TLS where it was chosen; for a thread.  ConfigError now."""
    parse(uri)
    credentials = None if tls is None else tls.chosen("client")
    host_name = "" if tls is None or credentials is None else tls.host_of(uri)

    def connected() -> Channel:
        plain = connect(uri, limits)
        if tls is None or credentials is None:
            return plain
        return tls.wrap(plain, credentials, host=host_name)

    return connected


def sending(
    vm: Runner,
    uri: str,
    transfer: Transfer,
    profile: str = OURS,
    *,
    keep_tb: bool = False,
    answers: bool = True,
    limits: Limits | None = None,
    parameters: Parameters | None = None,
    capabilities: Collection[str] = (),
    tls: TlsObjects | None = None,
) -> Steps[Sent]:
    """Send the machine; afterwards it is the receiver's.

    With the capability postcopy-ram it may switch over before its memory has gone
    (`Transfer.wants_postcopy`).
    HostError or ConfigError: it is still ours, as it was, and in the run state that it had.
    """
    to = release(profile)
    if vm.run_state in ("postmigrate", "shutdown"):
        raise ConfigError(f"the machine cannot be sent: it is in state {vm.run_state}")
    parse(uri)
    # What cannot be sent is refused before anything is.
    profile_now = cut_for(vm.machine, to, keep_tb=keep_tb).profile
    transfer.expected_losses = lasting(vm, profile)
    connected = connector(uri, tls, limits)
    parameters = parameters or Parameters()
    further = parameters.multifd_channels if MULTIFD in capabilities else 0
    if further and parse(uri).kind not in ("unix", "tcp"):
        raise ConfigError(f"{uri}: capability multifd needs tcp: or unix:")

    mapped = MAPPED in capabilities
    if mapped and (further or parse(uri).kind != "file"):
        raise ConfigError(f"{uri}: capability mapped-ram needs file:, and no multifd")
    if mapped and not (to.ours or to.suspended):
        raise ConfigError(f"capability mapped-ram: {to.title} does not know it")

    postcopy = POSTCOPY in capabilities
    if postcopy and (further or mapped):
        raise ConfigError(
            f"{uri}: capability postcopy-ram goes with neither multifd nor mapped-ram"
        )
    channel: Channel = yield InThread(connected)
    with contextlib.ExitStack() as open_ones:
        open_ones.enter_context(channel)
        transfer.begin(channel)
        out = Outgoing(channel, answers=answers, postcopy=postcopy)
        if postcopy and not out.answers:
            raise ConfigError(f"{uri}: capability postcopy-ram needs a peer that can answer")
        sender = _Sender(vm, transfer, out, to)
        others: list[Channel] = []
        for n in range(further):
            one = InThread(partial(lambda n: multifd_out.hello(connected(), n), n))
            others.append(open_ones.enter_context((yield one)))
            transfer.also(others[-1])
        if others:
            sender.spread(others, parameters)
        if mapped:
            sender.map(channel)
        try:
            auto_converge = AUTO_CONVERGE in capabilities
            yield from sender.rounds(parameters, profile_now, auto_converge=auto_converge)
            how = _Switch(uri, keep_tb, PAUSE_FIRST in capabilities)
            if transfer.wants_postcopy:
                return (yield from sender.go_ahead(how, parameters))
            return (yield from sender.switch_over(how))
        finally:
            vm.throttle = 0


def lasting(vm: Runner, profile: str) -> tuple[str, ...]:
    """What a receiver of that form will not have, however long one waits, a line each.

    ConfigError for a form that is not known.
    """
    return tuple(loss.text for loss in losses(vm.machine, release(profile)) if not loss.passes)


class _Switch(Data):
    """How the machine is handed over; `pause`: it waits for `migrate-continue`."""

    uri: str
    keep_tb: bool
    pause: bool


class _Sender:
    """One transfer on its way out."""

    def __init__(self, vm: Runner, transfer: Transfer, out: Outgoing, to: Release) -> None:
        self.vm, self.transfer, self.out, self.to = vm, transfer, out, to
        self.machine: Machine = vm.machine
        self.joined = Joined(out)
        self.stream = StreamOut(self.machine, self.joined, ours=to.ours)
        self.stream.ram.grouped = True
        self.dirty = DirtyPages(self.machine.arena, self.stream.blocks, self.machine.engine.flush)
        self.began = host.monotonic_ns()
        self.multifd: MultifdOut | MappedOut | None = None
        self.switchover: Switchover | None = None

    def spread(self, channels: list[Channel], parameters: Parameters) -> None:
        """Let pages go over further connections."""
        level, method = parameters.multifd_level, parameters.multifd_compression
        multifd = self.multifd = self.stream.ram.elsewhere = MultifdOut(channels, method, level)
        multifd.flushes = self.to.switchover

    def map(self, channel: Channel) -> None:
        """Let pages go to fixed places of the file."""
        self.multifd = self.stream.mapped = self.stream.ram.elsewhere = MappedOut(channel)
        self.stream.flush = self.joined.flush

    @property
    def sent(self) -> int:
        """Bytes on all connections."""
        return self.out.channel.sent + (0 if self.multifd is None else self.multifd.sent)

    def _part(self, pages: Pages) -> int:
        """Send some pages, while the guest runs; how many bytes.

        One that the guest writes to meanwhile is dirty again, and sent again.
        """
        before = self.sent
        self.stream.part(pages, self.dirty.zero)
        self.joined.flush()
        return self.sent - before

    def _check(self) -> None:
        if self.vm.machine is not self.machine:
            raise ConfigError("another machine was loaded while this one was being sent")
        if self.transfer.cancelled:
            raise HostError(f"{self.out.channel.name}: cancelled")

    def rounds(
        self, parameters: Parameters, profile: Profile, *, auto_converge: bool
    ) -> Steps[None]:
        """Memory while the machine runs, until little enough is left."""
        self.stream.begin(self.out.commands)
        yield InThread(self.joined.flush)
        self._check()
        greeting = InThread(self.out.greet)
        greeting.ahead()
        self.dirty.look_at_untouched()
        extra = Extra("globalstate", GlobalState(self.vm.run_state))
        make_ready(Sent, Stopped)
        self.stream.prepare(extra, profile, self.vm.carried)
        yield greeting
        now = host.monotonic_ns()
        precopy = Precopy(self.dirty, parameters, now, auto_converge=auto_converge)
        figures = self.transfer.figures = precopy.figures
        figures.setup_time = (now - self.began) // _NS_PER_MS
        progress, shown, rounds, caught_up = self.vm.progress, 0, 0, False
        with progress.operation("sending while the guest runs"):
            progress.phase("RAM", figures.total)
            while not self.transfer.wants_postcopy:
                step = precopy.step(host.monotonic_ns())
                if isinstance(step, Switch):
                    if caught_up or self.multifd is not None:
                        return
                    caught_up = True
                    catching_up = InThread(self._catch_up)
                    yield catching_up
                    self.stream.rehearse(extra, profile, self.vm.carried)
                    precopy.sync(host.monotonic_ns())
                    continue
                if isinstance(step, Sync):
                    precopy.sync(host.monotonic_ns())
                    continue
                if isinstance(step, Pause):
                    yield Wait(until_ns=min(step.until_ns, host.monotonic_ns() + SLICE_NS))
                    self._check()
                    continue
                if figures.dirty_sync_count != rounds:
                    rounds = figures.dirty_sync_count
                    self.vm.events.report(MigrationPass(rounds))
                yield InThread(partial(self._send_on, precopy, step))
                self._check()
                self.out.channel.extend()
                self.vm.throttle = figures.throttle
                self._update_figures(host.monotonic_ns())
                done = figures.total - figures.remaining
                if done > shown:
                    progress.advance(done - shown)
                    shown = done

    def _catch_up(self) -> None:
        """Let the receiver take in what it was sent: it need not while the guest stands still."""
        if self.out.answers:
            self.stream.writer.command(Cmd.PING, CAUGHT_UP.to_bytes(4, "big"))
            self.joined.flush()
            self.out.caught_up()

    def _send_on(self, precopy: Precopy, step: Step) -> None:
        """Send chunk after chunk, while nothing else has to be done."""
        end = host.monotonic_ns() + SLICE_NS
        while isinstance(step, Chunk):
            precopy.wrote(self._part(step.pages))
            now = host.monotonic_ns()
            if now >= end or self.transfer.cancelled or self.transfer.wants_postcopy:
                return
            step = precopy.step(now)

    def _update_figures(self, now: int) -> None:
        figures = self.transfer.figures
        figures.total_time = (now - self.began) // _NS_PER_MS
        figures.duplicate, figures.normal = self.stream.ram.zeros, self.stream.ram.normals

    def switch_over(self, how: _Switch) -> Steps[Sent]:
        """Stop the machine and send the rest; it goes on here if that fails."""
        return (yield from self._hand_on(how, self._rest))

    def go_ahead(self, how: _Switch, parameters: Parameters) -> Steps[Sent]:
        """Stop the machine and let it run at the receiver, before its memory is there.

        It goes on here if it cannot be asked to run there.
        """
        sent = yield from self._hand_on(how, self._ahead, then="finish-migrate")
        vm, figures = self.vm, self.transfer.figures
        following = Following(
            self.transfer, self.out, self.stream, self.joined, self.dirty,
            lambda: parameters.max_postcopy_bandwidth,
        )  # fmt: skip

        def progressed() -> None:
            figures.transferred = following.sent
            figures.remaining = self.dirty.left * PAGE_SIZE
            self._update_figures(host.monotonic_ns())

        try:
            with vm.progress.operation("sending memory behind the guest"):
                yield from following.steps(progressed)
        finally:
            vm.run_state = "postmigrate"
            following.out.channel.close()
        progressed()
        return replace(sent, stream_bytes=figures.transferred)

    def _hand_on(
        self, how: _Switch, rest: Callable[[Cut, str], Steps[int]], *, then: str = "postmigrate"
    ) -> Steps[Sent]:
        """Stop the machine and let the receiver have it by `rest`; `then`: its run state here."""
        vm, machine = self.vm, self.machine
        state = vm.run_state
        settled = settle(vm, self.to)
        began = host.monotonic_ns()
        with vm.standing(f"sending to {how.uri}"):
            vm.run_state = "finish-migrate"
            try:
                if how.pause:
                    yield from self._wait_for_leave()
                cut = cut_for(machine, self.to, keep_tb=how.keep_tb)
                lost = [loss.text for loss in losses(machine, self.to)]
                sent = yield from rest(cut, state)
                now = host.monotonic_ns()
            except BaseException as fault:
                doubtful = self.switchover is not None and self.switchover.doubtful
                if doubtful and not isinstance(fault, RefusedError):
                    vm.run_state = "postmigrate"
                    raise HostError(f"{fault}; {DOUBT}") from None
                if vm.disks.lent:  # another process has them open: `cont` tries again
                    vm.run_state = "postmigrate"
                else:
                    vm.plug_disks()
                    vm.run_state = state
                raise
        vm.run_state = then
        figures = self.transfer.figures
        figures.downtime = (now - began) // _NS_PER_MS
        figures.transferred, figures.remaining = sent, 0
        self._update_figures(now)
        return Sent(how.uri, self.to.name, sent, now - began, settled, (*cut.lost, *lost))

    def _ahead(self, cut: Cut, state: str) -> Steps[int]:
        """The devices, and the word to run, while the memory that is left follows.

        A receiver of our own is asked to run when it has said that it can; QEMU's finds that word
        at the end of the package, and has the machine when the last byte of that is on its way.
        """
        self.machine.engine.flush()
        self.dirty.sync()
        writer, joined = self.stream.writer, self.joined
        joined.keep = True
        if self.to.switchover and not self.to.ours:
            writer.command(Cmd.SWITCHOVER_START)
        for number, data in discards(self.dirty):
            writer.command(number, data)
        head = joined.take()
        writer.command(Cmd.POSTCOPY_LISTEN)
        self.stream.devices(
            Extra("globalstate", GlobalState(state)),
            cut.profile,
            carried=self.vm.carried,
            memory_follows=True,
        )
        if not self.to.ours:
            writer.command(Cmd.POSTCOPY_RUN)
        content = package(joined.take())
        if self.to.ours:
            writer.command(Cmd.PING, ARRIVED.to_bytes(4, "big"))
            content += joined.take()
            writer.command(Cmd.POSTCOPY_RUN)
        last = joined.take()
        joined.keep = False

        def ready() -> None:
            self.out.write(head)
            if last:
                self.out.write(content)
                self.out.arrived()

        yield InThread(ready)
        if self.transfer.cancelled:
            raise HostError(f"{self.out.channel.name}: cancelled")
        # From here on it cannot be cancelled: once the last word is written the receiver has it.
        self.transfer.enter(FOLLOWS)

        def hand_over() -> int:
            with self.vm.disks.handed_over():
                self.out.write(last or content)
            return self.sent

        sent: int = yield InThread(hand_over)
        return sent

    def _wait_for_leave(self) -> Steps[None]:
        transfer = self.transfer
        transfer.may_switch = False
        transfer.enter("pre-switchover")
        began = host.monotonic_ns()
        while not transfer.may_switch:
            if transfer.cancelled:
                raise ConfigError("cancelled before the switch-over")
            now = host.monotonic_ns()
            # The guest stands still: a client that is quick is not kept waiting.
            yield Wait(until_ns=now + min(_LOOK_NS, _FIRST_LOOK_NS + (now - began) // 10))
        transfer.enter("device")

    def _rest(self, cut: Cut, state: str) -> Steps[int]:
        """The last pages, the devices and the end, while the machine stands still; bytes in all."""
        self.machine.engine.flush()
        self.dirty.sync()
        self.joined.keep = True
        if self.multifd is not None:
            self.multifd.hold()
        if self.dirty.left:
            self.stream.part(self.dirty.take(self.dirty.left), self.dirty.zero)
        self.switchover = Switchover(self.vm, self.out, self.multifd)
        if self.switchover.is_quick:
            self.joined.put()
            self.stream.onward = self.joined.put
        self.stream.devices(
            Extra("globalstate", GlobalState(state)),
            cut.profile,
            carried=self.vm.carried,
            switchover=self.to.switchover,
        )
        if self.out.answers:
            self.stream.writer.command(Cmd.PING, ARRIVED.to_bytes(4, "big"))
        devices = self.joined.take()
        self.stream.end()
        return (yield from self.switchover.steps(devices, self.joined.take()))
