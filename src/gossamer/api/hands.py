"""Keyboard and pointer of a machine."""

from __future__ import annotations

import difflib
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.control.vm import Vm

#: What a US keyboard needs for a character that is no letter or digit.
_SIGNS: Final = {
    " ": "spc", "\n": "ret", "\t": "tab", "-": "minus", "=": "equal", "[": "bracket_left",
    "]": "bracket_right", "\\": "backslash", ";": "semicolon", "'": "apostrophe",
    "`": "grave_accent", ",": "comma", ".": "dot", "/": "slash",
}  # fmt: skip
_SHIFTED: Final = dict(zip('!@#$%^&*()_+{}|:"~<>?', "1234567890-=[]\\;'`,./", strict=True))
_BUTTONS: Final = {"left": 1, "middle": 2, "right": 4}


class Keys:
    """The keyboard.  Keys have QEMU's names: ``vm.keys.press("ctrl", "c")``."""

    def __init__(self, control: Vm) -> None:
        self._control = control

    def press(self, *names: str, ms: int = 100) -> None:
        """Press keys together; they are released after `ms` of the guest's time."""
        self._control.send_key(names, ms)

    def type(self, text: str, *, ms: int = 30) -> None:
        """Press what a US keyboard needs for `text`, one after the other, as the guest runs."""
        chords = [_chord(character) for character in text]
        for chord in chords:
            self._control.send_key(chord, ms)

    def down(self, name: str) -> None:
        """Put a key down."""
        self._control.inputs.move_key(name, down=True)

    def up(self, name: str) -> None:
        """Let a key go."""
        self._control.inputs.move_key(name, down=False)


def _chord(character: str) -> tuple[str, ...]:
    plain = _SHIFTED.get(character, character.lower())
    shift = ("shift",) if character in _SHIFTED or character.isupper() else ()
    name = _SIGNS.get(plain, plain)
    if name == plain and not (plain.isascii() and plain.isalnum()):
        raise ConfigError(f"keys: no key of a US keyboard types {character!r}")
    return (*shift, name)


class Pointer:
    """The mouse, or the tablet."""

    def __init__(self, control: Vm) -> None:
        self._control = control

    def move(self, dx: int, dy: int, wheel: int = 0) -> None:
        """Move by counts; `wheel` above 0 is a notch up."""
        self._control.mouse_move(dx, dy, wheel)

    def to(self, x: int, y: int) -> None:
        """Be at (x, y), each 0 to 0x7fff; ConfigError without a tablet."""
        if not self._control.inputs.point(x, y):
            raise ConfigError("pointer: a place needs a tablet (device usb-tablet)")

    def buttons(self, *names: str) -> None:
        """Hold these buttons (left, middle, right) and no others."""
        mask = 0
        for name in names:
            if name not in _BUTTONS:
                near = difflib.get_close_matches(name, _BUTTONS, 1)
                raise ConfigError(f"pointer: no button {name!r}; expected left, middle or right"
                                  + (f" ({near[0]}?)" if near else ""))  # fmt: skip
            mask |= _BUTTONS[name]
        self._control.mouse_buttons(mask)
