"""gossamer: a PowerPC Macintosh whose whole state can be cut, kept, moved and resumed.

    from gossamer import Vm

What is here comes from `gossamer.api`, when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gossamer.base import version

if TYPE_CHECKING:
    from gossamer.api import ExpectError, Fork, ForkError, GossamerError, Stopped, Vm

__version__ = version.VERSION
__all__ = ["ExpectError", "Fork", "ForkError", "GossamerError", "Stopped", "Vm", "__version__"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("gossamer.api"), name)
    raise AttributeError(f"module 'gossamer' has no attribute {name!r}")
