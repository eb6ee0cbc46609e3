"""A machine's devices as bytes, and those bytes back into the same machine.

The bytes are the sections that a stream would have, so nothing is kept here that a save forgets.
A load is meant for a fresh machine: what a section may leave out is set to its reset value first,
and none of its alarms outlives that.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from typing import Any

from gossamer.base.late import np
from gossamer.base.wire import WireReader
from gossamer.control.stream_out import body_of
from gossamer.core.clock import Alarm
from gossamer.cpu.block import RegisterBlock
from gossamer.cpu.cpu import Cpu
from gossamer.machines.machine import Machine
from gossamer.state.declare import ChildState, State, Stateful
from gossamer.state.transfer import load

#: The body of each section, packed, in their order.
Bodies = tuple[bytes, ...]
Alarms = dict[str, list[Alarm]]


def freeze(m: Machine) -> Bodies:
    """What `thaw` needs."""
    return tuple(zlib.compress(body_of(part.device), 1) for part in m.sections)


def thaw(m: Machine, bodies: Bodies, known: Known | None = None) -> None:
    """Take on what `freeze` gave; memory is the caller's.

    A device that is in that state already is left alone: it would give the same body now, or
    (quicker) it has the values that are `known` of then.
    """
    alarms = _alarms(m)
    for n, (part, body) in enumerate(zip(m.sections, bodies, strict=True)):
        device = part.device
        if known is not None and known.holds(n):
            continue
        if body_of(device) == zlib.decompress(body):  # packed, one may have several forms
            continue
        for alarm in alarms.get(part.path, ()):
            alarm.cancel()
        _clear(device)
        reader = WireReader(zlib.decompress(body))
        load(device, reader, device.version)
        assert not reader.left, part.title
    m.processor.resumed()
    m.resume()


def _alarms(m: Machine) -> Alarms:
    """The alarms of each part, by its path."""
    found: Alarms = {}
    for alarm in m.clock.alarms:
        found.setdefault(alarm.key[0], []).append(alarm)
    return found


def _clear(owner: Stateful) -> None:
    """Give what a section may leave out its reset value."""
    for declared in owner.declared.values():
        if isinstance(declared, State):
            if declared.within is not None or declared.when is not None:
                declared.start(owner)
        elif isinstance(declared, ChildState):
            for one in declared.objects(owner):
                _clear(one)


# --- what is known of a moment --------------------------------------------------------------------


class Known:
    """The values of all that sections can show at a moment: which devices have changed since?

    It is for looking only: what a device becomes again always comes out of its section's body.
    """

    def __init__(self, m: Machine) -> None:
        self._clock, self._ns = m.clock, m.clock.now
        apart: set[int] = {id(part.device) for part in m.sections}
        apart |= {
            id(one) for one in (m, m.clock, m.memory, m.arena, m.engine, m.processor, m.trace)
        }
        self._sections = [_values(part.device, apart - {id(part.device)}) for part in m.sections]
        #: Sections that count with the clock, or show what others hold.
        self._timed = [
            isinstance(part.device, Cpu) or not any(
                isinstance(d, State) for d in part.device.declared.values()
            )
            for part in m.sections
        ]  # fmt: skip

    def holds(self, n: int) -> bool:
        """Whether section `n` has not changed since; false where that is not certain."""
        section = self._sections[n]
        if section is None or (self._timed[n] and self._clock.now != self._ns):
            return False
        return all(get(owner) == then for owner, get, then in section)


#: Objects with what gets the values of their attributes, and those values, copied.
Values = list[tuple[object, Callable[[Any], object], object]]


def _values(device: object, apart: set[int]) -> Values | None:
    """Every object that can be reached from a device; None where one cannot be looked at.

    Those `apart` are sections of their own, or no part of any.
    """
    found: Values = []
    seen, waiting = set(apart), [device]
    while waiting:
        owner = waiting.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        if isinstance(owner, RegisterBlock):
            found.append((owner, RegisterBlock.bytes, owner.bytes()))
            continue
        names = [name for name in _names(owner) if hasattr(owner, name)]
        if not names:
            continue
        values = [getattr(owner, name) for name in names]
        copies: list[object] = []
        for value in values:
            if isinstance(value, bytearray):
                copies.append(bytes(value))
            elif isinstance(value, list | dict | set | deque):
                copies.append(value.copy())
                waiting += value.values() if isinstance(value, dict) else value
            elif isinstance(value, memoryview | np.ndarray):
                return None
            else:
                copies.append(value)
                waiting += value if isinstance(value, tuple) else [value]
        then = tuple(copies) if len(names) > 1 else copies[0]
        found.append((owner, attrgetter(*names), then))
    return found


def _names(owner: object) -> set[str]:
    """The attributes of one of gossamer's objects; of others, which do not change, none."""
    if isinstance(owner, Alarm):
        return {"when"}
    kind = type(owner)
    if not kind.__module__.startswith("gossamer.") or isinstance(owner, type | Enum):
        return set()
    slots = (vars(base).get("__slots__", ()) for base in kind.__mro__)
    names = {name for some in slots for name in ((some,) if isinstance(some, str) else some)}
    return (names | set(getattr(owner, "__dict__", ()))) - {"__dict__", "__weakref__"}
