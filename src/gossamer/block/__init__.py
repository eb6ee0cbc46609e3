"""Disk images: raw and qcow2, with state that can be saved and put back.

Reads and writes files of the host; see `docs/block.md`.
"""

from gossamer.block.capture import Capture, Going
from gossamer.block.errors import ImageError
from gossamer.block.folder import FolderDisc
from gossamer.block.image import Image
from gossamer.block.open import create, create_over, open_image
from gossamer.block.overlay import OverlayImage
from gossamer.block.parting import part_snapshot
from gossamer.block.qcow2 import Qcow2Image, Snapshot, VmstateWriter
from gossamer.block.raw import RawDisk
from gossamer.block.standby import StandbyImage, stand_by

__all__ = [
    "Capture",
    "FolderDisc",
    "Going",
    "Image",
    "ImageError",
    "OverlayImage",
    "Qcow2Image",
    "RawDisk",
    "Snapshot",
    "StandbyImage",
    "VmstateWriter",
    "create",
    "create_over",
    "open_image",
    "part_snapshot",
    "stand_by",
]
