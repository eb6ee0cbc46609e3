"""A machine's devices as bytes, and those bytes back into the same machine.

The bytes are the sections that a stream would have, so nothing is kept here that a save forgets.
A load is meant for a fresh machine: what a section may leave out is set to its reset value first,
and none of its alarms outlives that.
"""

from __future__ import annotations

from gossamer.base.wire import WireReader
from gossamer.control.stream_out import body_of
from gossamer.core.clock import Alarm
from gossamer.machines.machine import Machine
from gossamer.state.declare import ChildState, State, Stateful
from gossamer.state.transfer import load

Bodies = tuple[bytes, ...]


def freeze(m: Machine) -> Bodies:
    """The body of each section, in their order."""
    return tuple(body_of(part.device) for part in m.sections)


def thaw(m: Machine, bodies: Bodies) -> None:
    """Take on what `freeze` gave; memory is the caller's.

    A device that would give the same body now is in that state already, alarms and all.
    """
    alarms: dict[str, list[Alarm]] = {}
    for alarm in m.clock.alarms:
        alarms.setdefault(alarm.key[0], []).append(alarm)
    for part, body in zip(m.sections, bodies, strict=True):
        device = part.device
        if body_of(device) == body:
            continue
        for alarm in alarms.get(part.path, ()):
            alarm.cancel()
        _clear(device)
        reader = WireReader(body)
        load(device, reader, device.version)
        assert not reader.left, part.title
    m.processor.resumed()
    m.resume()


def _clear(owner: Stateful) -> None:
    """Give what a section may leave out its reset value."""
    for declared in owner.declared.values():
        if isinstance(declared, State):
            if declared.within is not None or declared.when is not None:
                declared.start(owner)
        elif isinstance(declared, ChildState):
            for one in declared.objects(owner):
                _clear(one)
