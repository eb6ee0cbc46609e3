"""Memory on its way while its machine runs: rounds over the dirty pages (`migrate.precopy`)."""

from __future__ import annotations

from functools import partial

from gossamer.base.data import make_ready
from gossamer.control.departure import NS_PER_MS, Departure
from gossamer.control.events import MigrationPass, Stopped
from gossamer.control.globalstate import GlobalState
from gossamer.control.standstill import Sent
from gossamer.control.steps import InThread, Steps, Wait
from gossamer.control.stream_out import Extra
from gossamer.core import host
from gossamer.migrate.framing import Cmd
from gossamer.migrate.incoming import CAUGHT_UP
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
from gossamer.state.transfer import Profile


class Rounds:
    """Those of one departure, for a receiver to which sections go by `profile`."""

    def __init__(self, leaves: Departure, parameters: Parameters, profile: Profile) -> None:
        self.leaves, self.vm, self.out = leaves, leaves.vm, leaves.out
        self._parameters, self._profile = parameters, profile
        self._extra = Extra("globalstate", GlobalState(self.vm.run_state))
        self._shown = self._rounds = 0

    def steps(self, *, auto_converge: bool) -> Steps[None]:
        """Send, until little enough is left."""
        leaves, transfer = self.leaves, self.leaves.transfer
        yield from self._begin()
        now = host.monotonic_ns()
        precopy = Precopy(leaves.dirty, self._parameters, now, auto_converge=auto_converge)
        figures = transfer.figures = precopy.figures
        figures.setup_time = (now - leaves.began) // NS_PER_MS
        caught_up = leaves.elsewhere is not None
        with self.vm.progress.operation("sending while the guest runs"):
            self.vm.progress.phase("RAM", figures.total)
            while not transfer.wants_postcopy:
                step = precopy.step(host.monotonic_ns())
                if isinstance(step, Switch):
                    if caught_up:
                        return
                    caught_up = True
                    yield from self._get_ready(precopy)
                elif isinstance(step, Sync):
                    precopy.sync(host.monotonic_ns())
                elif isinstance(step, Pause):
                    yield Wait(until_ns=min(step.until_ns, host.monotonic_ns() + SLICE_NS))
                    leaves.check()
                else:
                    self._report(precopy)
                    yield InThread(partial(self._send_on, precopy, step))
                    leaves.check()
                    self.out.channel.extend()
                    self.vm.throttle = figures.throttle
                    leaves.update_figures(host.monotonic_ns())

    def _begin(self) -> Steps[None]:
        """What comes before the first page, and all that can be made before the guest stops."""
        leaves, stream = self.leaves, self.leaves.stream
        stream.begin(self.out.commands)
        yield InThread(leaves.joined.flush)
        leaves.check()
        greeting = InThread(self.out.greet)
        greeting.ahead()
        leaves.dirty.look_at_untouched()
        make_ready(Sent, Stopped)
        stream.prepare(self._extra, self._profile, self.vm.carried)
        yield greeting

    def _get_ready(self, precopy: Precopy) -> Steps[None]:
        """The guest is about to be stopped: both ends do once what they will have to do then.

        So much of the downtime goes whatever is left of memory.
        """
        began = host.monotonic_ns()
        yield InThread(self._catch_up)
        self.leaves.stream.rehearse(self._extra, self._profile, self.vm.carried)
        now = host.monotonic_ns()
        precopy.reserve(now - began)
        precopy.sync(now)

    def _catch_up(self) -> None:
        """Let the receiver take in what it was sent: it need not while the guest stands still."""
        if self.out.answers:
            self.leaves.stream.writer.command(Cmd.PING, CAUGHT_UP.to_bytes(4, "big"))
            self.leaves.joined.flush()
            self.out.caught_up()

    def _send_on(self, precopy: Precopy, step: Step) -> None:
        """Send chunk after chunk, while nothing else has to be done; in a thread."""
        transfer, end = self.leaves.transfer, host.monotonic_ns() + SLICE_NS
        while isinstance(step, Chunk):
            precopy.wrote(self.leaves.part(step.pages))
            now = host.monotonic_ns()
            if now >= end or transfer.cancelled or transfer.wants_postcopy:
                return
            step = precopy.step(now)

    def _report(self, precopy: Precopy) -> None:
        """Say how far it is."""
        figures, vm = precopy.figures, self.vm
        if figures.dirty_sync_count != self._rounds:
            self._rounds = figures.dirty_sync_count
            vm.events.report(MigrationPass(self._rounds))
        done = figures.total - figures.remaining
        if done > self._shown:
            vm.progress.advance(done - self._shown)
            self._shown = done
