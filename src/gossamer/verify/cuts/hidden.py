"""Values that could be state and are not declared: found by following references.

From what a chip was wired to the walk goes through containers (lists, dicts, sets, queues, arrays),
through what functions hold (closures, defaults, arguments of partials, objects of methods), through
plain helper objects of the lower floors, and through the variables of their modules.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, Final

import numpy as np
import xxhash

from gossamer.core.table import Table
from gossamer.state.declare import Stateful

DEEPEST: Final = 8
#: Modules whose plain helper objects are looked into, and whose variables are.
HELPERS: Final = (
    "gossamer.devices.",
    "gossamer.cpu.",
    "gossamer.machines.",
    "gossamer.core.",
)
#: What changes in objects of the core, and why that is no state: (class, attribute).
KNOWN: Final = {
    ("Clock", "_now"): "carried by the section timer",
    ("Clock", "_heap"): "the alarms, which are declared",
    ("Clock", "_sequence"): "ties are decided by path",
    ("Clock", "alarms"): "the alarms, which are declared",
    ("Alarm", "when"): "declared by its owner",
    ("Alarm", "due"): "valid while it fires",
    ("Alarm", "serial"): "distinguishes an entry of the heap from an older one",
    ("IrqLine", "level"): "rebuilt by resume, and compared as derived",
    ("Trace", "counts"): "counters for the user",
    ("AddressMap", "pages"): "rebuilt from the map, which is compared as derived",
    ("AddressMap", "page_table"): "what `pages` shows",
    ("AddressMap", "_mappings"): "compared as derived",
    ("AddressMap", "_bases"): "made from the map",
    ("AddressMap", "_flat"): "made from the map",
    **{
        ("AddressMap", name): "remembers what the map says"
        for name in ("_leaves", "_readers", "_writers")
    },
    ("Arena", "bytes"): "RAM",
    ("Arena", "view"): "RAM",
    ("Arena", "map"): "RAM",
    **{
        ("Arena", name): "which pages a hash or a transfer still has to look at"
        for name in ("dirty", "dirty_table", "dirty_view")
    },
    **{
        ("Arena", name): "which pages have decoded code"
        for name in ("code", "code_table", "code_view")
    },
    **{
        ("AddressMap", name): "the engine's of the CPU whose turn it is, which is declared"
        for name in ("changed", "code_written", "hold")
    },
    ("HashTable", "table"): "carried as the section spapr/htab",
    ("HashTable", "dirty"): "which groups a transfer still has to send",
    **{
        ("VirtQueue", name): "shown by the view vq, or vqs, of the device's core"
        for name in (
            *("avail", "desc", "enabled", "last", "setup_avail", "setup_desc", "setup_size"),
            *("setup_used", "size", "used", "vector"),
        )
    },
    ("Clock", "horizon"): "how far the run under way may go: set anew by each",
    ("Clock", "moves"): "whether an access moved an alarm",
    ("Clock", "fired"): "whether an alarm fired between two runs",
    ("Trace", "total"): "whether an access noted an event",
    **{
        ("Faces", name): "what accesses do, learned from the chips"
        for name in (
            *("current", "carried", "warm", "_warming"),
            *("_numbers", "_same", "_faces", "_first", "_known", "_lone", "_leading"),
        )
    },
}


#: Variables of modules that are no state: (module, name), and why.
CACHES: Final = {
    ("gossamer.machines.translate", "_loaded"): "what translation has loaded in this process",
}

#: Tables of the declarations themselves, with views that are made at the first save.
DECLARATIONS: Final = ("own_declared", "declared", "own_subsections", "subsections", "layouts")


class Walk:
    """Collects values by path; an object met again is not entered again."""

    def __init__(self) -> None:
        self.found: dict[str, object] = {}
        self._seen: set[int] = set()
        self._kept: list[object] = []  # so that no id is used twice meanwhile

    def add(self, path: str, value: Any, depth: int = DEEPEST) -> None:  # noqa: ANN401
        """Note `value`, and what is inside it, under `path`."""
        if value is None or isinstance(value, bool | int | float | str | bytes):
            self.found[path] = value
            return
        if isinstance(value, bytearray):
            self.found[path] = bytes(value)
            return
        if isinstance(value, Table):
            value = value.array
        if isinstance(value, np.ndarray):
            self.found[path] = xxhash.xxh3_64_intdigest(np.ascontiguousarray(value).tobytes())
            return
        if isinstance(value, set | frozenset):
            self.found[path] = tuple(sorted(map(_name, value)))
            return
        self.found[path] = self._header(value)
        if depth > 0 and id(value) not in self._seen:
            self._seen.add(id(value))
            self._kept.append(value)
            for inside, one in _parts(value):
                self.add(path + inside, one, depth - 1)

    def _header(self, value: object) -> object:
        if isinstance(value, list | tuple | deque):
            return len(value)
        if isinstance(value, dict):
            return tuple(map(_name, value))
        if isinstance(value, MethodType | BuiltinMethodType):
            return f"method {value.__qualname__}"  # made anew by each look
        return f"object {id(value):#x}"


def _name(value: object) -> str:
    """A key or an element in words that stay the same as long as it does."""
    if isinstance(value, int | str | bytes | tuple | None):
        return repr(value)
    return f"{type(value).__name__} {id(value):#x}"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """What is inside a value, each with what its path gets."""
    if isinstance(value, list | tuple | deque):
        yield from ((f"[{n}]", one) for n, one in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"[{_name(key)}]", one) for key, one in value.items())
    elif isinstance(value, partial):
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    elif isinstance(value, MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, FunctionType):
        yield from _held(value)
    elif _is_helper(value):
        kind = type(value).__name__
        for name in names_of(value):
            if hasattr(value, name) and (kind, name) not in KNOWN:
                yield f".{name}", getattr(value, name)


def _held(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function keeps between calls."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"({name})", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield "(defaults)", function.__defaults__
    if function.__dict__:
        yield "(attributes)", function.__dict__


def _is_helper(value: object) -> bool:
    kind = type(value)
    return kind.__module__.startswith(HELPERS) and not isinstance(value, Stateful | type)


def names_of(value: object) -> list[str]:
    """The names of an object's attributes, in its dictionary and in slots."""
    names = list(vars(value)) if hasattr(value, "__dict__") else []
    for kind in type(value).__mro__:
        names += [n for n in getattr(kind, "__slots__", ()) if n not in names]
    return names


def module_variables(walk: Walk) -> None:
    """Everything that the modules of the lower floors keep in variables, and their classes."""
    for module_name, module in sorted(sys.modules.items()):
        if not module_name.startswith(HELPERS):
            continue
        for name, value in list(vars(module).items()):
            if (module_name, name) in CACHES:
                continue
            if name.startswith("__") or (callable(value) and not _is_own(value, module_name)):
                continue
            if isinstance(value, type):
                _class_variables(walk, f"{module_name}.{name}", value, module_name)
            elif isinstance(value, FunctionType):
                for inside, one in _held(value):
                    walk.add(f"{module_name}.{name}{inside}", one, 3)
            elif isinstance(value, list | dict | set | deque | bytearray | np.ndarray | int | str):
                walk.add(f"{module_name}.{name}", value, 3)


def _is_own(value: Callable[..., object] | type, module_name: str) -> bool:
    return getattr(value, "__module__", "") == module_name


def _class_variables(walk: Walk, path: str, kind: type, module_name: str) -> None:
    if kind.__module__ != module_name:
        return
    for name, value in list(vars(kind).items()):
        plain = isinstance(value, list | dict | set | deque | bytearray | np.ndarray | int)
        if plain and not name.startswith("__") and name not in DECLARATIONS:
            walk.add(f"{path}.{name}", value, 2)
