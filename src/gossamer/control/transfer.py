"""A transfer that is under way: what the rest may see of it, and the way to end it."""

from __future__ import annotations

from gossamer.control.events import MigrationChanged, Observers
from gossamer.migrate.channels import Channel, Listener
from gossamer.migrate.precopy import Figures

#: Statuses of a transfer that is over.
OVER = ("none", "completed", "failed", "cancelled")
#: Those of one whose machine has switched over before its memory.
FOLLOWS, PAUSED, RECOVERS = "postcopy-active", "postcopy-paused", "postcopy-recover"


class Transfer:
    """One transfer, in or out; `status` in QEMU's words: setup, active, completed and more.

    `error`: why it failed, one line.
    """

    def __init__(self, events: Observers) -> None:
        self._events = events
        self.status = "none"
        self.error = ""
        self.cancelled = False
        self.channel: Channel | None = None
        self._further: list[Channel] = []
        self.figures = Figures()
        #: What the receiver will not know, as far as that can be said before the machine stops.
        self.expected_losses: tuple[str, ...] = ()
        self.may_switch = True
        #: The machine is to switch over now, and its memory to follow (postcopy).
        self.wants_postcopy = False
        #: Where a sender or a receiver whose connection broke has another.
        self.another: Channel | Listener | None = None
        #: Where a sender is waited for, as a URI with the port that the host chose.
        self.listens_at = ""

    @property
    def over(self) -> bool:
        return self.status in OVER

    def enter(self, status: str) -> None:
        """It has come to `status`."""
        if status != self.status:
            if status == FOLLOWS:
                self.error = ""  # whatever broke has been mended
            self.status = status
            self._events.report(MigrationChanged(status))

    def begin(self, channel: Channel) -> None:
        """Bytes flow from here on."""
        self.channel = channel
        if self.cancelled:
            channel.cancel()
        self.enter("active")

    def also(self, channel: Channel) -> None:
        """Bytes flow here, too (multifd)."""
        self._further.append(channel)
        if self.cancelled:
            channel.cancel()

    @property
    def follows(self) -> bool:
        """The machine runs at the receiver, and its memory is at both ends."""
        return self.status.startswith("postcopy-")

    def pause(self, error: str) -> None:
        """The connection is broken while memory follows: it waits for another."""
        self.error = error
        self.enter(PAUSED)

    def cut(self) -> None:
        """Break the connection; where memory follows, the transfer waits for another."""
        for channel in (self.channel, *self._further):
            if channel is not None:
                channel.cancel()

    def fail(self, error: str) -> None:
        cancelled = self.cancelled and not self.follows
        self.error = "" if cancelled else error
        self.enter("cancelled" if cancelled else "failed")

    def cancel(self) -> None:
        """End it as soon as its peer is waited for; the steps that do it see a HostError."""
        if not self.over:
            self.cancelled = True
            self.enter("cancelling")
            self.cut()
