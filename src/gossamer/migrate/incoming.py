"""The receiver's end of a transfer: answers to the sender's commands, and the last word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.base.errors import GossamerError, StreamError
from gossamer.base.units import PAGE_SIZE
from gossamer.base.wire import WireReader
from gossamer.core.memory import Arena
from gossamer.migrate.arrival import RESUMED, Arrival
from gossamer.migrate.framing import Cmd, Command
from gossamer.migrate.returnpath import Message, Reply, encode

if TYPE_CHECKING:
    from gossamer.migrate.channels import Channel

CAUGHT_UP: Final = 0x676F7373
"""Of the PING behind which the sender stops its machine next."""


class Incoming:
    """One transfer over `channel`."""

    def __init__(self, channel: Channel, *, postcopy: bool = False) -> None:
        self.channel, self.postcopy = channel, postcopy
        self.answers = False
        #: Memory may follow the machine: the sender has said so, and it was agreed on.
        self.arrival: Arrival | None = None
        self._arena: Arena | None = None

    def begin(self, arena: Arena) -> None:
        """It is for the machine with this memory."""
        self._arena = arena

    def command(self, command: Command) -> None:
        """Obey what the stream asks."""
        if command.number == Cmd.OPEN_RETURN_PATH:
            # In a file it is a trace of how the sender was set up: there is no one to answer.
            self.answers = self.channel.two_way
        elif command.number == Cmd.POSTCOPY_ADVISE and command.data and self.channel.two_way:
            self._advise(command)
        elif command.number == Cmd.POSTCOPY_RAM_DISCARD and self.arrival is not None:
            self.arrival.discard(command.data, command.offset)
        elif command.number == Cmd.RECV_BITMAP and self.arrival is not None:
            name = WireReader(command.data, command.offset).cstr()
            bitmap = self.arrival.received(name, command.offset)
            self._send(Message(Reply.RECV_BITMAP, 0, block=name, bitmap=bitmap))
        elif command.number == Cmd.POSTCOPY_RESUME and self.arrival is not None:
            self._send(Message(Reply.RESUME_ACK, 0, RESUMED))
        elif command.number == Cmd.PING and self.answers:
            cookie = int.from_bytes(command.data, "big")
            self._send(Message(Reply.PONG, 0, cookie))

    def _advise(self, command: Command) -> None:
        """The sender may switch over to postcopy."""
        if not self.postcopy:
            # Better now, while the guest is whole over there, than when it has switched over.
            raise StreamError(
                "the sender means to switch over to postcopy: switch its capability postcopy-ram "
                "off, or on here, too", f"command {command.name}", command.offset
            )  # fmt: skip
        sizes, page = (int.from_bytes(command.data[n : n + 8], "big") for n in (0, 8))
        if page != PAGE_SIZE or sizes != PAGE_SIZE:
            raise StreamError(
                f"memory in pages of {page} bytes and the host's of {sizes:#x}, expected "
                f"{PAGE_SIZE} for both", f"command {command.name}", command.offset
            )  # fmt: skip
        if self.arrival is not None or self._arena is None:
            raise StreamError("comes twice", f"command {command.name}", command.offset)
        self.arrival = Arrival(self._arena, self.channel)

    def accepted(self) -> None:
        """The machine is ours."""
        if self.answers:
            self._send(Message(Reply.SHUT, 0, 0))

    def refused(self) -> None:
        """It could not be loaded; a sender that is gone need not know."""
        if self.answers:
            try:
                self._send(Message(Reply.SHUT, 0, 1))
            except GossamerError:
                return

    def _send(self, message: Message) -> None:
        if self.arrival is not None:
            self.arrival.send(message)
        else:
            self.channel.write(encode(message))
