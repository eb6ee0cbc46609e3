"""ADB mouse: relative movement and buttons in register 0.

Handler 1 is the classic mouse at 100 counts an inch, 2 the same at 200, 4 the extended protocol
with a third button, which describes itself in register 1.  Source: Apple Guide
to the Macintosh Family Hardware, chapter 8; Linux drivers/macintosh/adbhid.c; docs page adb.md.
"""

from __future__ import annotations

from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.devices.adb.bus import AdbBus, AdbDevice, parent_struct
from gossamer.state.declare import compat, i32, u8
from gossamer.state.layout import Layout, subsection

ADDRESS: Final = 3
LEFT, RIGHT, MIDDLE = 1, 2, 4
"""Bits of `buttons_state`, as they travel."""
FRONT_BUTTONS: Final = {1: LEFT, 2: MIDDLE, 4: RIGHT}
"""Bits of `buttons` at the input, as monitors number them."""
IDENTITY: Final = b"appl" + (200).to_bytes(2, "big") + bytes([1, 3])
"""Register 1 with handler 4: maker, counts an inch, class (mouse), buttons."""
LIMIT: Final = (1 << 31) - 1


def _clip(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


class AdbMouse(AdbDevice):
    """The mouse; `move` is its input."""

    vmsd = "adb_mouse"
    version = 2
    minimum = 2

    #: A click that is over before the next poll is reported all the same (machines 1.0: lost).
    keeps_clicks: bool = compat(True)
    clicks = subsection(
        "adb_mouse/clicks",
        ours=True,
        compat="keeps_clicks",
        lost="a click that no report has shown yet",
    )

    buttons_state: int = i32()
    last_buttons_state: int = i32()
    dx: int = i32()
    dy: int = i32()
    dz: int = i32()
    #: Buttons that went down since the last report, as in `buttons_state`.
    clicked: int = u8(within=clicks)

    layouts: ClassVar[dict[str, Layout]] = {
        "": [parent_struct(), *("buttons_state", "last_buttons_state", "dx", "dy", "dz")],
    }

    @clicks.needed
    def clicks_needed(self) -> bool:
        """A button has gone down that no report has shown."""
        return self.clicked != 0

    def __init__(self, clock: Clock, bus: AdbBus) -> None:
        super().__init__(clock, bus, ADDRESS, 2)

    def accepts(self, handler: int) -> bool:
        return handler in (1, 2, 4)

    # --- input --------------------------------------------------------------------------------

    @property
    def pressed(self) -> bool:
        """Whether a button is down."""
        return self.buttons_state != 0

    def move(self, dx: int, dy: int, buttons: int, _wheel: int = 0) -> None:
        """Moved by counts (right and down positive); buttons down: 1 left, 2 middle, 4 right.

        It has no wheel.
        """
        self.dx = _clip(self.dx + dx, -LIMIT, LIMIT)
        self.dy = _clip(self.dy + dy, -LIMIT, LIMIT)
        held = sum(held for bit, held in FRONT_BUTTONS.items() if buttons & bit)
        if self.keeps_clicks:
            self.clicked |= held & ~self.buttons_state
        self.buttons_state = held

    # --- bus ----------------------------------------------------------------------------------

    def flush(self) -> None:
        self.last_buttons_state = self.buttons_state
        self.dx = self.dy = self.dz = self.clicked = 0

    @property
    def has_data(self) -> bool:
        pressed = self.buttons_state | self.clicked
        return bool(self.dx or self.dy or pressed != self.last_buttons_state)

    def talk(self, register: int) -> bytes:
        if register == 0:
            return self._movement()
        if register == 1 and self.handler == 4:
            return IDENTITY
        return super().talk(register)

    def _movement(self) -> bytes:
        """What moved since the last poll, as far as it fits; the rest is for the next one.

        The extended form has room for 10 bits, but Linux reads only 7 of them: no more are used.
        """
        if not self.has_data:
            return b""
        dx, dy = _clip(self.dx, -64, 63), _clip(self.dy, -64, 63)
        self.dx, self.dy = self.dx - dx, self.dy - dy
        self.last_buttons_state = held = self.buttons_state | self.clicked
        self.clicked = 0
        first = (0 if held & LEFT else 0x80) | dy & 0x7F
        second = (0 if held & RIGHT else 0x80) | dx & 0x7F
        if self.handler != 4:
            return bytes([first, second])
        third = (0 if held & MIDDLE else 0x80) | (dy >> 7 & 7) << 4 | 0x08 | dx >> 7 & 7
        return bytes([first, second, third])
