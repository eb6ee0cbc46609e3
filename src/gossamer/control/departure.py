"""One transfer on its way out: what its rounds and its end are made with."""

from __future__ import annotations

from gossamer.base.errors import ConfigError, HostError
from gossamer.control.joined import Joined
from gossamer.control.runner import Runner
from gossamer.control.stream_out import StreamOut
from gossamer.control.switchover import Switchover
from gossamer.control.transfer import Transfer
from gossamer.core import host
from gossamer.machines.machine import Machine
from gossamer.migrate.channels import Channel
from gossamer.migrate.dirty import DirtyPages, Pages
from gossamer.migrate.mapped_out import MappedOut
from gossamer.migrate.multifd_out import MultifdOut
from gossamer.migrate.outgoing import Outgoing
from gossamer.migrate.precopy import Parameters
from gossamer.migrate.releases import Release

NS_PER_MS = 1_000_000


class Departure:
    """The machine of `vm` goes to a receiver of the kind `to` over `out`."""

    def __init__(self, vm: Runner, transfer: Transfer, out: Outgoing, to: Release) -> None:
        self.vm, self.transfer, self.out, self.to = vm, transfer, out, to
        self.machine: Machine = vm.machine
        self.joined = Joined(out)
        self.stream = StreamOut(self.machine, self.joined, ours=to.ours)
        self.stream.ram.grouped = True
        self.dirty = DirtyPages(self.machine.arena, self.stream.blocks, self.machine.engine.flush)
        self.began = host.monotonic_ns()
        self.elsewhere: MultifdOut | MappedOut | None = None
        self.switchover: Switchover | None = None

    def spread(self, channels: list[Channel], parameters: Parameters) -> None:
        """Let pages go over further connections."""
        level, method = parameters.multifd_level, parameters.multifd_compression
        multifd = self.elsewhere = self.stream.ram.elsewhere = MultifdOut(channels, method, level)
        multifd.flushes = self.to.switchover

    def map(self, channel: Channel) -> None:
        """Let pages go to fixed places of the file."""
        self.elsewhere = self.stream.mapped = self.stream.ram.elsewhere = MappedOut(channel)
        self.stream.flush = self.joined.flush

    @property
    def sent(self) -> int:
        """Bytes on all connections."""
        return self.out.channel.sent + (0 if self.elsewhere is None else self.elsewhere.sent)

    def part(self, pages: Pages) -> int:
        """Send some pages; how many bytes.

        One that the guest writes to meanwhile is dirty again, and sent again.
        """
        before = self.sent
        self.stream.part(pages, self.dirty.zero)
        self.joined.flush()
        return self.sent - before

    def check(self) -> None:
        """Raise what keeps the transfer from going on."""
        if self.vm.machine is not self.machine:
            raise ConfigError("another machine was loaded while this one was being sent")
        if self.transfer.cancelled:
            raise HostError(f"{self.out.channel.name}: cancelled")

    def update_figures(self, now: int) -> None:
        """As of `now` (ns of the host)."""
        figures = self.transfer.figures
        figures.total_time = (now - self.began) // NS_PER_MS
        figures.duplicate, figures.normal = self.stream.ram.zeros, self.stream.ram.normals
