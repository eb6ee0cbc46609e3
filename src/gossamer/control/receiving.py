"""Taking a machine over from another emulator through a channel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, cast

from gossamer.base.data import Data
from gossamer.base.errors import StreamError
from gossamer.control.loading import Arrived, read_machine, take_place
from gossamer.control.parting import come, part
from gossamer.control.postcopy_in import Arriving
from gossamer.control.progress import Progress
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps, finish
from gossamer.control.tls_objects import TlsObjects
from gossamer.control.transfer import FOLLOWS, Transfer
from gossamer.core import host
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.migrate.channels import Channel, Limits, Listener
from gossamer.migrate.incoming import Incoming
from gossamer.migrate.multifd_in import MultifdIn, first_of


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
    postcopy: Callable[[], bool] = lambda: False,
) -> Steps[Received]:
    """Wait for a machine and become it; GossamerError: `vm` is as it was.

    `patient`: wait for a sender as long as it takes.  `further` is asked when it comes: how many
    more connections it makes (capability multifd).  `beside` takes the steps that part from the
    sender: nothing waits between the arrival and what the caller then lets the machine do.  So
    is `postcopy`: whether the machine may come before its memory, which these steps then take in.
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
                    yield from come(listener, None if waits else listener.limits.meet)
                if not channels and listener.fd is not None:
                    count += further()
                plain = listener.accept(more=len(channels) + 1 < count)
                open_ones.callback(plain.close)
                if tls is not None and credentials is not None:
                    wrapped = partial(tls.wrap, plain, credentials)
                    channels.append(open_ones.enter_context((yield InThread(wrapped))))
                else:
                    channels.append(plain)
        fresh = vm.unused() or build(vm.config, arrives=True)
        for channel in channels[1:]:
            transfer.also(channel)
        channel = channels[0]
        transfer.begin(channel)
        began = host.monotonic_ns()
        talk = Incoming(channel, postcopy=postcopy())
        following: Arriving | None = None
        try:
            with vm.progress.operation("receiving"):
                read = partial(_read, fresh, channels, vm.progress, talk)
                arrived: Arrived = yield InThread(read)
                if arrived.rest is not None:
                    following = Arriving(vm, transfer, arrived.rest, talk, tls)
                    following.begin()
                lines = take_place(vm, arrived, mend=mend, talk=talk)
        except BaseException as fault:
            talk.refused()
            if following is not None:
                following.give_up(str(fault))
            if isinstance(fault, StreamError):
                raise StreamError(f"{channel.name}: {fault}") from None
            raise
        took = host.monotonic_ns() - began
        size = sum(channel.received for channel in channels)
        if following is None:
            beside(part(channel, open_ones.pop_all()))
        else:
            transfer.enter(FOLLOWS)
            beside(following.steps(open_ones.pop_all()))
        return Received(listener.place.text, arrived.loaded.foreign, size, took, tuple(lines))


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
