"""The screen as a source of pictures for those who look: what has changed since the last look.

Which pages of the video memory were written is known from its dirty bytes, of which the screen has
a bit of its own.  Taking it away makes the engine forget how to reach pages, and where a guest
plays with its page table without saying so, that could be seen; with ``-icount`` nothing may, so
that there the memory itself is compared.

A `Look` is a copy: it can be made into pixels in another thread while the guest runs on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from gossamer.base.data import Data, replace
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.control.runner import Runner
from gossamer.devices.vga.render import render_packed
from gossamer.devices.vga.shown import YRES, Shown
from gossamer.machines.machine import Display, Machine

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The screen's bit of the dirty bytes.
DIRTY_BIT: Final = 0x08
EMPTY: Final = (640, 480)
"""Width and height of the black picture of a machine without a display."""
Bytes: TypeAlias = "NDArray[np.uint8]"
Pixels: TypeAlias = "NDArray[np.uint32]"
"""Rows of 0x00RRGGBB."""


class Look(Data):
    """What one look saw: lines from `first` on, or (`whole`) the entire picture.

    `shown` None: there is no display.
    """

    shown: Shown | None
    memory: Bytes
    first: int = 0
    whole: bool = True

    def pixels(self) -> Pixels:
        """The lines that were seen."""
        if self.shown is None:
            return np.zeros(EMPTY[::-1], np.uint32)
        return render_packed(self.shown, self.memory)


class Screen:
    """The display of the machine that `vm` runs, whichever that is."""

    def __init__(self, vm: Runner) -> None:
        self._vm = vm
        self._machine: Machine | None = None
        self._shown: Shown | None = None
        self._before: Bytes = np.zeros(0, np.uint8)

    def look(self) -> Look | None:
        """What has changed since the last look; None: nothing.  Between two instructions only."""
        machine = self._vm.machine
        display = machine.display
        new = machine is not self._machine
        self._machine = machine
        if display is None:
            self._shown = None
            return Look(None, np.zeros(0, np.uint8)) if new else None
        shown = display.shown()
        pages = self._written(machine, display, shown)
        if new or shown != self._shown:
            self._shown = shown
            return Look(shown, _seen(display, shown).copy())
        if not len(pages):
            return None
        rows = shown.rows(len(display.pixels()))
        if rows is None:
            seen = _seen(display, shown)
            inside = int(pages[0]) * PAGE_SIZE < len(seen)
            return Look(shown, seen.copy()) if inside else None
        return _lines(display, shown, rows, pages)

    def _written(self, machine: Machine, display: Display, shown: Shown) -> NDArray[np.int64]:
        """Pages of the video memory that may have changed since the last call."""
        if self._vm.config.icount is not None:
            return self._differing(display, shown)
        first = display.vram.offset // PAGE_SIZE
        marks = machine.arena.dirty[first : first + display.vram.size // PAGE_SIZE]
        pages = np.flatnonzero(marks & DIRTY_BIT)
        if len(pages):
            marks[pages] &= np.uint8(0xFF ^ DIRTY_BIT)
            machine.engine.flush()
        return pages

    def _differing(self, display: Display, shown: Shown) -> NDArray[np.int64]:
        """The same by comparing the memory with what it was."""
        memory = display.pixels()
        rows = shown.rows(len(memory))
        low, high = (0, shown.extent or len(memory))
        if rows is not None:
            low = rows[0] & -PAGE_SIZE
            high = min(-(-(rows[0] + rows[1] * rows[2]) // PAGE_SIZE) * PAGE_SIZE, len(memory))
        now = memory[low:high]
        if len(self._before) != len(now):
            self._before = now.copy()
            return np.arange(low // PAGE_SIZE, high // PAGE_SIZE)
        same = self._before.view(np.uint64) == now.view(np.uint64)
        if same.all():
            return np.zeros(0, np.int64)
        self._before = now.copy()
        return np.flatnonzero(~same.reshape(-1, PAGE_SIZE // 8).all(axis=1)) + low // PAGE_SIZE


def _seen(display: Display, shown: Shown) -> Bytes:
    """The part of the memory that a whole picture depends on."""
    memory = display.pixels()
    rows = shown.rows(len(memory))
    if rows is not None and rows[0] == 0:
        return memory[: rows[1] * rows[2]]
    return memory[: shown.extent]


def _lines(
    display: Display, shown: Shown, rows: tuple[int, int, int], pages: NDArray[np.int64]
) -> Look | None:
    """The lines from the first to the last that lie in written pages."""
    start, stride, count = rows
    at = pages * PAGE_SIZE
    at = at[(at + PAGE_SIZE > start) & (at < start + stride * count)]
    if not len(at):
        return None
    first = max(int(at[0]) - start, 0) // stride
    last = min((int(at[-1]) + PAGE_SIZE - 1 - start) // stride, count - 1)
    regs = list(shown.vbe_regs)
    regs[YRES] = last - first + 1
    part = replace(shown, vbe_regs=tuple(regs), vbe_start_addr=0)
    memory = display.pixels()[start + first * stride : start + (last + 1) * stride].copy()
    return Look(part, memory, first, whole=False)
