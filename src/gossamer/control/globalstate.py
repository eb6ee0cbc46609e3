"""The `globalstate` section: the run state that the receiver takes on.  Source: facts 4, 6."""

from __future__ import annotations

from typing import Final

from gossamer.migrate.releases import SUSPENDED
from gossamer.state.codec import U8, U32, Buffer, Unused
from gossamer.state.declare import Stateful, derived
from gossamer.state.layout import Constant, View

#: QEMU's names of run states (facts section 4); an unknown name is an error.
RUN_STATES: Final = (
    "debug",
    "inmigrate",
    "internal-error",
    "io-error",
    "paused",
    "postmigrate",
    "prelaunch",
    "finish-migrate",
    "restore-vm",
    "running",
    "save-vm",
    "shutdown",
    "suspended",
    "watchdog",
    "guest-panicked",
    "colo",
    "preconfig",
)


def _get(state: GlobalState) -> bytes:
    return state.name.encode().ljust(100, b"\0")


def _put(state: GlobalState, raw: bytes) -> None:
    name = bytes(raw).split(b"\0")[0].decode("ascii", "replace")
    if name not in RUN_STATES:
        raise ValueError(f"unknown run state {name!r}")
    state.name = name
    # QEMU 9 and later: "has_vm_was_suspended"; before, these bytes are never used.
    state.is_modern = len(raw) > 32 and raw[32] == 1


class GlobalState(Stateful):
    """`name` is the run state at the moment of saving."""

    vmsd = "globalstate"
    version = 1
    minimum = 1
    layouts = {
        "": [
            View("size", U32, lambda s: len(s.name) + 1, lambda s, value: None),
            View("runstate", Buffer(100), _get, _put),
        ],
        SUSPENDED: [
            View("size", U32, lambda s: len(s.name) + 1, lambda s, value: None),
            View("runstate", Buffer(32), lambda s: _get(s)[:32], _put),
            View("has_vm_was_suspended", U8, lambda s: 1, lambda s, value: None),
            View("vm_was_suspended", U8, lambda s: 0, lambda s, value: None),
            Constant("unused", Unused(66)),
        ],
    }
    name: str = derived()
    #: The section read had the form of QEMU 9 and later.
    is_modern: bool = derived()

    def __init__(self, name: str = "running") -> None:
        super().__init__()
        self.name, self.is_modern = name, False
