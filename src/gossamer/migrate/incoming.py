"""The receiver's end of a transfer: answers to the sender's commands, and the last word."""

from __future__ import annotations

from gossamer.base.errors import GossamerError, StreamError
from gossamer.migrate.channels import Channel
from gossamer.migrate.framing import Cmd, Command
from gossamer.migrate.returnpath import Message, Reply, encode


class Incoming:
    """One transfer over `channel`."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.answers = False

    def command(self, command: Command) -> None:
        """Obey what the stream asks."""
        if command.number == Cmd.OPEN_RETURN_PATH:
            # In a file it is a trace of how the sender was set up: there is no one to answer.
            self.answers = self.channel.two_way
        elif command.number == Cmd.POSTCOPY_ADVISE and command.data and self.channel.two_way:
            # Better now, while the guest is whole over there, than when it has switched over.
            raise StreamError(
                "the sender means to switch over to postcopy, which is not spoken here: switch its "
                "capability postcopy-ram off", f"command {command.name}", command.offset
            )  # fmt: skip
        elif command.number == Cmd.PING and self.answers:
            cookie = int.from_bytes(command.data, "big")
            self._send(Message(Reply.PONG, 0, cookie))

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
        self.channel.write(encode(message))
