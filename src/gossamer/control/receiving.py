"""Taking a machine over from another emulator through a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, cast

from gossamer.base.errors import GossamerError, HostError, StreamError
from gossamer.base.units import NS_PER_S
from gossamer.control.loading import Arrived, read_machine, take_place
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps, Wait
from gossamer.control.tls_objects import TlsObjects
from gossamer.control.transfer import Transfer
from gossamer.core import host
from gossamer.machines.build import build
from gossamer.migrate.channels import Limits, Listener
from gossamer.migrate.incoming import Incoming


@dataclass(frozen=True, slots=True)
class Received:
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
) -> Steps[Received]:
    """Wait for a machine and become it; GossamerError: `vm` is as it was.

    `patient`: wait for a sender as long as it takes.
    """
    listener = Listener(uri, limits) if isinstance(uri, str) else uri
    credentials = None if tls is None else tls.chosen("server")
    with listener:
        if listener.fd is not None:
            meet = listener.limits.meet
            end = None if patient else host.monotonic_ns() + int(meet * NS_PER_S)
            if not (yield Wait(read=(listener.fd,), until_ns=end)):
                raise HostError(f"{listener.place.text}: nobody came within {meet:g} s")
        channel = listener.accept()
    if tls is not None and credentials is not None:
        plain, made, with_tls = channel, credentials, tls
        channel = yield InThread(lambda: with_tls.wrap(plain, made))
    fresh = vm.unused() or build(vm.config)
    with channel, vm.progress.operation("receiving"):
        transfer.begin(channel)
        began = host.monotonic_ns()
        talk = Incoming(channel)
        try:
            arrived: Arrived = yield InThread(
                lambda: read_machine(fresh, cast(BinaryIO, channel), vm.progress, talk)
            )
            lines = take_place(vm, arrived, mend=mend, talk=talk)
        except StreamError as fault:
            talk.refused()
            raise StreamError(f"{channel.name}: {fault}") from None
        except GossamerError:
            talk.refused()
            raise
        took = host.monotonic_ns() - began
        return Received(
            listener.place.text, arrived.loaded.foreign, channel.received, took, tuple(lines)
        )
