"""Disk images: raw and qcow2, with state that can be saved and put back.

Reads and writes files of the host; see `docs/block.md`.
"""

from gossamer.block.errors import ImageError
from gossamer.block.image import Image
from gossamer.block.open import create, open_image
from gossamer.block.overlay import Capture, OverlayImage
from gossamer.block.qcow2 import Qcow2Image, Snapshot, VmstateWriter

__all__ = [
    "Capture",
    "Image",
    "ImageError",
    "OverlayImage",
    "Qcow2Image",
    "Snapshot",
    "VmstateWriter",
    "create",
    "open_image",
]
