"""The part of a hostile guest that drives what a pseries usually has: display, USB of each kind.

Source: docs/chips/vga.md, xhci.md, ohci.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

from gossamer.devices.usb.hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb.tablet import UsbTablet
from gossamer.devices.vga.card import DISPI, ENDIAN, PORTS, Vga
from gossamer.verify.hostile import others, usb
from gossamer.verify.hostile.xhci import REGISTERS, Xhci

if TYPE_CHECKING:
    from gossamer.machines.machine import Machine
    from gossamer.verify.hostile.bridge import Live

KEYS: Final = (0x00, 0x24, 0x38, 0x7A, 0x7F)
PAGES_AGAIN: Final = 0.02
UNDISTURBED: Final = 0.3


class Drivers:
    """Takes turns between the functions that there are."""

    def __init__(self, live: Live) -> None:
        self.live = live
        count = len(live.layout.places.get(REGISTERS, ()))
        self.hosts = [Xhci(live, n) for n in range(count)]

    def step(self) -> None:
        """A sequence for one of the functions."""
        live, r = self.live, self.live.rng
        if live.maybe(PAGES_AGAIN):
            live.map_pages()
        live.disturbance = 0.0 if live.maybe(UNDISTURBED) else 1.0
        match r.randrange(10):
            case 0 | 1 if live.layout.has("vga.mmio"):
                self._display()
            case 2 | 3 if live.layout.has("ohci"):
                usb.ohci(live)
            case n if n > 3 and self.hosts:
                r.choice(self.hosts).step()
            case _:
                live.stray()
        live.carry_out()

    def _display(self) -> None:
        live, r = self.live, self.live.rng
        if live.maybe(0.6):
            others.vga(live)
        at = live.layout.at("vga.mmio")
        for _ in range(r.randrange(5)):
            match r.randrange(5):
                case 0:
                    live.store_little(at + DISPI + 2 * r.randrange(12), r.getrandbits(16), 2)
                case 1:
                    live.store_little(at + ENDIAN, r.choice((0xBEBE_BEBE, 0x1E1E_1E1E, 0)))
                case 2:
                    live.load(at + r.randrange(0x180), 1)
                case 3:
                    live.store(at + PORTS + r.randrange(0x20), r.getrandbits(8))
                case _:
                    start, size = live.layout.memories[0]
                    width = r.choice((1, 2, 4))
                    live.store(start + r.randrange(0, size, width), live.value(), width)

    def outside(self) -> None:
        """A key, movement, or a look at the screen; the picture is one of the guest's answers."""
        r, machine = self.live.rng, self.live.guest.machine
        if r.random() < 0.3:
            self._look(machine)
            return
        for part in machine.parts:
            device = part.device
            if isinstance(device, UsbKeyboard):
                device.key(r.choice(KEYS), r.random() < 0.5)
            elif isinstance(device, UsbMouse | UsbTablet):
                device.move(r.randrange(-128, 128), r.randrange(-128, 128), r.randrange(8))

    def _look(self, machine: Machine) -> None:
        for part in machine.parts:
            if isinstance(part.device, Vga):
                width, height, pixels = part.device.render()
                self.live.guest.answers[f"{width} x {height}", crc32(pixels)] += 1
