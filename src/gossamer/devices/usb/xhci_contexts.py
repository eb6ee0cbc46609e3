"""Device contexts in guest memory: what an xHCI controller and its driver know of a device.

The output context is the controller's: it is read when it is needed, and nothing of it is kept.
Source: xHCI 1.1, 6.2; contexts of 32 bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from gossamer.base.data import Data
from gossamer.devices.usb.device import UsbFunction
from gossamer.devices.usb.hub import UsbHub
from gossamer.devices.usb.xhci_core import XhciCore

SIZE: Final = 32
WORDS: Final = Struct("<8I")
# States of endpoints.
DISABLED, RUNNING, HALTED, STOPPED, ERROR = range(5)
# States of slots, in the slot context's last word.
DEFAULT, ADDRESSED, CONFIGURED = 1, 2, 3
ISOCHRONOUS_OUT, INTERRUPT_OUT, ISOCHRONOUS_IN, INTERRUPT_IN = 1, 3, 5, 7
IN_TYPES: Final = (5, 6, 7)
MOST_TIERS: Final = 5


class Endpoint(Data, frozen=False):
    """An endpoint context, at bus address `at`."""

    at: int
    words: list[int]

    @property
    def state(self) -> int:
        return self.words[0] & 7

    @property
    def kind(self) -> int:
        return self.words[1] >> 3 & 7

    @property
    def is_in(self) -> bool:
        return self.kind in IN_TYPES

    @property
    def is_isochronous(self) -> bool:
        return self.kind in (ISOCHRONOUS_OUT, ISOCHRONOUS_IN)

    @property
    def interval(self) -> int:
        """Microframes between two transactions: a power of two, 4096 at the most."""
        return 1 << min(self.words[0] >> 16 & 0xFF, 12)

    @property
    def has_streams(self) -> bool:
        return bool(self.words[0] >> 10 & 0x1F)

    @property
    def dequeue(self) -> int:
        return (self.words[3] << 32 | self.words[2]) & ~0xF

    @property
    def cycle(self) -> int:
        return self.words[2] & 1

    def place(self, at: int, cycle: int) -> None:
        """The next block is there."""
        self.words[2], self.words[3] = at & 0xFFFF_FFF0 | cycle, at >> 32 & 0xFFFF_FFFF

    def become(self, state: int) -> None:
        self.words[0] = self.words[0] & ~7 | state


class Contexts:
    """The contexts of a controller's slots, and the devices that they name."""

    def __init__(self, core: XhciCore) -> None:
        self.core = core

    def words(self, at: int) -> list[int] | None:
        """A context's eight words; None where there is no memory."""
        raw = self.core.fetch(at, SIZE)
        return None if raw is None else list(WORDS.unpack(raw))

    def put(self, at: int, words: list[int]) -> bool:
        if not self.core.store(at, WORDS.pack(*words)):
            self.core.die(f"a context at {at:#x} cannot be written")
            return False
        return True

    def output(self, slot: int) -> int | None:
        """Where a slot's output context is; None where that cannot be read."""
        base = self.core.dcbaap_high << 32 | self.core.dcbaap_low
        raw = self.core.fetch(base + 8 * slot, 8)
        return None if raw is None else int.from_bytes(raw, "little") & ~0x3F

    def slot(self, slot: int) -> tuple[int, list[int]] | None:
        """The slot context and where it is."""
        at = self.output(slot)
        words = None if at is None else self.words(at)
        return None if at is None or words is None else (at, words)

    def endpoint(self, slot: int, number: int) -> Endpoint | None:
        """An endpoint's context, where it can be read and the endpoint is there."""
        at = self.output(slot)
        if at is None:
            return None
        words = self.words(at + SIZE * number)
        if words is None:
            return None
        found = Endpoint(at + SIZE * number, words)
        return None if found.state == DISABLED else found

    def keep(self, endpoint: Endpoint) -> None:
        self.put(endpoint.at, endpoint.words)

    def device(self, slot: list[int]) -> UsbFunction | None:
        """The device that a slot context names by its port and the ports of hubs."""
        found = self.core.device_in(slot[1] >> 16 & 0xFF)
        route = slot[0] & 0xF_FFFF
        for _ in range(MOST_TIERS):
            if found is None or not route:
                break
            place, route = route & 15, route >> 4
            found = found.behind(place) if isinstance(found, UsbHub) else None
        return found

    def device_of(self, slot: int) -> UsbFunction | None:
        """The device of a slot, if it has one."""
        if not self.core.slots[slot - 1].addressed:
            return None
        found = self.slot(slot)
        return None if found is None else self.device(found[1])
