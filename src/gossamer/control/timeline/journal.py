"""Inputs from outside, each with its place on the line of time.

With ``-icount`` a point of virtual time is one boundary between two instructions: each instruction
takes a whole number of ns, and an idle CPU executes none.  So an input's virtual time says exactly
where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.outside import cards
from gossamer.control.pointer import pointer
from gossamer.control.registers import find
from gossamer.isa.interrupts import Irq
from gossamer.machines import drives_attach
from gossamer.machines.machine import Machine, Tablet


class Input(Data):
    """One input: `values` are what its kind needs (`KINDS`)."""

    ns: int
    kind: str
    values: tuple[int | str, ...]


class Moment(Data):
    """A place: instructions since power-on, virtual ns, and how many inputs had come by then."""

    instructions: int
    ns: int
    inputs: int
    label: str = ""

    @property
    def key(self) -> tuple[int, int]:
        """Moments in order."""
        return self.ns, self.inputs


def _serial(m: Machine, channel: int, byte: int) -> None:
    m.serials[channel].receive(byte)


def _key(m: Machine, code: int, down: int) -> None:
    assert m.keyboard is not None
    m.keyboard.key(code, bool(down))


def _power(m: Machine) -> None:
    assert m.power_button is not None
    m.power_button()


def _mouse(m: Machine, dx: int, dy: int, buttons: int, wheel: int) -> None:
    mouse = pointer(m)
    assert mouse is not None
    mouse.move(dx, dy, buttons, wheel)


def _point(m: Machine, x: int, y: int, buttons: int) -> None:
    assert isinstance(m.mouse, Tablet)
    m.mouse.point(x, y, buttons)


def _frame(m: Machine, card: int, data: str) -> None:
    for n, (_, _, chip) in enumerate(cards(m)):
        if n == card:
            chip.receive(bytes.fromhex(data))


def _reset(m: Machine) -> None:
    m.reset()


def _retry(m: Machine) -> None:
    drives_attach.retry(m)


def _irq(m: Machine, source: int) -> None:
    m.cpu.input_changed(Irq(source), True)


def _register(m: Machine, name: str, value: int) -> None:
    register, of = find(m, name)
    assert register.put is not None
    register.put(of, value)


def _memory(m: Machine, offset: int, data: str) -> None:
    m.memory.write_arena(offset, bytes.fromhex(data))


def _physical(m: Machine, ra: int, data: str) -> None:
    m.memory.write(ra, bytes.fromhex(data))


#: How an input is given again, and the types of its values.
KINDS: Final[Mapping[str, tuple[Callable[..., None], tuple[type, ...]]]] = {
    "serial": (_serial, (int, int)),
    "key": (_key, (int, int)),
    "power": (_power, ()),
    "mouse": (_mouse, (int, int, int, int)),
    "point": (_point, (int, int, int)),
    "frame": (_frame, (int, str)),
    "reset": (_reset, ()),
    "retry": (_retry, ()),
    "irq": (_irq, (int,)),
    "register": (_register, (str, int)),
    "memory": (_memory, (int, str)),
    "physical": (_physical, (int, str)),
}


def give(m: Machine, one: Input) -> None:
    """Let the machine have an input, now."""
    KINDS[one.kind][0](m, *one.values)


def checked(row: object, where: str) -> Input:
    """An input out of a file; ConfigError for one that is none."""
    if not isinstance(row, list) or len(row) < 2 or not all(
        isinstance(v, int | str) and not isinstance(v, bool) for v in row
    ):  # fmt: skip
        raise ConfigError(f"{where}: expected [ns, kind, values…], got {row!r:.80}")
    ns, kind, *values = row
    if not isinstance(ns, int) or not 0 <= ns < 1 << 62 or kind not in KINDS:
        known = ", ".join(KINDS)
        raise ConfigError(f"{where}: expected a time and one of {known}, got {row!r:.80}")
    if tuple(map(type, values)) != KINDS[kind][1]:
        raise ConfigError(f"{where}: these are no values of {kind}: {values!r:.80}")
    return Input(ns, kind, tuple(values))
