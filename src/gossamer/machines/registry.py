"""The machines by name.  A new machine is a file with its `KIND`, and a line here.

A machine's file is imported when the machine is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Final

from gossamer.machines.config import unknown
from gossamer.machines.kind import MachineKind
from gossamer.machines.machine import Machine

Kind = MachineKind[Machine]

MACHINES: Final[dict[str, Callable[[], ModuleType]]] = {
    "g3beige": lambda: import_module("gossamer.machines.g3beige"),
    "mac99": lambda: import_module("gossamer.machines.mac99"),
    "ref405ep": lambda: import_module("gossamer.machines.ref405ep"),
    "pseries": lambda: import_module("gossamer.machines.pseries"),
    "bare": lambda: import_module("gossamer.machines.bare"),
    "none": lambda: import_module("gossamer.machines.none"),
}


def find(name: str) -> Kind:
    """The machine called `name`; ConfigError lists what there is."""
    if name not in MACHINES:
        raise unknown("machine", name, MACHINES)
    kind = MACHINES[name]().KIND
    assert isinstance(kind, MachineKind), name
    return kind


def find_version(name: str) -> tuple[Kind, str]:
    """A machine and its version: ``g3beige`` is the newest, ``g3beige-1.0`` that one."""
    if name in MACHINES:
        kind = find(name)
        return kind, kind.newest
    machine, _, version = name.partition("-")
    if machine in MACHINES and version[:1].isdigit():
        kind = find(machine)
        return kind, kind.version(version).name
    raise unknown("machine", name, MACHINES)


def kinds() -> Iterator[Kind]:
    """Every machine."""
    return map(find, MACHINES)
