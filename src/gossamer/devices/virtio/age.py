"""What virtio devices have of what came with versions of QEMU: facts of `info qtree` of each."""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data


class Age(Data):
    """By what each brought; as it stands here all of it is there: QEMU 7.2's devices."""

    #: A driver may reset a queue alone.
    resets_queues: bool = True
    #: Of disks and adapters, but for what has a size of its own.
    queue_size: int = 256
    #: A device that is no bus master any more does nothing until its driver resets it.
    stops: bool = True
    #: `started` is kept.
    starts: bool = True
    #: Disks can throw sectors away and write zeros.
    discards: bool = True
    #: A page of notifications for each queue, in place of four bytes.
    page_for_each: bool = False
    #: There is the modern interface beside the legacy one.
    modern: bool = True
    #: Kinds of devices (VIRTIO 1.2, 5) that do not offer to take requests in any layout.
    without_layouts: frozenset[int] = frozenset()
    #: A stream has what the modern interface was written, even where there is none.
    sends_extra: bool = True
    #: Disks offer SCSI commands, and take none.
    offers_scsi: bool = False


NEWEST: Final = Age()
