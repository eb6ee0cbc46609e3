"""The sender's end of a transfer: what is said beside the stream, and the receiver's answer.

On a socket the stream opens a return path, on which QEMU and gossamer say that they have taken
the machine over (SHUT 0) or that they could not.  Without it (a file, a command) the transfer is
done when the last byte is on the medium, or the command has ended well.
"""

from __future__ import annotations

from typing import BinaryIO, Final, cast

from gossamer.base.errors import GossamerError, HostError
from gossamer.migrate.channels import Channel
from gossamer.migrate.framing import Cmd
from gossamer.migrate.returnpath import Reply, read
from gossamer.migrate.source import Source

COOKIE: Final = 1


class Outgoing:
    """One transfer over `channel`.  `answers`: a return path is opened where there can be one."""

    def __init__(self, channel: Channel, *, answers: bool = True) -> None:
        self.channel = channel
        self.answers = answers and channel.two_way

    @property
    def commands(self) -> list[tuple[int, bytes]]:
        """What the stream says first."""
        if not self.answers:
            return []
        return [(Cmd.OPEN_RETURN_PATH, b""), (Cmd.PING, COOKIE.to_bytes(4, "big"))]

    def write(self, data: bytes | memoryview, /) -> int:
        return self.channel.write(data)

    def finish(self) -> None:
        """Wait until the receiver has it; HostError when it does not say so."""
        channel = self.channel
        channel.end_output()
        channel.result()
        if not self.answers:
            return
        source = Source(cast(BinaryIO, channel))
        while True:
            try:
                message = read(source)
            except HostError:
                raise
            except GossamerError as fault:
                if not channel.received:
                    text = "the receiver went away without a word: it has refused the machine"
                else:
                    text = f"the receiver's answer ends or makes no sense: {fault}"
                raise HostError(f"{channel.name}: {text}") from None
            if message.kind == Reply.SHUT:
                if message.value:
                    raise HostError(f"{channel.name}: the receiver could not load the machine")
                return
            if message.kind == Reply.PONG and message.value == COOKIE:
                continue
            raise HostError(f"{channel.name}: the receiver asks for {message.kind.name}")
