"""The sender's end of a transfer: what is said beside the stream, and the receiver's answer.

On a socket the stream opens a return path, on which QEMU and gossamer say that they have taken
the machine over (SHUT 0) or that they could not.  Without it (a file, a command) the transfer is
done when the last byte is on the medium, or the command has ended well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from gossamer.base.errors import GossamerError, HostError, StreamError
from gossamer.base.units import NS_PER_S, PAGE_SIZE
from gossamer.core import host
from gossamer.migrate.channels import Channel
from gossamer.migrate.framing import Cmd
from gossamer.migrate.incoming import CAUGHT_UP
from gossamer.migrate.returnpath import Message, Reply, read
from gossamer.migrate.source import Source

COOKIE, ARRIVED = 1, 2

SHORT: Final = {int(Reply.SHUT): 4, int(Reply.PONG): 4, int(Reply.SWITCHOVER_ACK): 0}
"""Words of the receiver's that have a length (bytes) of their own."""
ON_DEMAND: Final = frozenset(
    {Reply.REQ_PAGES, Reply.REQ_PAGES_ID, Reply.RECV_BITMAP, Reply.RESUME_ACK}
)
"""What a receiver says while its machine runs and memory follows."""


class RefusedError(HostError):
    """The receiver says that it has not taken the machine over."""


class Outgoing:
    """One transfer over `channel`.  `answers`: a return path is opened where there can be one."""

    def __init__(self, channel: Channel, *, answers: bool = True, postcopy: bool = False) -> None:
        self.channel, self.postcopy = channel, postcopy
        self.answers = answers and channel.two_way
        self._source: Source | None = None

    @property
    def commands(self) -> list[tuple[int, bytes]]:
        """What the stream says first."""
        if not self.answers:
            return []
        said = [(int(Cmd.OPEN_RETURN_PATH), b""), (int(Cmd.PING), COOKIE.to_bytes(4, "big"))]
        if self.postcopy:
            # Sizes of pages: the host's (a mask) and the machine's.
            said.append((int(Cmd.POSTCOPY_ADVISE), PAGE_SIZE.to_bytes(8, "big") * 2))
        return said

    def write(self, data: bytes | memoryview, /) -> int:
        """All of it; HostError with the receiver's own word where it left one."""
        with self._its_word():
            return self.channel.write(data)

    def put(self, data: memoryview) -> memoryview:
        """Write what the host takes at once; what is left."""
        with self._its_word():
            return self.channel.put(data)

    @contextlib.contextmanager
    def _its_word(self) -> Iterator[None]:
        """When writing fails: the receiver's own word, if it left one."""
        try:
            yield
        except HostError:
            if self.answers and self.channel.has_input(0.0):
                with contextlib.suppress(StreamError):
                    while not self._judge(read(self._input())):
                        pass
            raise

    def _input(self) -> Source:
        if self._source is None:
            self._source = Source(cast(BinaryIO, self.channel))
        return self._source

    def greet(self) -> None:
        """Wait until the receiver has read what comes first, while the guest runs on.

        A receiver that waits for more connections reads nothing before they have come.
        """
        if not self.answers:
            return
        channel = self.channel
        seconds = channel.limits.stall
        if not channel.has_input(seconds):
            channel.check()
            raise HostError(
                f"{channel.name}: the receiver reads nothing for {seconds:g} s; if it expects "
                "several connections (capability multifd), switch that off there"
            )
        message = self._message()
        if message.kind != Reply.PONG or message.value != COOKIE:
            self._judge(message)

    def arrived(self) -> None:
        """Wait until the receiver has taken on every section: nothing but the end is missing.

        Until then it cannot have the machine, whatever goes wrong.
        """
        while self.answers and not self.hears(ARRIVED):
            pass

    def caught_up(self) -> None:
        """Wait until the receiver has taken in what was sent up to the PING of that name."""
        while self.answers and not self.hears(CAUGHT_UP):
            pass

    def hears(self, cookie: int) -> bool:
        """Wait for the receiver's next word; whether it is the answer to that PING."""
        message = self._message()
        if message.kind == Reply.PONG and message.value == cookie:
            return True
        if self._judge(message):
            text = "the receiver says that it has the machine before it can have it"
            raise HostError(f"{self.channel.name}: {text}")
        return False

    def has_word(self, seconds: float) -> bool:
        """Whether a short word of the receiver's, or its end, is there within so many seconds.

        Reading it then waits for nothing.
        """
        source, end = self._input(), host.monotonic_ns() + int(seconds * NS_PER_S)
        while True:
            have, head = source.buffered, source.peek(4) if source.buffered >= 4 else b""
            if head:
                size = SHORT.get(int.from_bytes(head[:2], "big"))
                if size is None or have >= 4 + size:
                    return size is not None
            if not self.channel.has_input(max(0, end - host.monotonic_ns()) / NS_PER_S):
                return False
            source.fill(have + 1)
            if source.buffered == have:
                return True

    def _message(self) -> Message:
        """The receiver's next word."""
        channel = self.channel
        try:
            return read(self._input())
        except HostError:
            raise
        except GossamerError as fault:
            if not channel.received:
                text = "the receiver went away without a word: it has refused the machine"
            else:
                text = f"the receiver's answer ends or makes no sense: {fault}"
            raise HostError(f"{channel.name}: {text}") from None

    def asked(self, *, wait: bool) -> Message | None:
        """What the receiver asks for while it runs; None: nothing just now.

        `wait`: until it says something.  SHUT 0 comes when it has all; RefusedError when it failed.
        """
        while wait or self._input().buffered or self.channel.has_input(0.0):
            message = self._message()
            if message.kind in ON_DEMAND:
                return message
            if self._judge(message):
                return message
        return None

    def _judge(self, message: Message) -> bool:
        """Whether it is the receiver's last word, and says that the machine is there."""
        if message.kind == Reply.SHUT:
            if message.value:
                raise RefusedError(f"{self.channel.name}: the receiver could not load the machine")
            return True
        if message.kind == Reply.PONG and message.value in (COOKIE, ARRIVED, CAUGHT_UP):
            return False
        if message.kind == Reply.SWITCHOVER_ACK:
            return False
        raise HostError(f"{self.channel.name}: the receiver asks for {message.kind.name}")

    def finish(self) -> None:
        """Wait until the receiver has it; HostError when it does not say so."""
        self.channel.end_output()
        self.channel.result()
        while self.answers and not self.hears_end():
            pass

    def hears_end(self) -> bool:
        """Wait for the receiver's next word; whether it has the machine.  HostError if not."""
        return self._judge(self._message())
