"""ADB keyboard: key transitions in register 0, modifiers and lights in register 2.

Codes are ADB key codes (0..127); the top bit of a transition means released.  With handler 1 and
2 the right-hand modifiers report as the left-hand ones; handler 3 distinguishes them.  Source:
Apple Guide to the Macintosh Family Hardware, chapter 8; docs page adb.md.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.devices.adb.bus import AdbBus, AdbDevice, parent_struct
from gossamer.state.codec import I32
from gossamer.state.declare import bitmap, buffer, i32, u8
from gossamer.state.layout import Layout, View, subsection

QUEUE: Final = 128
ADDRESS: Final = 2
RELEASED: Final = 0x80
NO_KEY: Final = 0xFF
POWER: Final = 0x7F

RIGHT_TO_LEFT: Final = {0x7B: 0x38, 0x7C: 0x3A, 0x7D: 0x36}
"""Right shift, option and control, to their left-hand codes."""
MODIFIERS: Final = {
    0x33: 0x40, 0x39: 0x20, 0x7F: 0x10, 0x36: 0x08, 0x7D: 0x08,
    0x38: 0x04, 0x7B: 0x04, 0x3A: 0x02, 0x7C: 0x02, 0x37: 0x01,
}  # fmt: skip
"""Register 2, high byte, low while held: delete, caps lock, reset, control, shift,
option, command."""
NUM_LOCK, SCROLL_LOCK = 0x47, 0x6B


def _checked(name: str, limit: int) -> View:
    def put(owner: Any, value: int) -> None:  # noqa: ANN401 - any stateful object
        if not 0 <= value <= limit:
            raise ValueError(f"value must be 0..{limit}, got {value}")
        setattr(owner, name, value)

    return View(name, I32, lambda owner: getattr(owner, name), put)


class AdbKeyboard(AdbDevice):
    """The keyboard; `key` is its input."""

    vmsd = "adb_kbd"
    version = 2
    minimum = 2

    extra = subsection(
        "adb_kbd/gossamer", ours=True, lost="which keys are down and which lights are on"
    )

    data: bytearray = buffer(QUEUE)
    rptr: int = i32()
    wptr: int = i32()
    count: int = i32()
    #: Keys that are down, bit n for code n.
    held: int = bitmap(128, within=extra)
    #: Lights that are off: bit 0 num lock, 1 caps lock, 2 scroll lock.
    lights: int = u8(0x07, within=extra)

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            parent_struct(),
            "data",
            _checked("rptr", QUEUE - 1),
            _checked("wptr", QUEUE - 1),
            _checked("count", QUEUE),
        ]
    }

    @extra.needed
    def extra_needed(self) -> bool:
        """A key is down or a light is on."""
        return self.held != 0 or self.lights != 0x07

    def __init__(self, clock: Clock, bus: AdbBus) -> None:
        super().__init__(clock, bus, ADDRESS, 1)

    def accepts(self, handler: int) -> bool:
        return handler in (1, 2, 3)

    # --- input --------------------------------------------------------------------------------

    def key(self, code: int, down: bool) -> None:
        """A key moved.  Repeats of a key that is down are not transitions and are left out.

        Bits 15..8 are for USB keyboards; 0xff below them: a key that this keyboard does not have.
        """
        code &= 0xFF
        if code >= RELEASED:
            self.note("a key that is on no ADB keyboard")
            return
        bit = 1 << code
        if down and self.held & bit:
            return
        if self.count >= QUEUE:
            self.note("queue full, transition lost")
            return
        self.held = self.held | bit if down else self.held & ~bit
        self.data[self.wptr] = code if down else code | RELEASED
        self.wptr = (self.wptr + 1) % QUEUE
        self.count += 1

    @property
    def down(self) -> tuple[int, ...]:
        """The keys that are down, as `key` takes them."""
        return tuple(n for n in range(RELEASED) if self.held >> n & 1)

    # --- bus ----------------------------------------------------------------------------------

    def flush(self) -> None:
        self.rptr = self.wptr = self.count = 0

    @property
    def has_data(self) -> bool:
        return self.count > 0

    def talk(self, register: int) -> bytes:
        match register:
            case 0:
                return self._transitions()
            case 2:
                return bytes([self._modifiers(), self._locks()])
            case _:
                return super().talk(register)

    def listen(self, register: int, data: bytes) -> None:
        if register == 2 and len(data) >= 2:
            self.lights = data[1] & 0x07
        else:
            super().listen(register, data)

    def _transitions(self) -> bytes:
        """Up to two transitions; the power key fills both bytes."""
        if not self.count:
            return b""
        first = self._next()
        if first & 0x7F == POWER:
            return bytes([first, first])
        if not self.count or self.data[self.rptr] & 0x7F == POWER:
            return bytes([first, NO_KEY])
        return bytes([first, self._next()])

    def _next(self) -> int:
        got = self.data[self.rptr]
        self.rptr = (self.rptr + 1) % QUEUE
        self.count -= 1
        if self.handler != 3:
            left = RIGHT_TO_LEFT.get(got & 0x7F, got & 0x7F)
            got = left | got & RELEASED
        return got

    def _modifiers(self) -> int:
        down = 0
        for code, bit in MODIFIERS.items():
            if self.held >> code & 1:
                down |= bit
        return 0xFF & ~down

    def _locks(self) -> int:
        down = (self.held >> NUM_LOCK & 1) << 7 | (self.held >> SCROLL_LOCK & 1) << 6
        return 0xF8 & ~down | self.lights
