"""qcow2 images of versions 2 and 3 with QEMU's internal snapshots."""

from gossamer.block.qcow2.image import Qcow2Image
from gossamer.block.qcow2.snapshots import Snapshot
from gossamer.block.qcow2.vmstate import VmstateWriter

__all__ = ["Qcow2Image", "Snapshot", "VmstateWriter"]
