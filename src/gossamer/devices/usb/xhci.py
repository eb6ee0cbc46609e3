"""xHCI USB host controllers on PCI, as QEMU's `nec-usb-xhci` and `qemu-xhci` show themselves.

The PCI function: identity, BAR, interrupts; registers are in xhci_registers.py.  Source: eXtensible
Host Controller Interface for USB 1.1; identities and capabilities as QEMU 7.2 has them; docs page
xhci.md.
"""

from __future__ import annotations

from typing import ClassVar, Final

from gossamer.base.data import Data, replace
from gossamer.core.clock import Clock
from gossamer.core.region import Region
from gossamer.devices.msi import Msi
from gossamer.devices.msix import ENTRY, MsiX
from gossamer.devices.pci import EXTENDED_SIZE, Dma, PciBus, PciDevice, pci_struct
from gossamer.devices.usb.device import UsbFunction
from gossamer.devices.usb.xhci_core import Shape
from gossamer.devices.usb.xhci_interrupters import INTERRUPTERS
from gossamer.devices.usb.xhci_registers import XhciRegisters
from gossamer.devices.virtio.ring import Direct
from gossamer.state.codec import Buffer
from gossamer.state.declare import child, wiring
from gossamer.state.layout import Layout, Nested, View

CLASS_CODE: Final = 0x0C_03_30
BAR_SIZE: Final = 0x4000
TABLE: Final = 0x3000
"""MSI-X: the table in BAR 0."""
RELEASE: Final = 0x60
"""Serial bus release number: USB 3.0."""
MSI_AT, MSIX_AT = 0x70, 0x90


class Model(Data):
    """Which controller it is; `firmware`: it answers NEC's vendor commands."""

    vendor: int
    device: int
    revision: int
    msi: bool
    firmware: bool
    streams: bool


MODELS: Final = {
    "nec-usb-xhci": Model(0x1033, 0x0194, 3, True, True, False),
    "qemu-xhci": Model(0x1B36, 0x000D, 1, False, False, True),
}


def _table(xhci: Xhci) -> bytes:
    return b"" if xhci.msix is None else bytes(xhci.msix.table + xhci.msix.pending)


def _put_table(xhci: Xhci, data: bytearray) -> None:
    if xhci.msix is not None:
        size = ENTRY * xhci.msix.count
        xhci.msix.table, xhci.msix.pending = data[:size], data[size:]


_MSIX: Final = Nested(
    "parent_obj[1]",
    lambda xhci: xhci,
    vmsd="msix",
    version=0,
    literal=True,
    layout=[
        View(
            "msix",
            Buffer(0, "msix state"),
            _table,
            _put_table,
            sized=lambda xhci: Buffer(len(_table(xhci)), "msix state"),
        )
    ],
)


class Xhci(PciDevice):
    """A controller with `high` ports of USB 2 and `super_` of USB 3, which come first.

    `messages`: the bus takes messages, so that MSI and MSI-X are there.
    """

    vmsd = "xhci"
    version = 1
    minimum = 1
    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            replace(pci_struct("parent_obj[0]", EXTENDED_SIZE), literal=True),
            _MSIX,
            Nested("xhci", lambda xhci: xhci.core),
        ]
    }

    core: XhciRegisters = child(XhciRegisters)

    msi: Msi | None = wiring()
    msix: MsiX | None = wiring()
    memory: Dma | None = wiring()
    kind: str = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        kind: str = "nec-usb-xhci",
        *,
        high: int = 4,
        super_: int = 4,
        msi: bool = True,
        msix: bool = True,
    ) -> None:
        model = MODELS[kind]
        super().__init__(
            clock,
            bus,
            devfn,
            vendor=model.vendor,
            device=model.device,
            class_code=CLASS_CODE,
            revision=model.revision,
            pin=1,
            space=EXTENDED_SIZE,
        )
        self.kind, self.msi, self.msix = kind, None, None
        self.power_on[RELEASE] = 0x30
        self._make_capabilities(msi=msi and model.msi, msix=msix)
        self.memory = bus.dma
        if bus.dma is None and bus.memory is not None:
            self.memory = Direct(bus.memory.map)
        shape = Shape(high, super_, model.firmware, model.streams)
        self.core = XhciRegisters(clock, self, shape)
        region = Region("capabilities", BAR_SIZE, self.read, self.write, little=True)
        self.add_bar(0, region, "mem64")
        self.reset()

    def _make_capabilities(self, *, msi: bool, msix: bool) -> None:
        """MSI and MSI-X, where the bridge takes messages; MSI-X comes first in the list."""
        if self.bus.message is None:
            return
        following = 0
        if msi:
            self.msi = Msi(self, INTERRUPTERS, MSI_AT, following)
            following = MSI_AT
        if msix:
            self.msix = MsiX(self, INTERRUPTERS, MSIX_AT, 0, following, TABLE)
            following = MSIX_AT
        if following:
            self.define(0x34, 1, following, compared=0xFF)
            self.define(0x06, 2, 0x10, compared=0x10)

    # --- reset and ports ----------------------------------------------------------------------

    def reset(self) -> None:
        super().reset()
        if self.msix is not None:
            self.msix.reset()
        self.update_irq()

    def resume(self) -> None:
        super().resume()
        self.core.take_over()

    def connect(self, port: int, device: UsbFunction, *, hot: bool = False) -> None:
        """Plug a device into a port (from 0 on, as the bus counts); `hot`: while it runs."""
        self.core.connect(port, device, hot=hot)

    def disconnect(self, port: int) -> None:
        """Take the device out of a port."""
        self.core.disconnect(port)

    @property
    def devices(self) -> list[UsbFunction | None]:
        """What is in the ports, as the bus counts them."""
        return self.core.devices

    # --- interrupts ---------------------------------------------------------------------------

    @property
    def by_msix(self) -> bool:
        return self.msix is not None and self.msix.enabled

    @property
    def by_message(self) -> bool:
        """Whether interrupts are messages now."""
        return self.by_msix or (self.msi is not None and self.msi.enabled)

    def interrupt(self, n: int) -> bool:
        """Interrupter `n` has something to say; whether that is a message."""
        if self.msix is not None and self.msix.enabled:
            self.msix.notify(n)
        elif self.msi is not None and self.msi.enabled:
            self.msi.notify(n)
        else:
            self.update_irq()
        return self.by_message

    def update_irq(self) -> None:
        self.set_intx(self.core.level and not self.by_message)

    def config_written(self, at: int, size: int) -> None:
        if at < MSIX_AT + 4 and at + size > MSI_AT:
            if self.msix is not None:
                self.msix.release()
            self.update_irq()

    # --- memory -------------------------------------------------------------------------------

    def fetch(self, at: int, length: int) -> bytes | None:
        """Guest memory as the function sees it; None where it cannot be read."""
        if self.memory is None or not self.is_master:
            return None
        return self.memory.read(at & (1 << 64) - 1, length)

    def store(self, at: int, data: bytes) -> bool:
        """Write guest memory; whether that can be done."""
        if self.memory is None or not self.is_master:
            return False
        return self.memory.write(at & (1 << 64) - 1, data)

    # --- registers ----------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        if offset >= TABLE:
            return 0 if self.msix is None else self.msix.read(offset - TABLE, size)
        if size != 4:
            return self.core.read(offset & ~3) >> 8 * (offset & 3)
        return self.core.read(offset)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= TABLE:
            if self.msix is not None:
                self.msix.write(offset - TABLE, size, value)
        elif size == 4:
            self.core.write(offset, value)
        else:
            self.note(f"write of {size} bytes at {offset:#x}")
