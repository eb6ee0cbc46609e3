"""A transfer that is under way: what the rest may see of it, and the way to end it."""

from __future__ import annotations

from gossamer.control.events import MigrationChanged, Observers
from gossamer.migrate.channels import Channel
from gossamer.migrate.precopy import Figures

#: Statuses of a transfer that is over.
OVER = ("none", "completed", "failed", "cancelled")


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

    @property
    def over(self) -> bool:
        return self.status in OVER

    def enter(self, status: str) -> None:
        """It has come to `status`."""
        if status != self.status:
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

    def fail(self, error: str) -> None:
        self.error = "" if self.cancelled else error
        self.enter("cancelled" if self.cancelled else "failed")

    def cancel(self) -> None:
        """End it as soon as its peer is waited for; the steps that do it see a HostError."""
        if not self.over:
            self.cancelled = True
            self.enter("cancelling")
            for channel in (self.channel, *self._further):
                if channel is not None:
                    channel.cancel()
