"""Libraries that take long to load, loaded when they are first used.

    from gossamer.base.late import np

A start uses neither: without numpy it is a tenth of a second shorter.  What stands at the top of a
module (aliases of types) is written as text, so that it uses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Late:
    """A module's names, each kept here once it was asked for; `load` imports the module."""

    def __init__(self, load: Callable[[], ModuleType]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        value = self.__dict__[name] = getattr(self._load(), name)
        return value


def load_all() -> None:
    """Load them now: they will soon be used."""
    import_module("numpy")
    import_module("zstandard")


if TYPE_CHECKING:
    import numpy as np
    import zstandard
else:
    np = Late(lambda: import_module("numpy"))
    zstandard = Late(lambda: import_module("zstandard"))

__all__ = ["Late", "load_all", "np", "zstandard"]
