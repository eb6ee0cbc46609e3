"""A guest's flush without a stop of the guest's time.

Before an image is flushed a thread brings to the medium what is in the host's cache, which is what
takes long; the flush proper then finds little to do.  The drive is busy meanwhile and looks again
at times of the virtual clock, so that a save in between needs no more than the drive's own state:
the loaded drive flushes anew.  Only where virtual time follows the host's: with ``-icount`` a flush
is one step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer.block.image import Image

QUICK_S: Final = 0.0002
"""So long a flush may take at once."""


def begin(image: Image) -> Callable[[], bool]:
    """Start to bring `image` to its medium; what is returned says whether that is over."""
    call = image.sync_ahead()
    if call is None:
        return lambda: True
    thread = threading.Thread(target=call, name="flush", daemon=True)
    thread.start()
    thread.join(QUICK_S)
    return lambda: not thread.is_alive()
