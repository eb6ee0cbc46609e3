"""What virtio devices with disks have alike: a failure of the host may stop a request.

The ring keeps it: it is done again when the machine goes on.
"""

from __future__ import annotations

from typing import ClassVar

from gossamer.devices.virtio.core import Core
from gossamer.devices.virtio.pci import VirtioPci
from gossamer.devices.virtio.ring import Request, VirtQueue
from gossamer.state.declare import boolean, child


class StorageCore(Core):
    """And what only a device with disks has; a class of such devices says where it is sent."""

    #: A failure of the host stopped a request: it is done again when the machine goes on.
    stalled: bool = boolean()


class VirtioStorage(VirtioPci):
    """A device whose queues from FIRST_REQUESTS on have requests for disks."""

    FIRST_REQUESTS: ClassVar[int] = 0

    core: StorageCore = child(StorageCore)

    @property
    def stalled(self) -> bool:
        """Whether a failure of the host has stopped a request."""
        return self.core.stalled

    def device_reset(self) -> None:
        self.core.stalled = False

    def retry(self) -> None:
        """The machine goes on after an error stopped it: do again what failed."""
        if self.core.stalled:
            self.core.stalled = False
            for queue in self.queues[self.FIRST_REQUESTS :]:
                self.serve(queue)

    def requested(self, queue: VirtQueue) -> None:
        """Such a queue was notified."""
        if not self.core.stalled:
            self.work_off(queue, self.request)

    def request(self, request: Request) -> int | None:
        """Do one; the bytes written, None when it is to be done again."""
        raise NotImplementedError
