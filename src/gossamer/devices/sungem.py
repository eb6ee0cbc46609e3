"""Sun GEM, Apple's version: the 10/100/1000 Ethernet MAC of mac99.

Six blocks of 32-bit little-endian registers behind one BAR: global, transmit DMA, receive DMA,
MAC, MIF (to the PHY), PCS.  Rings of 16-byte descriptors are in sungem_rings.py.  Source: Linux
drivers/net/ethernet/sun/sungem.h; Sun GEM ASIC specification; docs page sungem.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Final

from gossamer.core.clock import Alarm, Clock
from gossamer.core.region import Region
from gossamer.devices import sungem_rings
from gossamer.devices.pci import PciBus, PciDevice, pci_struct
from gossamer.devices.sungem_phy import NONE, Phy
from gossamer.state.codec import U8, U32, Octets
from gossamer.state.declare import alarm, array, buffer, child, u32, u64, wiring
from gossamer.state.layout import Layout, Loss, View, subsection

BAR_SIZE: Final = 0x20_0000
FRAME_SIZE: Final = 9016
"""Longest frame that can be put together."""

# Global registers (word numbers).
CONFIG, STATUS, MASK, ACKNOWLEDGE, STATUS_2 = 1, 3, 4, 5, 7
PCI_STATUS, PCI_MASK, SOFT_RESET = 0x400, 0x401, 0x404
TX_RESET, RX_RESET = 1, 2
# Status bits.
TX_INTME, TX_ALL, TX_DONE, RX_DONE, RX_NO_BUFFER = 0x01, 0x02, 0x04, 0x10, 0x20
TX_MAC, RX_MAC, MAC_CONTROL = 0x4000, 0x8000, 0x1_0000
CLEARED_BY_READ: Final = 0x7F
TX_COMPLETION_SHIFT: Final = 19
# DMA registers.
TX_KICK, TX_CONFIG, TX_BASE_LOW, TX_BASE_HIGH, TX_COMPLETION = 0x00, 0x01, 0x02, 0x03, 0x40
TX_FIFO_SIZE: Final = 0x46
RX_CONFIG, RX_BASE_LOW, RX_BASE_HIGH, RX_PAUSE = 0x00, 0x01, 0x02, 0x08
RX_KICK, RX_COMPLETION, RX_FIFO_SIZE = 0x40, 0x41, 0x48
# MAC registers.
MAC_TX_RESET, MAC_RX_RESET = 0x00, 0x01
MAC_TX_STATUS, MAC_RX_STATUS, MAC_CONTROL_STATUS = 0x04, 0x05, 0x06
MAC_TX_MASK, MAC_RX_MASK, MAC_CONTROL_MASK = 0x08, 0x09, 0x0A
MAC_TX_CONFIG, MAC_RX_CONFIG = 0x0C, 0x0D
MAC_ADDRESS, MAC_HASH = 0x20, 0x30
# MIF registers.
MIF_FRAME, MIF_CONFIG = 3, 4
MIF_DONE: Final = 0x1_0000
MIF_NS: Final = 25_600
"""64 bits of a management frame at 2.5 MHz."""
MDI_0: Final = 0x100
"""A PHY is on the internal management bus."""

GREG, TXDMA, RXDMA, MAC, MIF, PCS = 0x0000, 0x2000, 0x4000, 0x6000, 0x6200, 0x9000
READ_ONLY: Final = {
    GREG: {0, STATUS, STATUS_2, PCI_STATUS},
    TXDMA: {9, 10, *range(0x0C, 0x10), TX_COMPLETION, 0x42, TX_FIFO_SIZE},
    RXDMA: {6, 7, *range(9, 0x10), RX_COMPLETION, 0x44, RX_FIFO_SIZE},
    MAC: {MAC_TX_STATUS, MAC_RX_STATUS, MAC_CONTROL_STATUS, 0x45},
    MIF: {6, 7},
    PCS: {1, 6, *range(7, 0x14), 0x17},
}


def _nowhere(frame: bytes) -> None:
    """No cable: what is sent is lost."""


def _put_tx_size(gem: SunGem, value: int) -> None:
    if value > FRAME_SIZE:
        raise ValueError(f"tx_size must be 0..{FRAME_SIZE}, got {value}")
    gem.tx_size = value


def _put_tx_data(gem: SunGem, value: bytearray) -> None:
    gem.tx_data = value


class SunGem(PciDevice):
    """The controller.  `send` takes the frames; `receive` brings one from the network.

    `tx_data` holds the first `tx_size` bytes of a frame whose end has not been kicked yet,
    `tx_first_ctl` the control word of its first descriptor.
    """

    vmsd = "sungem"

    extra = subsection("sungem/gossamer", ours=True)

    macaddr: bytearray = buffer(6, wire="conf.macaddr")
    phy_addr: int = u32()
    gregs: list[int] = array(U32, 2048)
    txdmaregs: list[int] = array(U32, 1024)
    rxdmaregs: list[int] = array(U32, 2048)
    macregs: list[int] = array(U32, 128)
    mifregs: list[int] = array(U32, 8)
    pcsregs: list[int] = array(U32, 24)
    rx_mask: int = u32()
    tx_mask: int = u32()
    tx_data: bytearray = buffer(FRAME_SIZE)
    tx_size: int = u32()
    tx_first_ctl: int = u64()
    #: Armed while there are descriptors to transmit.
    transmitter: Alarm = alarm("_transmit", within=extra)
    #: Armed while a management frame is on its way.
    management: Alarm = alarm("_managed", within=extra)
    phy: Phy = child(Phy, within=extra)

    mac: bytes = wiring()
    send: Callable[[bytes], None] = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            pci_struct("pdev"),
            "macaddr",
            *("phy_addr", "gregs", "txdmaregs", "rxdmaregs", "macregs", "mifregs", "pcsregs"),
            *("rx_mask", "tx_mask"),
            View("tx_data", Octets(U8, FRAME_SIZE), lambda gem: gem.tx_data, _put_tx_data),
            View("tx_size", U32, lambda gem: gem.tx_size, _put_tx_size),
            "tx_first_ctl",
        ]
    }

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        *,
        mac: bytes = b"\x52\x54\x00\x12\x34\x56",
        send: Callable[[bytes], None] = _nowhere,
        link: bool = False,
    ) -> None:
        super().__init__(
            clock,
            bus,
            devfn,
            vendor=0x106B,
            device=0x0021,
            class_code=0x02_00_00,
            revision=1,
            subsystem=None,
            pin=1,
        )
        self.define(0x06, 2, 0x02A0, compared=0x10)
        self.define(0x3E, 2, 0x4040)
        self.mac, self.send, self.phy = mac, send, Phy(link=link)
        region = Region(
            "sungem", BAR_SIZE, self.read_register, self.write_register, widths=(4,), little=True
        )
        self.add_bar(0, region)
        self.reset()

    def connect(self, send: Callable[[bytes], None]) -> None:
        """Let what it sends go to `send`."""
        self.send = send

    def plug(self, link: bool) -> None:
        """Whether a cable is in."""
        self.phy.link = link

    def reset(self) -> None:
        super().reset()
        self.macaddr[:] = self.mac
        self._set_defaults()
        self.update_irq()

    def _set_defaults(self) -> None:
        """Registers that are not zero after reset."""
        self.gregs[MASK] = 0x0FFF_FFFF
        self.txdmaregs[TX_CONFIG], self.txdmaregs[TX_FIFO_SIZE] = 0x11_8010, 0x90
        self.rxdmaregs[RX_CONFIG], self.rxdmaregs[RX_FIFO_SIZE] = 0x0100_0010, 0x140
        self.rxdmaregs[RX_PAUSE] = 0xF8
        for n in range(3):
            self.macregs[MAC_ADDRESS + n] = int.from_bytes(
                self.macaddr[4 - 2 * n : 6 - 2 * n], "big"
            )
        self.mifregs[MIF_CONFIG] = MDI_0
        sungem_rings.take_ring_sizes(self)

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        if self.transmitter.armed or self.management.armed:
            yield Loss("a frame is on its way out, or a word of the PHY", passes=True)
        if not self.phy.fresh:
            yield Loss("the PHY's registers as the guest set them")

    @extra.needed
    def extra_needed(self) -> bool:
        """Something is under way, or the PHY has been programmed."""
        return self.transmitter.armed or self.management.armed or not self.phy.fresh

    def post_load(self, version: int) -> None:
        super().post_load(version)
        waiting = sungem_rings.waiting(self)
        if waiting and not self.transmitter.armed and sungem_rings.can_transmit(self):
            sungem_rings.kick(self)

    # --- interrupts ---------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """The status register: what is latched, and summaries of the MAC's own registers."""
        mac, value = self.macregs, self.gregs[STATUS]
        if mac[MAC_TX_STATUS] & ~mac[MAC_TX_MASK]:
            value |= TX_MAC
        if mac[MAC_RX_STATUS] & ~mac[MAC_RX_MASK]:
            value |= RX_MAC
        if mac[MAC_CONTROL_STATUS] & ~mac[MAC_CONTROL_MASK]:
            value |= MAC_CONTROL
        return value | self.txdmaregs[TX_COMPLETION] << TX_COMPLETION_SHIFT & 0xFFFF_FFFF

    @property
    def interrupts(self) -> bool:
        pending = self.status & ((1 << TX_COMPLETION_SHIFT) - 1)
        return bool(pending & ~self.gregs[MASK])

    def update_irq(self) -> None:
        self.set_intx(self.interrupts)

    def raise_status(self, bits: int) -> None:
        self.gregs[STATUS] |= bits
        self.update_irq()

    # --- registers ----------------------------------------------------------------------------

    def block_of(self, offset: int) -> tuple[int, list[int], int] | None:
        """(block, its registers, number) at an offset of the BAR."""
        for base, registers in (
            (GREG, self.gregs),
            (TXDMA, self.txdmaregs),
            (RXDMA, self.rxdmaregs),
            (MAC, self.macregs),
            (MIF, self.mifregs),
            (PCS, self.pcsregs),
        ):
            if base <= offset < base + 4 * len(registers):
                return base, registers, (offset - base) // 4
        return None

    def read_register(self, offset: int, _size: int) -> int:
        found = self.block_of(offset)
        if found is None:
            self.note(f"read of unknown register {offset & ~0xFF:#x}")
            return 0
        base, registers, n = found
        if base == GREG and n in (STATUS, STATUS_2):
            value = self.status
            if n == STATUS:
                self.gregs[STATUS] &= ~CLEARED_BY_READ
                self.update_irq()
            return value
        value = registers[n]
        if base == MAC and n in (MAC_TX_STATUS, MAC_RX_STATUS, MAC_CONTROL_STATUS):
            registers[n] = 0
            self.update_irq()
        return value

    def write_register(self, offset: int, _size: int, value: int) -> None:
        found = self.block_of(offset)
        if found is None:
            self.note(f"write to unknown register {offset & ~0xFF:#x}")
            return
        base, registers, n = found
        if n in READ_ONLY[base]:
            self.note(f"write to read-only register {offset:#x}")
            return
        special = SPECIAL.get((base, n))
        if special is not None:
            special(self, value)
        else:
            registers[n] = value
            self.update_irq()

    def acknowledge(self, value: int) -> None:
        self.gregs[STATUS] &= ~(value & CLEARED_BY_READ)
        self.update_irq()

    def write_mask(self, value: int) -> None:
        self.gregs[MASK] = value
        self.update_irq()

    def soft_reset(self, value: int) -> None:
        """Reset one side or both; the bits clear themselves at once, as drivers poll them."""
        if value & TX_RESET:
            self.transmitter.cancel()
            self.tx_size = self.tx_first_ctl = 0
            self.txdmaregs[TX_KICK] = self.txdmaregs[TX_COMPLETION] = 0
            self.txdmaregs[TX_CONFIG] = 0x11_8010
        if value & RX_RESET:
            self.rxdmaregs[RX_KICK] = self.rxdmaregs[RX_COMPLETION] = 0
            self.rxdmaregs[RX_CONFIG] = 0x0100_0010
        if value & TX_RESET and value & RX_RESET:
            self.gregs[STATUS], self.gregs[MASK] = 0, 0x0FFF_FFFF
        sungem_rings.take_ring_sizes(self)
        self.update_irq()

    def write_tx_kick(self, value: int) -> None:
        self.txdmaregs[TX_KICK] = value & self.tx_mask
        sungem_rings.kick(self)

    def write_tx_config(self, value: int) -> None:
        self.txdmaregs[TX_CONFIG] = value
        sungem_rings.take_ring_sizes(self)
        sungem_rings.kick(self)

    def write_rx_config(self, value: int) -> None:
        self.rxdmaregs[RX_CONFIG] = value
        sungem_rings.take_ring_sizes(self)

    def write_rx_kick(self, value: int) -> None:
        self.rxdmaregs[RX_KICK] = value & self.rx_mask

    def write_mac_tx_config(self, value: int) -> None:
        self.macregs[MAC_TX_CONFIG] = value
        sungem_rings.kick(self)

    def reset_mac(self, n: int, value: int) -> None:
        """The MAC's own resets: configuration and status of one direction; done at once."""
        if value & 1:
            self.macregs[MAC_TX_CONFIG + n] = self.macregs[MAC_TX_STATUS + n] = 0
            self.update_irq()

    def write_frame(self, value: int) -> None:
        """Begin a management frame to the PHY."""
        self.mifregs[MIF_FRAME] = value & ~MIF_DONE
        self.management.set(self.clock.now + MIF_NS)

    def _managed(self) -> None:
        """The management frame is through."""
        frame = self.mifregs[MIF_FRAME]
        address, n, operation = frame >> 23 & 31, frame >> 18 & 31, frame >> 28 & 3
        if operation == 2:
            data = self.phy.read(n) if address == self.phy_addr else NONE
            frame = frame & ~0xFFFF | data
        elif operation == 1 and address == self.phy_addr:
            self.phy.write(n, frame & 0xFFFF)
        self.mifregs[MIF_FRAME] = frame | MIF_DONE

    def write_mif_config(self, value: int) -> None:
        self.mifregs[MIF_CONFIG] = value & ~0x300 | MDI_0

    # --- frames -------------------------------------------------------------------------------

    def _transmit(self) -> None:
        sungem_rings.transmit(self)

    def room(self, length: int) -> bool:
        """Whether a frame of that length could be taken now; one that passes by needs no room."""
        return sungem_rings.has_room(self)

    def receive(self, frame: bytes) -> bool:
        """A frame from the network (no FCS); false when there is no room for it now."""
        return sungem_rings.receive(self, frame)

    @property
    def burst(self) -> int:
        """How many frames should be given at once, now: the ring's room is all that counts."""
        return self.rx_mask + 1

    def receive_all(self, frames: Sequence[bytes]) -> int:
        """Frames from the network, as `room` and `receive` take them one by one; how many."""
        return sungem_rings.receive_all(self, frames)


Write = Callable[[SunGem, int], None]
SPECIAL: Final[dict[tuple[int, int], Write]] = {
    (GREG, MASK): SunGem.write_mask,
    (GREG, ACKNOWLEDGE): SunGem.acknowledge,
    (GREG, SOFT_RESET): SunGem.soft_reset,
    (TXDMA, TX_KICK): SunGem.write_tx_kick,
    (TXDMA, TX_CONFIG): SunGem.write_tx_config,
    (RXDMA, RX_CONFIG): SunGem.write_rx_config,
    (RXDMA, RX_KICK): SunGem.write_rx_kick,
    (MAC, MAC_TX_RESET): lambda gem, value: gem.reset_mac(0, value),
    (MAC, MAC_RX_RESET): lambda gem, value: gem.reset_mac(1, value),
    (MAC, MAC_TX_CONFIG): SunGem.write_mac_tx_config,
    (MIF, MIF_FRAME): SunGem.write_frame,
    (MIF, MIF_CONFIG): SunGem.write_mif_config,
}
