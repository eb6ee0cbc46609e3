"""The sender of a machine that runs at the receiver before its memory is there (postcopy).

Until the receiver is asked to run the machine, all that goes wrong leaves it here.  From then on it
is the receiver's, and this end has the memory that it still needs: a connection that breaks is
waited for (`migrate` with `resume`), and no failure lets the guest go on here by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from gossamer.base.errors import GossamerError, HostError
from gossamer.base.wire import WireWriter
from gossamer.control.joined import Joined
from gossamer.control.steps import InThread, Steps, Wait
from gossamer.control.stream_out import StreamOut
from gossamer.control.transfer import FOLLOWS, RECOVERS, Transfer
from gossamer.core import host
from gossamer.migrate.arrival import RESUMED
from gossamer.migrate.channels import Channel
from gossamer.migrate.demand import Demand
from gossamer.migrate.dirty import DirtyPages
from gossamer.migrate.framing import Cmd
from gossamer.migrate.outgoing import Outgoing, RefusedError
from gossamer.migrate.returnpath import Message, Reply

CAPABILITY: Final = "postcopy-ram"
LOST: Final = (
    "if the receiver has run the guest, it is whole at neither end and lost; if it never has, cont "
    "goes on here"
)
"""What is known of a guest whose memory was given up on its way."""
_LOOK_NS: Final = 20_000_000
_MOST_RANGES: Final = 12
"""Ranges of one POSTCOPY_RAM_DISCARD, as QEMU sends them."""


def discards(dirty: DirtyPages) -> list[tuple[int, bytes]]:
    """The commands that name every page that follows: what the receiver has of it is old."""
    out = []
    for block in dirty.blocks:
        ranges = dirty.ranges(block)
        for n in range(0, len(ranges), _MOST_RANGES):
            w = WireWriter()
            w.uint(0, 1)  # the version
            w.cstr(block.name)
            w.uint(0, 1)
            for first, count in ranges[n : n + _MOST_RANGES]:
                w.uint(first << 12, 8)
                w.uint(count << 12, 8)
            out.append((int(Cmd.POSTCOPY_RAM_DISCARD), bytes(w.data)))
    return out


class Following:
    """Memory on its way behind its machine."""

    def __init__(
        self,
        transfer: Transfer,
        out: Outgoing,
        stream: StreamOut,
        joined: Joined,
        dirty: DirtyPages,
        limit: Callable[[], int],
    ) -> None:
        self.transfer, self.out, self.stream = transfer, out, stream
        self.joined, self.dirty = joined, dirty
        self.demand = Demand(dirty, limit)
        self._before = 0
        dirty.again()

    @property
    def sent(self) -> int:
        """Bytes on all connections."""
        return self._before + self.out.channel.sent

    def steps(self, progressed: Callable[[], None]) -> Steps[None]:
        """Send all that is left, over as many connections as it takes.

        HostError: the receiver has failed, or the user has given it up.
        """
        transfer = self.transfer
        transfer.enter(FOLLOWS)
        while True:
            try:
                yield InThread(partial(self._serve, progressed))
                return
            except RefusedError as fault:
                raise HostError(f"{fault}; {LOST}") from None
            except GossamerError as fault:
                self._broken(fault)
            while transfer.status != FOLLOWS:
                channel = yield from self._another()
                try:
                    yield InThread(partial(self._resume, channel))
                    transfer.enter(FOLLOWS)
                except GossamerError as fault:
                    self._broken(fault)

    def _broken(self, fault: GossamerError) -> None:
        self.out.channel.close()
        self.transfer.pause(str(fault))

    def _another(self) -> Steps[Channel]:
        """Wait for another connection; HostError when the user gives it up."""
        transfer = self.transfer
        while transfer.another is None:
            if transfer.cancelled:
                raise HostError(f"{transfer.error}; given up: {LOST}")
            yield Wait(until_ns=host.monotonic_ns() + _LOOK_NS)
        channel, transfer.another = transfer.another, None
        assert isinstance(channel, Channel)
        transfer.channel = channel
        transfer.enter(RECOVERS)
        return channel

    # --- in a thread ------------------------------------------------------------------------------

    def _serve(self, progressed: Callable[[], None]) -> None:
        """Send what is left, and wait until the receiver says that it has all."""
        demand = self.demand
        while self.dirty.left:
            self.out.channel.check()
            while (message := self.out.asked(wait=False)) is not None:
                self._hear(message)
            now = host.monotonic_ns()
            pages = demand.take(now)
            if not pages:
                self.out.channel.has_input(max(0, demand.wait_until - now) / 1e9)
                continue
            self.stream.part(pages, self.dirty.zero)
            self.joined.flush()
            self.out.channel.extend()
            progressed()
        self.stream.end_memory()
        self.stream.writer.end(None)
        self.joined.flush()
        progressed()
        while (message := self.out.asked(wait=True)) is not None and message.kind != Reply.SHUT:
            self._hear(message)

    def _hear(self, message: Message) -> None:
        if message.kind not in (Reply.REQ_PAGES, Reply.REQ_PAGES_ID):
            raise HostError(f"{self.out.channel.name}: the receiver sends {message.kind.name}")
        self.demand.ask(message)
        self.transfer.figures.postcopy_requests = self.demand.requests

    def _resume(self, channel: Channel) -> None:
        """Agree with the receiver on what it has, over a new connection."""
        self._before += self.out.channel.sent
        out = self.out = Outgoing(channel, postcopy=True)
        self.joined.begin(out)
        self.demand.forget()
        for block in self.dirty.blocks:
            w = WireWriter()
            w.cstr(block.name)
            self.stream.writer.command(Cmd.RECV_BITMAP, bytes(w.data))
            self.joined.flush()
            bitmap = self._answer(Reply.RECV_BITMAP)
            size = -(-(block.size >> 12) // 64) * 8
            if bitmap.block != block.name or len(bitmap.bitmap) != size:
                raise HostError(
                    f"{channel.name}: a bitmap of {len(bitmap.bitmap)} bytes for "
                    f"{bitmap.block!r}, expected {size} for {block.name!r}"
                )
            self.dirty.arrived(block, bitmap.bitmap)
        self.stream.writer.command(Cmd.POSTCOPY_RESUME)
        self.joined.flush()
        if self._answer(Reply.RESUME_ACK).value != RESUMED:
            raise HostError(f"{channel.name}: the receiver does not go on")
        self.stream.ram.current = None

    def _answer(self, kind: Reply) -> Message:
        """The receiver's answer; what it asks for meanwhile it asks for again."""
        while (message := self.out.asked(wait=True)) is not None:
            if message.kind == kind:
                return message
            if message.kind not in (Reply.REQ_PAGES, Reply.REQ_PAGES_ID):
                break
        said = "nothing" if message is None else message.kind.name
        raise HostError(f"{self.out.channel.name}: the receiver says {said}, not {kind.name}")
