"""Run-time services for PCI: configuration space, messages, DMA windows.

Sources: LoPAR 7.3.3 (configuration), 7.3.10.5 (messages), 7.3.10.6 to 9 (DMA windows); what the
book leaves open as QEMU 7.2 answers.
"""

from __future__ import annotations

from typing import Final

from gossamer.devices.messages import Messages
from gossamer.devices.msi import Msi
from gossamer.devices.pci import CONFIG_SIZE, PciDevice
from gossamer.devices.spapr.phb import BUID, MSI_WINDOW, Phb, msi_of, msix_of
from gossamer.devices.spapr.rtas import HARDWARE_ERROR, OK, PARAMETER_ERROR, Results, Rtas
from gossamer.devices.spapr.tce import MOST

#: Functions of ibm,change-msi, and the kinds that come back.
CHANGE, CHANGE_MSI, CHANGE_MSIX, MSI, MSIX = 1, 3, 4, 1, 2
#: Sizes of pages of a DMA window, log2, and their bits in an answer (LoPAR table 163).
PAGES: Final = {12: 1, 16: 2, 21: 0x100, 24: 4}
#: The largest window that is promised, in pages of 4 KiB; and in an answer of 32 bits.
MOST_PAGES, FEWER_PAGES = 0x20_0000_0000, 0x8000_0000
EDGE: Final = 1
_LOW: Final = 0xFFFF_FFFF


def add_pci(rtas: Rtas, phb: Phb, largest: int = 24, *, extended: bool = True) -> None:
    """Let the services of bridge `phb` answer.

    `largest`: log2 of the largest page of a guest's DMA windows, 0: it can have none.  `extended`:
    more than 256 bytes of a function's configuration space can be reached.
    """
    _add_config(rtas, phb, extended=extended)
    _add_messages(rtas, phb)
    if largest:
        _add_windows(rtas, phb, largest)


def _buid(arguments: list[int]) -> int:
    return arguments[1] << 32 | arguments[2]


def _add_config(rtas: Rtas, phb: Phb, *, extended: bool) -> None:
    def register(address: int, size: int, buid: int) -> tuple[PciDevice, int] | None:
        """The function and register; None where it cannot be reached so."""
        function = phb.function(buid, address)
        at = address >> 20 & 0xF00 | address & 0xFF
        if function is None or size not in (1, 2, 4) or at % size:
            return None
        space = len(function.config) if extended else CONFIG_SIZE
        return (function, at) if at + size <= space else None

    def read_at(address: int, size: int, buid: int) -> Results:
        found = register(address, size, buid)
        if found is None:
            return HARDWARE_ERROR
        return [OK, found[0].read_config(found[1], size)]

    def write_at(address: int, size: int, buid: int, value: int) -> Results:
        found = register(address, size, buid)
        if found is None:
            return HARDWARE_ERROR
        found[0].write_config(found[1], size, value & (1 << 8 * size) - 1)
        return OK

    rtas.add("ibm,read-pci-config", 4, 2, lambda a: read_at(a[0], a[3], _buid(a)))
    rtas.add("ibm,write-pci-config", 5, 1, lambda a: write_at(a[0], a[3], _buid(a), a[4]))


def _messages(function: PciDevice, kind: int) -> Messages | None:
    """Those that a call is about."""
    msi = msi_of(function) if kind in (CHANGE, CHANGE_MSI) else None
    if msi is not None:
        return msi
    return msix_of(function) if kind in (CHANGE, CHANGE_MSIX) else None


def _add_messages(rtas: Rtas, phb: Phb) -> None:
    def change(arguments: list[int]) -> Results:
        address, kind, count, sequence = arguments[0], *arguments[3:6]
        function = phb.function(_buid(arguments), address)
        messages = None if function is None else _messages(function, kind)
        if function is None or messages is None:
            return PARAMETER_ERROR
        if not count:
            if address not in phb.messages:
                return HARDWARE_ERROR
            for each in (msi_of(function), msix_of(function)):
                if each is not None:
                    each.forget()
            phb.release(address)
            return [OK, 0]
        most, is_msi = messages.allowed, isinstance(messages, Msi)
        if count <= most:
            first = phb.allocate(count, aligned=is_msi)
            if not first:
                return HARDWARE_ERROR
            if address in phb.messages:
                phb.release(address)
            phb.messages[address] = first, count
            messages.aim(MSI_WINDOW, first, count)
        return [OK, min(count, most), sequence + 1, MSI if is_msi else MSIX]

    def query(arguments: list[int]) -> Results:
        address, n = arguments[0], arguments[3]
        if phb.function(_buid(arguments), address) is None:
            return PARAMETER_ERROR
        first, count = phb.messages.get(address, (0, 0))
        return [OK, first + n, EDGE] if n < count else HARDWARE_ERROR

    rtas.add("ibm,change-msi", 6, 3, change)
    rtas.add("ibm,query-interrupt-source-number", 4, 3, query)


def _add_windows(rtas: Rtas, phb: Phb, largest: int) -> None:
    pages = {shift: bit for shift, bit in PAGES.items() if shift <= largest}

    def is_here(arguments: list[int]) -> bool:
        return _buid(arguments) == BUID

    def query(arguments: list[int]) -> Results:
        if not is_here(arguments):
            return PARAMETER_ERROR
        free = sum(not window.count for window in phb.windows)
        return [OK, free, FEWER_PAGES, sum(pages.values()), 0]

    def query_more(arguments: list[int]) -> Results:
        short = query(arguments)
        if isinstance(short, int):
            return short
        return [*short[:2], MOST_PAGES >> 32, MOST_PAGES & _LOW, *short[3:]]

    def create(arguments: list[int]) -> Results:
        page_shift, window_shift = arguments[3:5]
        if not is_here(arguments) or page_shift not in pages or window_shift < page_shift:
            return PARAMETER_ERROR
        window = phb.free_window
        count = 1 << window_shift - page_shift if window_shift < 64 else MOST + 1
        if window is None or count > MOST:
            return HARDWARE_ERROR
        start = phb.start_of_next()
        window.open(page_shift, start, count)
        return [OK, window.liobn, start >> 32, start & _LOW]

    def remove(arguments: list[int]) -> Results:
        found = [one for one in phb.windows if one.liobn == arguments[0] and one.count]
        for window in found:
            window.close()
        return OK if found else PARAMETER_ERROR

    def reset(arguments: list[int]) -> Results:
        if not is_here(arguments):
            return PARAMETER_ERROR
        phb.reset_windows()
        return OK

    rtas.add("ibm,query-pe-dma-window", 3, 5, query, longer=query_more)
    rtas.add("ibm,create-pe-dma-window", 5, 4, create)
    rtas.add("ibm,remove-pe-dma-window", 1, 1, remove)
    rtas.add("ibm,reset-pe-dma-window", 3, 1, reset)
