"""How a receiver meets its sender, and how they part."""

from __future__ import annotations

import contextlib
from typing import Final

from gossamer.base.errors import HostError
from gossamer.base.units import NS_PER_S
from gossamer.control.steps import Steps, Wait
from gossamer.core import host
from gossamer.migrate.channels import Channel, Listener

#: So long is a sender given to close its end.
_PART_NS: Final = 2 * NS_PER_S


def part(channel: Channel, open_ones: contextlib.ExitStack) -> Steps[None]:
    """Read what the sender still has to say, and then close what is open.

    A TCP connection that is closed with bytes unread is reset, and our last word may be lost.
    """
    end = host.monotonic_ns() + _PART_NS
    with open_ones:
        while channel.two_way and not channel.drain():
            if not (yield Wait(read=(channel.fileno(),), until_ns=end)):
                return


def come(listener: Listener, seconds: float | None) -> Steps[None]:
    """Wait for a sender; HostError when none comes in time."""
    end = None if seconds is None else host.monotonic_ns() + int(seconds * NS_PER_S)
    assert listener.fd is not None
    if not (yield Wait(read=(listener.fd,), until_ns=end)):
        raise HostError(f"{listener.place.text}: no sender came within {seconds:g} s")
