"""Taking a machine over from another emulator through a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, cast

from gossamer.base.errors import GossamerError, StreamError
from gossamer.control.loading import take_over
from gossamer.control.runner import Runner
from gossamer.core import host
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


def receive(
    vm: Runner, uri: str | Listener, *, mend: bool = True, limits: Limits | None = None
) -> Received:
    """Wait for a machine and become it; GossamerError: `vm` is as it was."""
    listener = Listener(uri, limits) if isinstance(uri, str) else uri
    with listener, listener.accept() as channel, vm.progress.operation("receiving"):
        began = host.monotonic_ns()
        talk = Incoming(channel)
        try:
            foreign, lines = take_over(vm, cast(BinaryIO, channel), mend=mend, talk=talk)
        except StreamError as fault:
            talk.refused()
            raise StreamError(f"{channel.name}: {fault}") from None
        except GossamerError:
            talk.refused()
            raise
        took = host.monotonic_ns() - began
        return Received(listener.place.text, foreign, channel.received, took, tuple(lines))
