"""Interrupters of an xHCI: events for the driver, on rings in memory of one segment.

Source: xHCI 1.1, 4.9.4 and 5.5.2; what is done with a full ring as QEMU 7.2 does it.
"""

from __future__ import annotations

from typing import Final, Protocol

from gossamer.devices.usb.xhci_rings import TRB, Event
from gossamer.state.declare import Stateful, boolean, u32, u64

INTERRUPTERS: Final = 16
# IMAN, ERDP.
PENDING, ENABLED, BUSY = 1, 2, 8
HOST_EVENT, RING_FULL = 37, 21
SEGMENT_SIZES: Final = range(16, 4097)
"""TRBs of an event ring's segment."""
FIELDS: Final = {
    0x00: "iman", 0x04: "imod", 0x08: "erstsz", 0x10: "erstba_low", 0x14: "erstba_high",
    0x18: "erdp_low", 0x1C: "erdp_high",
}  # fmt: skip
"""Registers and the fields that they show."""


class Master(Protocol):
    """What the rings are read and written by, and what hears of their faults."""

    def fetch(self, at: int, length: int) -> bytes | None: ...
    def store(self, at: int, data: bytes) -> bool: ...
    def die(self, why: str) -> None: ...
    def note(self, text: str) -> None: ...


class Interrupter(Stateful):
    """An interrupter and its event ring of one segment: `er_start`, `er_size` TRBs."""

    vmsd = "xhci-intr"
    version = 1
    minimum = 1

    iman: int = u32()
    imod: int = u32()
    erstsz: int = u32()
    erstba_low: int = u32()
    erstba_high: int = u32()
    erdp_low: int = u32()
    erdp_high: int = u32()
    msix_used: bool = boolean()
    er_pcs: bool = boolean(True)
    er_start: int = u64()
    er_size: int = u32()
    er_ep_idx: int = u32()
    er_full_unused: bool = boolean()

    def post_load(self, version: int) -> None:
        if self.er_size and self.er_ep_idx >= self.er_size:
            raise ValueError(f"er_ep_idx must be below {self.er_size}, got {self.er_ep_idx}")

    @property
    def wants(self) -> bool:
        """Something is pending, and may be said."""
        return self.iman & (PENDING | ENABLED) == PENDING | ENABLED

    @property
    def place(self) -> int:
        """Up to where the driver has taken events: TRBs from the ring's start."""
        return (self.erdp_high << 32 | self.erdp_low & ~0xF) - self.er_start >> 4

    @property
    def has_more(self) -> bool:
        """There are events that the driver has not taken."""
        return 0 <= self.place < self.er_size and self.place != self.er_ep_idx

    def read(self, register: int) -> int:
        name = FIELDS.get(register)
        value: int = 0 if name is None else getattr(self, name)
        return value

    def acknowledge(self, value: int) -> None:
        """IMAN: a 1 clears what is pending."""
        self.iman = (self.iman & ~(value & PENDING)) & ~ENABLED | value & ENABLED

    def take(self, value: int) -> None:
        """ERDP, its lower half: the driver has taken events; a 1 clears BUSY."""
        busy = self.erdp_low & ~value & BUSY
        self.erdp_low = value & ~BUSY | busy

    def put(self, event: Event, master: Master) -> bool:
        """Put an event on the ring; whether there is one."""
        place = self.place
        if not 0 <= place < self.er_size:
            master.die("an event, and no ring for it")
            return False
        if (self.er_ep_idx + 2) % self.er_size == place:
            self._write(Event(HOST_EVENT, RING_FULL), master)
        elif (self.er_ep_idx + 1) % self.er_size == place:
            master.note("an event is lost: the ring is full")
        else:
            self._write(event, master)
        return True

    def _write(self, event: Event, master: Master) -> None:
        at = self.er_start + TRB * self.er_ep_idx
        if not master.store(at, event.pack(self.er_pcs)):
            master.die("an event ring that cannot be written")
        self.er_ep_idx += 1
        if self.er_ep_idx >= self.er_size:
            self.er_ep_idx, self.er_pcs = 0, not self.er_pcs

    def begin(self, master: Master) -> None:
        """ERSTBA was written: the ring is the segment that its table names."""
        base = self.erstba_high << 32 | self.erstba_low
        if not self.erstsz or not base:
            self.er_start = self.er_size = 0
            return
        if self.erstsz != 1:
            master.die(f"an event ring of {self.erstsz} segments")
            return
        entry = master.fetch(base, 16)
        if entry is None:
            master.die("a segment table that cannot be read")
            return
        size = int.from_bytes(entry[8:12], "little")
        if size not in SEGMENT_SIZES:
            master.die(f"a segment of {size} TRBs")
            return
        self.er_start = int.from_bytes(entry[:8], "little")
        self.er_size, self.er_ep_idx, self.er_pcs = size, 0, True
