"""What takes long to load, loaded when it is first used.

    from gossamer.base.late import np

A start uses no numpy, and is a tenth of a second shorter without it.  What stands at the top of a
module (aliases of types) is written as text, so that it uses nothing.

Modules of gossamer's own that only a command or an option needs are loaded late, too, where the
start's modules meet them (docs/decisions/0016); checkers of types see an import like any other:

    if TYPE_CHECKING:
        from gossamer.control import sending
    else:
        sending = LateModule(lambda: import_module("gossamer.control.sending"))
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast


class Late:
    """A module's or an object's names, each kept here once it was asked for; `load` makes it."""

    def __init__(self, load: Callable[[], object]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        value = self.__dict__[name] = getattr(self._load(), name)
        return value


class LateModule(Late):
    """A module of gossamer's own: its names are asked for each time, as they may be replaced."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        return getattr(self._load(), name)


def pattern(text: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """A regular expression that is compiled when it is first used: 0.3 ms for a short one."""
    return cast("re.Pattern[str]", Late(lambda: re.compile(text, flags)))


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

__all__ = ["Late", "LateModule", "load_all", "np", "pattern", "zstandard"]
