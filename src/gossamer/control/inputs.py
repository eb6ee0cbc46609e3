"""Keys and pointer from outside, as a person would give them.

A press is held for some virtual time; what is typed meanwhile waits its turn.  Waiting presses are
the host's: no save carries them, and a load forgets them.  What is down in a machine that was
loaded is let go soon afterwards, since no hand holds it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.control import keys
from gossamer.control.pointer import pointer
from gossamer.control.runner import Runner
from gossamer.machines.machine import Tablet

MOST_WAITING: Final = 1024
"""Presses that may wait; more are refused."""
_MS: Final = 1_000_000
_GAP_NS: Final = 10 * _MS
"""Virtual time between two presses."""
_LET_GO_NS: Final = 100 * _MS
"""Virtual time from a load to when keys that are down in what was loaded are let go."""


class Inputs:
    """The keyboard and the mouse of a machine."""

    def __init__(self, vm: Runner) -> None:
        self.vm = vm
        self._waiting: deque[tuple[tuple[int, ...], int]] = deque()
        self._busy_with: object = None
        self._buttons = 0
        #: Whether keys and buttons that are down in a loaded machine are let go; False: the caller
        #: holds them on.
        self.lets_go = True
        self._loads = 0

    def arrived(self) -> None:
        """See to what is down in a machine that has been loaded: released after the load."""
        machine = self.vm.machine
        codes = machine.keyboard.down if machine.keyboard is not None else ()
        mouse = pointer(machine)
        pressed = mouse is not None and mouse.pressed
        self.keep_down()
        if self.lets_go and (codes or pressed):
            load, when = self._loads, self.vm.clock_ns + _LET_GO_NS
            self.vm.at(when, lambda: self._let_go(codes, pressed, load))

    def keep_down(self) -> None:
        """What is down in the machine that was loaded last is held on: its release will come."""
        self._loads += 1

    def _let_go(self, codes: Sequence[int], pressed: bool, load: int) -> None:
        if load != self._loads:
            return
        self._move_keys(codes[::-1], down=False)
        if pressed and pointer(self.vm.machine) is not None:
            self._move_mouse(0, 0, 0)

    # --- keys ---------------------------------------------------------------------------------

    def send_key(self, names: Sequence[str], hold_ms: int = 100) -> None:
        """Press keys (QEMU's names) together, hold them for `hold_ms` of virtual time, release.

        Comes back at once: the keys are down, or wait for those before them.
        """
        if self.vm.machine.keyboard is None:
            raise ConfigError(f"{self.vm.name} has no keyboard")
        codes = tuple(keys.code(name) for name in names)
        if self._busy_with is not self.vm.machine:  # another machine has no key of ours down
            self._waiting.clear()
            self._busy_with = None
        if len(self._waiting) >= MOST_WAITING:
            raise ConfigError(f"{MOST_WAITING} presses wait already: the guest must run first")
        self._waiting.append((codes, hold_ms * _MS))
        if self._busy_with is None:
            self._press()

    def _press(self) -> None:
        """Put the next keys down, if there are any."""
        if not self._waiting:
            self._busy_with = None
            return
        codes, hold_ns = self._waiting.popleft()
        self._busy_with = self.vm.machine
        self._move_keys(codes, down=True)
        self.vm.at(self.vm.clock_ns + hold_ns, lambda: self._release(codes))

    def _release(self, codes: Sequence[int]) -> None:
        self._move_keys(codes[::-1], down=False)
        self.vm.at(self.vm.clock_ns + _GAP_NS, self._press)

    def _move_keys(self, codes: Sequence[int], *, down: bool) -> None:
        keyboard = self.vm.machine.keyboard
        for code in codes:
            assert keyboard is not None
            self.vm.noted("key", code, int(down))
            keyboard.key(code, down)

    def move_key(self, name: str, *, down: bool) -> None:
        """Put one key down or up, now."""
        if self.vm.machine.keyboard is None:
            raise ConfigError(f"{self.vm.name} has no keyboard")
        self._move_keys((keys.code(name),), down=down)

    # --- pointer ------------------------------------------------------------------------------

    def mouse_move(self, dx: int, dy: int, dz: int = 0) -> None:
        """Move the mouse by counts; dz above 0 is one notch of its wheel up, below 0 down."""
        self._move_mouse(dx, dy, (dz > 0) - (dz < 0))

    def mouse_buttons(self, mask: int) -> None:
        """1 left, 2 middle, 4 right."""
        self._buttons = mask
        self._move_mouse(0, 0, 0)

    def _move_mouse(self, dx: int, dy: int, wheel: int) -> None:
        mouse = pointer(self.vm.machine)
        if mouse is None:
            raise ConfigError(f"{self.vm.name} has no mouse")
        self.vm.noted("mouse", dx, dy, self._buttons, wheel)
        mouse.move(dx, dy, self._buttons, wheel)

    def press(self, bit: int, *, down: bool) -> None:
        """Put a button down or up; it counts with the next movement."""
        self._buttons = self._buttons | bit if down else self._buttons & ~bit

    def point(self, x: int, y: int) -> bool:
        """The pointer is at (x, y), each 0 to 0x7fff; whether there is a pointer that can."""
        tablet = self.vm.machine.mouse
        if not isinstance(tablet, Tablet):
            return False
        self.vm.noted("point", x, y, self._buttons)
        tablet.point(x, y, self._buttons)
        return True
