"""Commands for the keyboard, the mouse and the display."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.commands.table import command
from gossamer.control.picture import Picture, write_picture
from gossamer.control.session import Session

MOST_KEYS = 16
MOST_HOLD_MS = 60_000
MOST_MOVE = 4096


class ImageFormat(StrEnum):
    """Forms of a picture."""

    PPM = "ppm"
    PNG = "png"


@command("screendump")
def screendump(session: Session, filename: str, format: ImageFormat = ImageFormat.PPM) -> None:
    """What the display shows, as .png or .ppm."""
    write_picture(Path(session.fd_sets.path(filename)), Picture(*session.vm.screen()), format)


class KeyName(Data):
    """A key by QEMU's name."""

    type: Literal["qcode"]
    data: str


class KeyNumber(Data):
    """A key by its number on a PC."""

    type: Literal["number"]
    data: int


@command("send-key")
def send_key(session: Session, keys: tuple[KeyName | KeyNumber, ...], hold_time: int = 100) -> None:
    """Press keys together, such as ctrl-alt-delete."""
    if not 0 < len(keys) <= MOST_KEYS:
        raise ConfigError(f"expected 1 to {MOST_KEYS} keys, got {len(keys)}")
    if not 1 <= hold_time <= MOST_HOLD_MS:
        raise ConfigError(f"the time must be 1 to {MOST_HOLD_MS}, got {hold_time}")
    session.vm.send_key([_named(key) for key in keys], hold_time)


def _named(key: KeyName | KeyNumber) -> str:
    return key.data if isinstance(key, KeyName) else hex(key.data)


@command("x-mouse-move")
def mouse_move(session: Session, dx: int, dy: int, dz: int = 0) -> None:
    """Move the mouse."""
    for distance in (dx, dy, dz):
        if abs(distance) > MOST_MOVE:
            raise ConfigError(f"a distance must be {-MOST_MOVE} to {MOST_MOVE}, got {distance}")
    session.vm.mouse_move(dx, dy, dz)


@command("x-mouse-button")
def mouse_button(session: Session, mask: int) -> None:
    """Hold buttons: 1 left, 2 middle, 4 right."""
    if not 0 <= mask <= 7:
        raise ConfigError(f"the mask must be 0 to 7, got {mask}")
    session.vm.mouse_buttons(mask)


# --- events, as from a window -------------------------------------------------------------------


class KeyMove(Data):
    """A key goes down or up."""

    key: KeyName | KeyNumber
    down: bool


class InputButton(StrEnum):
    """Buttons of a pointer."""

    LEFT = "left"
    MIDDLE = "middle"
    RIGHT = "right"
    WHEEL_UP = "wheel-up"
    WHEEL_DOWN = "wheel-down"


class InputAxis(StrEnum):
    """Directions of a pointer."""

    X = "x"
    Y = "y"


class ButtonMove(Data):
    """A button goes down or up."""

    button: InputButton
    down: bool


class AxisMove(Data):
    """A distance in counts, or a place from 0 to 0x7fff."""

    axis: InputAxis
    value: int


class KeyEvent(Data):
    """Of the keyboard."""

    type: Literal["key"]
    data: KeyMove


class ButtonEvent(Data):
    """Of a pointer's buttons."""

    type: Literal["btn"]
    data: ButtonMove


class RelativeEvent(Data):
    """Of a mouse."""

    type: Literal["rel"]
    data: AxisMove


class AbsoluteEvent(Data):
    """Of a tablet."""

    type: Literal["abs"]
    data: AxisMove


InputEvent = KeyEvent | ButtonEvent | RelativeEvent | AbsoluteEvent
MOST_EVENTS = 1024
MOST_PLACE = 0x7FFF
_BITS = {InputButton.LEFT: 1, InputButton.MIDDLE: 2, InputButton.RIGHT: 4}


@command("input-send-event")
def input_send_event(
    session: Session, events: tuple[InputEvent, ...], device: str | None = None, head: int = 0
) -> None:
    """Keys, buttons and movements, as they come from a window."""
    if device is not None or head:
        raise ConfigError("Parameter 'device' expects to be left out: there is one display")
    if len(events) > MOST_EVENTS:
        raise ConfigError(f"expected at most {MOST_EVENTS} events, got {len(events)}")
    inputs = session.vm.inputs
    moved = {InputAxis.X: 0, InputAxis.Y: 0}
    place: dict[InputAxis, int] = {}
    wheel, pointing = 0, False
    for event in events:
        match event:
            case KeyEvent():
                inputs.move_key(_named(event.data.key), down=event.data.down)
            case ButtonEvent():
                pointing = True
                if event.data.button in _BITS:
                    inputs.press(_BITS[event.data.button], down=event.data.down)
                elif event.data.down:
                    wheel += 1 if event.data.button is InputButton.WHEEL_UP else -1
            case RelativeEvent():
                pointing = True
                moved[event.data.axis] += max(-MOST_MOVE, min(event.data.value, MOST_MOVE))
            case AbsoluteEvent():
                place[event.data.axis] = max(0, min(event.data.value, MOST_PLACE))
    if place:
        session.pointer.update({axis.value: at for axis, at in place.items()})
        if not inputs.point(session.pointer["x"], session.pointer["y"]):
            raise ConfigError("Input handler not found for event type abs")
    if pointing and not (place and not any(moved.values()) and not wheel):
        inputs.mouse_move(moved[InputAxis.X], moved[InputAxis.Y], wheel)
