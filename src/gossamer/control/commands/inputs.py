"""Commands for the keyboard, the mouse and the display."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

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
    write_picture(Path(filename), Picture(*session.vm.screen()), format)


@dataclass(frozen=True, slots=True)
class KeyName:
    """A key by QEMU's name."""

    type: Literal["qcode"]
    data: str


@dataclass(frozen=True, slots=True)
class KeyNumber:
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
    names = []
    for key in keys:
        if isinstance(key, KeyNumber):
            raise ConfigError(f"key number {key.data:#x}: keys are known by their names here")
        names.append(key.data)
    session.vm.send_key(names, hold_time)


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
