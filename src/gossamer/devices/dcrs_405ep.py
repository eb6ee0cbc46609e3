"""The 405EP's device control registers beside the interrupt controller's.

Clocks and power (CPC), buses (PLB, POB), peripheral bus (EBC), SDRAM controller, on-chip memory,
DMA and MAL.  Most only hold what is written.  Source: what QEMU 7.2 answers (docs page
ref405ep.md); PPC405EP user's manual.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import PAGE_SIZE, GiB, MiB
from gossamer.core.clock import Clock
from gossamer.core.dcr import DcrBus
from gossamer.core.device import Device
from gossamer.core.memory import AddressMap, Mapping, RamBlock
from gossamer.state.codec import U32
from gossamer.state.declare import array, derived, u32, wiring

WORD: Final = 0xFFFF_FFFF


class Register(Data):
    """A DCR that holds the bits of `mask`; `start` after a reset."""

    number: int
    name: str
    mask: int = WORD
    start: int = 0


def _many(first: int, name: str, count: int, mask: int = WORD) -> list[Register]:
    return [Register(first + n, f"{name}{n}", mask) for n in range(count)]


#: Those that hold what is written, in the order of the state that keeps them.
HELD: Final = (
    Register(0x84, "PLB0_BESR", 0),
    Register(0x86, "PLB0_BEAR", 0),
    Register(0x87, "PLB0_ACR", 0xF800_0000),
    Register(0x77, "PLB3A0_ACR", 0),
    Register(0x81, "PLB4A0_ACR", 0),
    Register(0x89, "PLB4A1_ACR", 0),
    Register(0xA0, "POB0_BESR0", 0),
    Register(0xA2, "POB0_BESR1", 0),
    Register(0xA4, "POB0_BEAR", 0),
    Register(0xF0, "CPC0_PLLMR0", WORD, 0x0002_1002),
    Register(0xF1, "CPC0_BOOT", WORD, 0x0000_0011),
    Register(0xF3, "CPC0_EPCTL", 0xC000_00F3),
    Register(0xF4, "CPC0_PLLMR1", WORD, 0x80A5_52BE),
    Register(0xF5, "CPC0_UCR", WORD, 0x0000_4646),
    Register(0xF6, "CPC0_SRR", WORD, 0x0004_0000),
    Register(0xF7, "CPC0_JTAGID", 0, 0x2026_7049),
    Register(0xF9, "CPC0_PCI"),
    *_many(0x100, "DMA0_", 0x18, 0),
    *(Register(n, f"DMA0_{n:x}", 0) for n in (0x120, 0x123, 0x125, 0x126)),
    Register(0x180, "MAL0_CFG", 0x00FF_C087, 0x0007_C000),
    Register(0x181, "MAL0_ESR", 0),
    Register(0x182, "MAL0_IER", 0x1F),
    Register(0x184, "MAL0_TXCASR", 0xF000_0000),
    Register(0x185, "MAL0_TXCARR", 0xF000_0000),
    Register(0x186, "MAL0_TXEOBISR", 0),
    Register(0x187, "MAL0_TXDEIR", 0),
    Register(0x190, "MAL0_RXCASR", 0xC000_0000),
    Register(0x191, "MAL0_RXCARR", 0xC000_0000),
    Register(0x192, "MAL0_RXEOBISR", 0),
    Register(0x193, "MAL0_RXDEIR", 0),
    *_many(0x1A0, "MAL0_TXCTP", 4),
    *_many(0x1C0, "MAL0_RXCTP", 2),
    *_many(0x1E0, "MAL0_RCBS", 2, 0xFF),
)
PLACES: Final = {register.number: n for n, register in enumerate(HELD)}

SDRAM_ADDRESS, SDRAM_DATA, EBC_ADDRESS, EBC_DATA = 0x10, 0x11, 0x12, 0x13
OCM_CODE, OCM_CODE_CONTROL, OCM_DATA, OCM_DATA_CONTROL = 0x18, 0x19, 0x1A, 0x1B
OCM_ADDRESS_BITS, OCM_CONTROL_BITS, OCM_ENABLE = 0xFC00_0000, 0xC000_0000, 0x8000_0000
#: Registers behind the SDRAM controller's address: MCOPT1 and the two banks.
MCOPT1, BANKS = 0x20, (0x40, 0x44)
DC_ENABLE: Final = 0x8000_0000
BANK_ENABLE, BANK_BASE, BANK_SIZE_SHIFT = 1, 0xFF80_0000, 17
BANK_BITS: Final = 0xFFDE_E001


class Dcrs405ep(Device):
    """The registers, the mapping of SDRAM and on-chip memory that follows from some.

    `banks`: sizes of the SDRAM's banks, bytes.
    """

    vmsd = "gossamer-405ep-dcr"
    version = 1
    minimum = 1
    lost = "registers of clocks, buses, memory controllers, DMA and MAL"

    held: list[int] = array(U32, len(HELD))
    sdram_address: int = u32()
    sdram_options: int = u32()
    sdram_banks: list[int] = array(U32, 2)
    sdram_others: list[int] = array(U32, 64)
    ebc_address: int = u32()
    ocm_address: int = u32()
    ocm_control: int = u32()
    #: Bytes of the ROM that are there, at the end of the address space.
    rom_size: int = u32()

    memory: AddressMap = wiring()
    ram: RamBlock = wiring()
    ocm: RamBlock = wiring()
    rom: RamBlock | None = wiring()
    sizes: tuple[int, ...] = wiring()
    enabled_at_reset: bool = wiring()
    ram_mapped: list[tuple[int, int, Mapping]] = derived()
    ocm_mapped: Mapping | None = derived()
    rom_mapped: Mapping | None = derived()

    def __init__(
        self,
        clock: Clock,
        bus: DcrBus,
        memory: AddressMap,
        ram: RamBlock,
        ocm: RamBlock,
        sizes: tuple[int, ...],
        *,
        enabled: bool,
    ) -> None:
        super().__init__(clock)
        self.idstr = "gossamer-405ep-dcr"
        self.memory, self.ram, self.ocm, self.sizes = memory, ram, ocm, sizes
        self.enabled_at_reset = enabled
        self.ram_mapped, self.ocm_mapped = [], None
        self.rom, self.rom_mapped, self.rom_size = None, None, 0
        for numbers, read, write in (
            (PLACES, self._read_held, self._write_held),
            (range(SDRAM_ADDRESS, SDRAM_DATA + 1), self._read_sdram, self._write_sdram),
            (range(EBC_ADDRESS, EBC_DATA + 1), self._read_ebc, self._write_ebc),
            (range(OCM_CODE, OCM_DATA_CONTROL + 1), self._read_ocm, self._write_ocm),
        ):
            bus.add(numbers, read, write)
        self.reset()

    def set_rom(self, rom: RamBlock, size: int) -> None:
        """The last `size` bytes of a block are the ROM."""
        self.rom, self.rom_size = rom, size
        self._map()

    def reset(self) -> None:
        size = self.rom_size
        super().reset()
        self.rom_size = size
        self.held = [register.start for register in HELD]
        if self.enabled_at_reset:
            self.enable()
        self._map()

    def enable(self) -> None:
        """SDRAM from 0 on, as -kernel finds it."""
        self.sdram_options = DC_ENABLE
        at = 0
        for n, size in enumerate(self.sizes):
            code = (size // (4 * MiB)).bit_length() - 1
            self.sdram_banks[n] = at | code << BANK_SIZE_SHIFT | BANK_ENABLE
            at += size
        self._map()

    # --- registers --------------------------------------------------------------------------------

    def _read_held(self, number: int) -> int:
        return self.held[PLACES[number]]

    def _write_held(self, number: int, value: int) -> None:
        place = PLACES[number]
        mask = HELD[place].mask
        self.held[place] = self.held[place] & ~mask & WORD | value & mask

    def _read_sdram(self, number: int) -> int:
        if number == SDRAM_ADDRESS:
            return self.sdram_address
        at = self.sdram_address
        if at == MCOPT1:
            return self.sdram_options
        if at in BANKS:
            return self.sdram_banks[BANKS.index(at)]
        return self.sdram_others[at >> 2] if at < 0x100 and at % 4 == 0 else 0

    def _write_sdram(self, number: int, value: int) -> None:
        if number == SDRAM_ADDRESS:
            self.sdram_address = value & 0xFF
            return
        at = self.sdram_address
        if at == MCOPT1:
            self.sdram_options = value
        elif at in BANKS:
            self.sdram_banks[BANKS.index(at)] = value & BANK_BITS
        elif at % 4 == 0:
            self.sdram_others[at >> 2] = value
            return
        self._map()

    def _read_ebc(self, number: int) -> int:
        return self.ebc_address if number == EBC_ADDRESS else 0

    def _write_ebc(self, number: int, value: int) -> None:
        if number == EBC_ADDRESS:
            self.ebc_address = value

    def _read_ocm(self, number: int) -> int:
        return {OCM_CODE: self.ocm_address, OCM_CODE_CONTROL: self.ocm_control}.get(number, 0)

    def _write_ocm(self, number: int, value: int) -> None:
        if number == OCM_CODE:
            self.ocm_address = value & OCM_ADDRESS_BITS
        elif number == OCM_CODE_CONTROL:
            self.ocm_control = value & OCM_CONTROL_BITS
        self._map()

    # --- what is mapped ---------------------------------------------------------------------------

    def _wanted(self) -> list[tuple[int, int]]:
        """(real address, bytes) of each bank that is there and has been switched on."""
        if not self.sdram_options & DC_ENABLE:
            return []
        found = []
        for bank, size in zip(self.sdram_banks, self.sizes, strict=False):
            asked = 4 * MiB << (bank >> BANK_SIZE_SHIFT & 7)
            if bank & BANK_ENABLE:
                base = bank & BANK_BASE
                found.append((base, min(size, asked, 4 * GiB - base)))
        return found

    def _map(self) -> None:
        wanted = self._wanted()
        if [(base, size) for base, size, _ in self.ram_mapped] != wanted:
            for _, _, mapping in self.ram_mapped:
                self.memory.unmap(mapping)
            self.ram_mapped = []
            offset = self.ram.offset
            for n, (base, size) in enumerate(wanted):
                window = RamBlock(self.ram.name, size, offset)
                self.ram_mapped.append((base, size, self.memory.map(window, base, priority=-2 - n)))
                offset += self.sizes[n]
        self._map_rom()
        on = bool(self.ocm_control & OCM_ENABLE)
        if self.ocm_mapped is not None and (not on or self.ocm_mapped.base != self.ocm_address):
            self.memory.unmap(self.ocm_mapped)
            self.ocm_mapped = None
        if on and self.ocm_mapped is None:
            self.ocm_mapped = self.memory.map(self.ocm, self.ocm_address, priority=-1)

    def _map_rom(self) -> None:
        size, rom = self.rom_size, self.rom
        if rom is None or not 0 < size <= rom.size or size % PAGE_SIZE:
            return
        if self.rom_mapped is not None:
            if self.rom_mapped.size == size:
                return
            self.memory.unmap(self.rom_mapped)
        window = RamBlock(rom.name, size, rom.offset + rom.size - size, read_only=True)
        self.rom_mapped = self.memory.map(window, 4 * GiB - size, priority=1)

    def post_load(self, version: int) -> None:
        self._map()
