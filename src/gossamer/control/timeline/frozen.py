"""A machine's devices as bytes, and those bytes back into the same machine.

The bytes are the sections that a stream would have, so nothing is kept here that a save forgets.
A load is meant for a fresh machine: what a section may leave out is set to its reset value first,
and no alarm outlives it.
"""

from __future__ import annotations

from gossamer.base.wire import WireReader
from gossamer.control.stream_out import body_of
from gossamer.machines.machine import Machine
from gossamer.state.declare import ChildState, State, Stateful
from gossamer.state.transfer import load

Bodies = tuple[bytes, ...]


def freeze(m: Machine) -> Bodies:
    """The body of each section, in their order."""
    return tuple(body_of(part.device) for part in m.sections)


def thaw(m: Machine, bodies: Bodies) -> None:
    """Take on what `freeze` gave; memory is the caller's."""
    for alarm in m.clock.alarms:
        alarm.cancel()
    for part, body in zip(m.sections, bodies, strict=True):
        device = part.device
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
