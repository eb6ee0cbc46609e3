"""RTL8029: an NE2000 on PCI (10ec:8029), the network card of QEMU's g3beige."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.core.memory import RamBlock
from gossamer.core.region import Region
from gossamer.devices.ne2000_core import Ne2000Core
from gossamer.devices.pci import ROM, PciBus, PciDevice, pci_struct
from gossamer.state.declare import child
from gossamer.state.layout import Layout, Nested

ROM_SIZE: Final = 0x40000
PORTS_SIZE: Final = 0x100


def nowhere(frame: bytes) -> None:
    """No cable: what is sent is lost."""


class Ne2000(PciDevice):
    """BAR 0 is 256 ports, BAR 6 the option ROM (a block of 256 KiB that the machine made)."""

    vmsd = "ne2000"
    version = minimum = 3
    layouts: ClassVar[dict[str, Layout]] = {
        "": [pci_struct("dev"), Nested("ne2000", lambda device: device.ne2000)]
    }

    ne2000: Ne2000Core = child(Ne2000Core)

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        *,
        rom: RamBlock,
        mac: bytes = b"\x52\x54\x00\x12\x34\x56",
        send: Callable[[bytes], None] = nowhere,
    ) -> None:
        super().__init__(
            clock, bus, devfn, vendor=0x10EC, device=0x8029, class_code=0x02_00_00, pin=1
        )
        core = Ne2000Core(clock, mac, send, self._interrupt_changed, self.note)
        self.ne2000 = core
        self.add_bar(0, Region("ne2000", PORTS_SIZE, core.read, core.write, little=True), "io")
        self.add_bar(ROM, rom, "rom")
        self.reset()

    @property
    def mac(self) -> bytes:
        """Its address as it was made."""
        return self.ne2000.mac

    def connect(self, send: Callable[[bytes], None]) -> None:
        """Let what it sends go to `send`."""
        self.ne2000.send = send

    def plug(self, link: bool) -> None:
        """Whether a cable is in: the chip does not see it."""

    def room(self, length: int) -> bool:
        """Whether a frame of that length could be taken now."""
        return self.ne2000.room(length)

    def receive(self, frame: bytes) -> bool:
        """A frame from the network; false when there is no room for it now."""
        return self.ne2000.receive(frame)

    @property
    def burst(self) -> int:
        """How many frames should be given at once, now."""
        return self.ne2000.burst

    def receive_all(self, frames: Sequence[bytes]) -> int:
        """Frames from the network, as far as there is room; how many."""
        count = 0
        for frame in islice(frames, self.burst):
            if not self.ne2000.room(len(frame)):
                break
            self.ne2000.receive(frame)
            count += 1
        return count

    def update_irq(self) -> None:
        self.set_intx(self.ne2000.interrupt)

    def _interrupt_changed(self) -> None:
        self.update_irq()
