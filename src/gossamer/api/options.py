"""Keyword options of `Vm`, which are those of the command line, checked by its parser.

``ram="256M"`` is ``-m 256M``; any other keyword is the option of that name, with dashes for
underscores: True for one without a value, a list for one that may be repeated, a dict for
``key=value,…``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import Config
from gossamer.machines.option_table import OPTIONS
from gossamer.machines.options import parse

#: Keywords that are called otherwise than their option.
_SPELLED: Final = {"ram": "-m", "drives": "-drive", "devices": "-device"}
#: Options of the process and of its other fronts; the program has the consoles here.
_NOT_HERE: Final = frozenset(
    {"-serial", "-monitor", "-mon", "-qmp", "-qmp-pretty", "-chardev", "-daemonize", "-pidfile"}
    | {"-gdb", "-s", "-S", "-qtest", "-qtest-log", "-echr", "-h", "-help", "-version"}
    | {"-incoming", "-loadvm", "-M", "-machine", "-dump-vmstate"}
)

Value = str | int | bool | None | PathLike[str] | Mapping[str, object] | Sequence[object]


def keywords() -> list[str]:
    """Every keyword that `Vm` takes, in order."""
    known = {name.lstrip("-").replace("-", "_") for name in OPTIONS if name not in _NOT_HERE}
    return sorted((known - {"m"}) | set(_SPELLED))


def config(machine: str, given: Mapping[str, Value]) -> Config:
    """A checked `Config`; ConfigError (one line) for anything wrong."""
    words = ["-M", machine, "-monitor", "none", "-serial", "null"]
    for keyword, value in given.items():
        words += _words(keyword, value)
    return parse(words)


def _words(keyword: str, value: Value) -> list[str]:
    if value is None:
        return []
    known = keywords()
    if keyword not in known:
        near = difflib.get_close_matches(keyword, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"Vm: unknown keyword {keyword!r}{hint}")
    name = _SPELLED.get(keyword) or next(
        n for n in OPTIONS if n.lstrip("-").replace("-", "_") == keyword
    )
    if not OPTIONS[name].value:
        if not isinstance(value, bool):
            raise ConfigError(f"Vm: {keyword}: expected True or False, got {value!r}")
        return [name] if value else []
    if keyword == "icount" and isinstance(value, int):
        return [name, f"{value},sleep=off"]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [word for one in value for word in (name, _text(keyword, one))]
    return [name, _text(keyword, value)]


def _text(keyword: str, value: object) -> str:
    """One value in the option's spelling."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, PathLike):
        return str(fspath(value))
    if isinstance(value, Mapping):
        # The key without a value comes first: {"driver": "usb-kbd"} or {"": "usb-kbd"}.
        first = [str(value[""])] if "" in value else []
        rest = [f"{k}={_text(keyword, v).replace(',', ',,')}" for k, v in value.items() if k]
        return ",".join(first + rest)
    raise ConfigError(f"Vm: {keyword}: expected text, a number, a path or a dict, got {value!r}")
