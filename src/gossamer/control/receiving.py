"""Taking a machine over from another emulator through a channel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Final, cast

from gossamer.base.data import Data
from gossamer.base.errors import GossamerError, HostError, StreamError
from gossamer.base.units import NS_PER_S
from gossamer.control.loading import Arrived, read_machine, take_place
from gossamer.control.progress import Progress
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps, Wait, finish
from gossamer.control.tls_objects import TlsObjects
from gossamer.control.transfer import Transfer
from gossamer.core import host
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.migrate.channels import Channel, Limits, Listener
from gossamer.migrate.incoming import Incoming
from gossamer.migrate.multifd_in import MultifdIn, first_of

#: So long is a sender given to close its end.
_PART_NS: Final = 2 * NS_PER_S


class Received(Data):
    """A transfer from another emulator; `repaired` as of `control.repair`."""

    uri: str
    foreign: bool
    stream_bytes: int
    load_ns: int
    repaired: tuple[str, ...]

    @property
    def text(self) -> str:
        """For a person."""
        whose = "QEMU's" if self.foreign else "gossamer's"
        head = f"received {whose} stream of {self.stream_bytes} bytes from {self.uri}"
        return "\n".join([head, *(f"repaired: {line}" for line in self.repaired)])


def receiving(
    vm: Runner,
    uri: str | Listener,
    transfer: Transfer,
    *,
    mend: bool = True,
    limits: Limits | None = None,
    patient: bool = False,
    tls: TlsObjects | None = None,
    further: Callable[[], int] = lambda: 0,
    beside: Callable[[Steps[None]], object] = finish,
) -> Steps[Received]:
    """Wait for a machine and become it; GossamerError: `vm` is as it was.

    `patient`: wait for a sender as long as it takes.  `further` is asked when it comes: how many
    more connections it makes (capability multifd).  `beside` takes the steps that part from the
    sender: nothing waits between the arrival and what the caller then lets the machine do.
    """
    listener = Listener(uri, limits) if isinstance(uri, str) else uri
    credentials = None if tls is None else tls.chosen("server")
    channels: list[Channel] = []
    with contextlib.ExitStack() as open_ones:
        with listener:
            count = 1
            while len(channels) < count:
                if listener.fd is not None:
                    waits = patient and not channels
                    yield from _come(listener, None if waits else listener.limits.meet)
                if not channels and listener.fd is not None:
                    count += further()
                plain = listener.accept(more=len(channels) + 1 < count)
                open_ones.callback(plain.close)
                if tls is not None and credentials is not None:
                    wrapped = partial(tls.wrap, plain, credentials)
                    channels.append(open_ones.enter_context((yield InThread(wrapped))))
                else:
                    channels.append(plain)
        fresh = vm.unused() or build(vm.config)
        for channel in channels[1:]:
            transfer.also(channel)
        channel = channels[0]
        transfer.begin(channel)
        began = host.monotonic_ns()
        talk = Incoming(channel)
        try:
            with vm.progress.operation("receiving"):
                read = partial(_read, fresh, channels, vm.progress, talk)
                arrived: Arrived = yield InThread(read)
                lines = take_place(vm, arrived, mend=mend, talk=talk)
        except StreamError as fault:
            talk.refused()
            raise StreamError(f"{channel.name}: {fault}") from None
        except GossamerError:
            talk.refused()
            raise
        took = host.monotonic_ns() - began
        size = sum(channel.received for channel in channels)
        beside(_part(channel, open_ones.pop_all()))
        return Received(listener.place.text, arrived.loaded.foreign, size, took, tuple(lines))


def _part(channel: Channel, open_ones: contextlib.ExitStack) -> Steps[None]:
    """Read what the sender still has to say, and then close what is open.

    A TCP connection that is closed with bytes unread is reset, and our last word may be lost.
    """
    end = host.monotonic_ns() + _PART_NS
    with open_ones:
        while channel.two_way and not channel.drain():
            if not (yield Wait(read=(channel.fileno(),), until_ns=end)):
                return


def _come(listener: Listener, seconds: float | None) -> Steps[None]:
    """Wait for a sender; HostError when none comes in time."""
    end = None if seconds is None else host.monotonic_ns() + int(seconds * NS_PER_S)
    assert listener.fd is not None
    if not (yield Wait(read=(listener.fd,), until_ns=end)):
        raise HostError(f"{listener.place.text}: no sender came within {seconds:g} s")


def _read(fresh: Machine, channels: list[Channel], progress: Progress, talk: Incoming) -> Arrived:
    """Fill `fresh` from all connections."""
    if len(channels) == 1:
        return read_machine(fresh, cast(BinaryIO, channels[0]), progress, talk)
    source, others = first_of(channels)
    talk.channel = cast(Channel, source.file)
    multifd = MultifdIn(others)
    try:
        return read_machine(fresh, source, progress, talk, multifd)
    finally:
        multifd.close()
