"""The end of a transfer: disks and machine go to the receiver, and its word is waited for.

While the guest stands still a hand-over between threads costs more than what is to be done: as
long as the receiver is quick, all of it is done in the thread of the loop; else a thread goes on.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias

from gossamer.base.errors import GossamerError
from gossamer.base.units import NS_PER_S
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps
from gossamer.core import host
from gossamer.migrate.mapped_out import MappedOut
from gossamer.migrate.multifd_out import MultifdOut
from gossamer.migrate.outgoing import ARRIVED, Outgoing

QUICK_NS: Final = NS_PER_S // 50
"""So long the loop serves nothing else."""

_Waits: TypeAlias = Generator[bool, None, int]
"""Says each time before it may have to wait: True for the receiver's next word."""


class Switchover:
    """Of the machine of `vm` over `out`."""

    def __init__(self, vm: Runner, out: Outgoing, multifd: MultifdOut | MappedOut | None) -> None:
        self._vm, self._out, self._multifd = vm, out, multifd
        #: The receiver may have the machine, and has not said so.
        self.doubtful = False

    def steps(self, devices: bytes, end: bytes) -> Steps[int]:
        """Hand over disks and machine, and wait for the receiver; how many bytes in all.

        `devices`: the rest of memory and all sections, `end` what makes them a machine.

        A receiver that has not every section cannot run the machine: until it has said so, all
        that goes wrong leaves the machine here.  From the end on only its last word counts.
        """
        waits = self._handing_over(devices, end)
        if self.is_quick and not self._vm.disks.writable:
            until = host.monotonic_ns() + QUICK_NS
            self._out.channel.be_eager(QUICK_NS)
            try:
                while next(waits) and self._is_heard(waits, until):
                    pass
            except StopIteration as over:
                return int(over.value)
        sent: int = yield InThread(lambda: _finished(waits))
        return sent

    @property
    def is_quick(self) -> bool:
        """Whether it may be done in the loop's thread."""
        return self._out.answers and self._out.channel.plain and self._multifd is None

    def _is_heard(self, waits: _Waits, until: int) -> bool:
        """Whether its word comes until then; what goes wrong is raised where it waits."""
        try:
            return self._out.has_word(max(0, until - host.monotonic_ns()) / NS_PER_S)
        except GossamerError as fault:
            return waits.throw(fault)

    def _handing_over(self, devices: bytes, end: bytes) -> _Waits:
        vm, out = self._vm, self._out
        if self._multifd is not None:
            self._multifd.release()
        yield from self._send(devices)
        with vm.disks.handed_over():
            if out.answers:
                yield True
                while not out.hears(ARRIVED):
                    yield True
            self.doubtful = out.answers
            yield from self._send(end)
            sent = out.channel.sent + (0 if self._multifd is None else self._multifd.sent)
            vm.progress.phase("waiting for the receiver")
            if out.answers:
                yield True
                while not out.hears_end():
                    yield True
            else:
                out.finish()
        self.doubtful = False
        return sent

    def _send(self, data: bytes) -> Generator[bool, None, None]:
        if left := self._out.put(memoryview(data)):
            yield False
            self._out.write(left)


def _finished(waits: _Waits) -> int:
    """The same steps to their end, waiting wherever they have to."""
    while True:
        try:
            next(waits)
        except StopIteration as over:
            return int(over.value)
