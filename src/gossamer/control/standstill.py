"""The machine stands still, and is handed on: the last pages, its devices, the receiver's word.

A failure at any byte leaves the sender's machine as it was, and running if it ran: it is the
receiver's only when that has said so (`control.switchover`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.data import Data, replace
from gossamer.base.errors import ConfigError, HostError
from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.control.departure import NS_PER_MS, Departure
from gossamer.control.globalstate import GlobalState
from gossamer.control.handover import Cut, cut_for, settle
from gossamer.control.losses import losses
from gossamer.control.postcopy_out import Following, discards
from gossamer.control.steps import InThread, Steps, Wait
from gossamer.control.stream_out import Extra
from gossamer.control.switchover import Switchover
from gossamer.control.transfer import FOLLOWS
from gossamer.core import host
from gossamer.migrate.framing import Cmd
from gossamer.migrate.outgoing import ARRIVED, RefusedError
from gossamer.migrate.precopy import Parameters
from gossamer.migrate.writer import package

_FIRST_LOOK_NS: Final = 1_000_000
_LOOK_NS: Final = 20_000_000
"""So soon at first, and so often later, is looked whether a transfer that waits before its
switch-over may go on."""
_AT_ONCE: Final = MiB // 4 // PAGE_SIZE
"""Pages that go with the devices; more go before them, from a thread."""
_PART: Final = 2 * MiB // PAGE_SIZE
"""Pages that are made ready while the receiver takes in those before."""
DOUBT: Final = (
    "whether the receiver has the machine is not known: look there; if it has not, "
    "cont goes on here"
)


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


class Standstill:
    """Of one departure to `uri`; `pause`: it waits for `migrate-continue`."""

    def __init__(self, leaves: Departure, uri: str, *, keep_tb: bool, pause: bool) -> None:
        self.leaves, self._uri, self._keep_tb, self._pause = leaves, uri, keep_tb, pause
        self._then = "postmigrate"

    def switch_over(self) -> Steps[Sent]:
        """Stop the machine and send the rest; it goes on here if that fails."""
        return (yield from self._hand_on(self._rest))

    def go_ahead(self, parameters: Parameters) -> Steps[Sent]:
        """Stop the machine and let it run at the receiver, before its memory is there.

        It goes on here if it cannot be asked to run there.
        """
        self._then = "finish-migrate"
        sent = yield from self._hand_on(self._ahead)
        leaves, vm, figures = self.leaves, self.leaves.vm, self.leaves.transfer.figures
        following = Following(
            leaves.transfer, leaves.out, leaves.stream, leaves.joined, leaves.dirty,
            lambda: parameters.max_postcopy_bandwidth,
        )  # fmt: skip

        def progressed() -> None:
            figures.transferred = following.sent
            figures.remaining = leaves.dirty.left * PAGE_SIZE
            leaves.update_figures(host.monotonic_ns())

        try:
            with vm.progress.operation("sending memory behind the guest"):
                yield from following.steps(progressed)
        finally:
            vm.run_state = "postmigrate"
            following.out.channel.close()
        progressed()
        return replace(sent, stream_bytes=figures.transferred)

    def _hand_on(self, rest: Callable[[Cut, str], Steps[int]]) -> Steps[Sent]:
        """Stop the machine and let the receiver have it by `rest`."""
        leaves = self.leaves
        vm, machine, to = leaves.vm, leaves.machine, leaves.to
        state = vm.run_state
        settled = settle(vm, to)
        began = host.monotonic_ns()
        with vm.standing(f"sending to {self._uri}"):
            vm.run_state = "finish-migrate"
            try:
                if self._pause:
                    yield from self._wait_for_leave()
                cut = cut_for(machine, to, keep_tb=self._keep_tb)
                lost = [loss.text for loss in losses(machine, to)]
                sent = yield from rest(cut, state)
                now = host.monotonic_ns()
            except BaseException as fault:
                doubtful = leaves.switchover is not None and leaves.switchover.doubtful
                if doubtful and not isinstance(fault, RefusedError):
                    vm.run_state = "postmigrate"
                    raise HostError(f"{fault}; {DOUBT}") from None
                if vm.disks.lent:  # another process has them open: `cont` tries again
                    vm.run_state = "postmigrate"
                else:
                    vm.plug_disks()
                    vm.run_state = state
                raise
        vm.run_state = self._then
        figures = leaves.transfer.figures
        figures.downtime = (now - began) // NS_PER_MS
        figures.transferred, figures.remaining = sent, 0
        leaves.update_figures(now)
        return Sent(self._uri, to.name, sent, now - began, settled, (*cut.lost, *lost))

    def _wait_for_leave(self) -> Steps[None]:
        transfer = self.leaves.transfer
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

    # --- memory first -----------------------------------------------------------------------------

    def _rest(self, cut: Cut, state: str) -> Steps[int]:
        """The last pages, the devices and the end; bytes in all."""
        leaves, stream, joined = self.leaves, self.leaves.stream, self.leaves.joined
        leaves.machine.engine.flush()
        leaves.dirty.sync()
        if leaves.dirty.left > _AT_ONCE:
            yield InThread(self._most_of_memory)
            leaves.check()
        joined.keep = True
        if leaves.elsewhere is not None:
            leaves.elsewhere.hold()
        if leaves.dirty.left:
            stream.part(leaves.dirty.take(leaves.dirty.left), leaves.dirty.zero)
        last = leaves.switchover = Switchover(leaves.vm, leaves.out, leaves.elsewhere)
        if last.is_quick:
            joined.put()
            stream.onward = joined.piece
        stream.devices(
            Extra("globalstate", GlobalState(state)),
            cut.profile,
            carried=leaves.vm.carried,
            switchover=leaves.to.switchover,
        )
        if leaves.out.answers:
            stream.writer.command(Cmd.PING, ARRIVED.to_bytes(4, "big"))
        devices = joined.take()
        stream.end()
        return (yield from last.steps(devices, joined.take()))

    def _most_of_memory(self) -> None:
        """Send what is left part by part, so that the receiver takes it in meanwhile."""
        leaves = self.leaves
        while leaves.dirty.left and not leaves.transfer.cancelled:
            leaves.part(leaves.dirty.take(_PART))

    # --- memory behind it (postcopy) --------------------------------------------------------------

    def _ahead(self, cut: Cut, state: str) -> Steps[int]:
        """The devices, and the word to run, while the memory that is left follows.

        A receiver of our own is asked to run when it has said that it can; QEMU's finds that word
        at the end of the package, and has the machine when the last byte of that is on its way.
        """
        leaves, out = self.leaves, self.leaves.out
        leaves.machine.engine.flush()
        leaves.dirty.sync()
        writer, joined = leaves.stream.writer, leaves.joined
        joined.keep = True
        if leaves.to.switchover and not leaves.to.ours:
            writer.command(Cmd.SWITCHOVER_START)
        for number, data in discards(leaves.dirty):
            writer.command(number, data)
        head = joined.take()
        writer.command(Cmd.POSTCOPY_LISTEN)
        leaves.stream.devices(
            Extra("globalstate", GlobalState(state)),
            cut.profile,
            carried=leaves.vm.carried,
            memory_follows=True,
        )
        if not leaves.to.ours:
            writer.command(Cmd.POSTCOPY_RUN)
        content = package(joined.take())
        if leaves.to.ours:
            writer.command(Cmd.PING, ARRIVED.to_bytes(4, "big"))
            content += joined.take()
            writer.command(Cmd.POSTCOPY_RUN)
        last = joined.take()
        joined.keep = False

        def ready() -> None:
            out.write(head)
            if last:
                out.write(content)
                out.arrived()

        yield InThread(ready)
        if leaves.transfer.cancelled:
            raise HostError(f"{out.channel.name}: cancelled")
        # From here on it cannot be cancelled: once the last word is written the receiver has it.
        leaves.transfer.enter(FOLLOWS)

        def hand_over() -> int:
            with leaves.vm.disks.handed_over():
                out.write(last or content)
            return leaves.sent

        sent: int = yield InThread(hand_over)
        return sent
