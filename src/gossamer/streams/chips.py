"""Names of bits, registers and clocks of the chips that these Macs have.

Bits by the books: MPC750UM for MSR, XER and CR; 6522 data sheet; Open PIC 1.2; ATA-4; OHCI 1.0a;
Apple's hardware notes for Heathrow and DBDMA.  Sections by QEMU's names.
"""

from __future__ import annotations

from typing import Final

Bits = dict[int, str]
"""Weight to name."""

MSR: Final[Bits] = {
    0x2000000: "VEC", 0x40000: "POW", 0x10000: "ILE", 0x8000: "EE", 0x4000: "PR", 0x2000: "FP",
    0x1000: "ME", 0x800: "FE0", 0x400: "SE", 0x200: "BE", 0x100: "FE1", 0x40: "IP", 0x20: "IR",
    0x10: "DR", 0x4: "PM", 0x2: "RI", 0x1: "LE",
}  # fmt: skip
CR_FIELD: Final[Bits] = {8: "LT", 4: "GT", 2: "EQ", 1: "SO"}
XER: Final[Bits] = {0x80000000: "SO", 0x40000000: "OV", 0x20000000: "CA"}
INTERRUPT_REQUEST: Final[Bits] = {
    0x2: "HARD", 0x4: "EXITTB", 0x20: "HALT", 0x80: "DEBUG", 0x400: "RESET",
}  # fmt: skip
VIA_IRQ: Final[Bits] = {
    0x80: "any", 0x40: "T1", 0x20: "T2", 0x10: "CB1", 0x8: "CB2", 0x4: "SR", 0x2: "CA1", 0x1: "CA2",
}  # fmt: skip
VIA_ACR: Final[Bits] = {0x80: "T1-PB7", 0x40: "T1-continuous", 0x20: "T2-PB6", 0x10: "SR-out"}
OPENPIC_IVPR: Final[Bits] = {
    0x80000000: "masked", 0x40000000: "active", 0x20000000: "mode", 0x800000: "polarity",
    0x400000: "level",
}  # fmt: skip
IDE_STATUS: Final[Bits] = {
    0x80: "BSY", 0x40: "DRDY", 0x20: "DF", 0x10: "DSC", 0x8: "DRQ", 0x4: "CORR", 0x2: "IDX",
    0x1: "ERR",
}  # fmt: skip
IDE_ERROR: Final[Bits] = {
    0x80: "BBK", 0x40: "UNC", 0x20: "MC", 0x10: "IDNF", 0x8: "MCR", 0x4: "ABRT", 0x2: "TK0NF",
    0x1: "AMNF",
}  # fmt: skip
DBDMA_STATUS: Final[Bits] = {
    0x8000: "RUN", 0x4000: "PAUSE", 0x2000: "FLUSH", 0x1000: "WAKE", 0x800: "DEAD",
    0x400: "ACTIVE", 0x100: "BT",
}  # fmt: skip
OHCI_INTR: Final[Bits] = {
    0x80000000: "MIE", 0x40000000: "OC", 0x40: "RHSC", 0x20: "FNO", 0x10: "UE", 0x8: "RD",
    0x4: "SF", 0x2: "WDH", 0x1: "SO",
}  # fmt: skip
OHCI_PORT: Final[Bits] = {
    0x1: "connected", 0x2: "enabled", 0x4: "suspended", 0x8: "overcurrent", 0x10: "reset",
    0x100: "powered", 0x200: "low speed", 0x10000: "connect changed", 0x20000: "enable changed",
    0x40000: "suspend changed", 0x80000: "overcurrent changed", 0x100000: "reset changed",
}  # fmt: skip
XHCI_COMMAND: Final[Bits] = {
    0x1: "run", 0x4: "interrupts", 0x8: "host errors", 0x400: "wrap events",
}  # fmt: skip
XHCI_STATUS: Final[Bits] = {
    0x1: "halted", 0x4: "host system error", 0x8: "event interrupt", 0x10: "port changed",
    0x400: "restore error", 0x1000: "host controller error",
}  # fmt: skip
XHCI_PORT: Final[Bits] = {
    0x1: "connected", 0x2: "enabled", 0x8: "overcurrent", 0x10: "reset", 0x200: "powered",
    0x20000: "connect changed", 0x40000: "enable changed", 0x200000: "reset changed",
    0x400000: "link changed",
}  # fmt: skip
XHCI_IMAN: Final[Bits] = {0x1: "pending", 0x2: "enabled"}
OHCI_HUB: Final[Bits] = {
    0x1: "no power", 0x2: "overcurrent", 0x8000: "remote wake-up", 0x20000: "overcurrent changed",
}  # fmt: skip
OHCI_STATE: Final = {0: "reset", 1: "resume", 2: "operational", 3: "suspended"}
PCI_COMMAND: Final[Bits] = {
    0x1: "I/O", 0x2: "memory", 0x4: "bus master", 0x10: "MWI", 0x40: "parity", 0x100: "SERR",
    0x400: "INTx off",
}  # fmt: skip
NE2000_ISR: Final[Bits] = {
    0x1: "PRX", 0x2: "PTX", 0x4: "RXE", 0x8: "TXE", 0x10: "OVW", 0x20: "CNT", 0x40: "RDC",
    0x80: "RST",
}  # fmt: skip
PMU_LINES: Final[Bits] = {0x8: "TACK", 0x10: "TREQ"}
PMU_INTS: Final[Bits] = {0x10: "ADB", 0x80: "tick", 0x8: "brightness", 0x40: "battery"}

HEATHROW: Final = {
    0: "SCSI DMA", 1: "floppy DMA", 2: "IDE 0 DMA", 3: "IDE 1 DMA", 4: "ESCC A tx DMA",
    5: "ESCC A rx DMA", 6: "ESCC B tx DMA", 7: "ESCC B rx DMA", 8: "audio out DMA",
    9: "audio in DMA", 12: "SCSI", 13: "IDE 0", 14: "IDE 1", 15: "ESCC A", 16: "ESCC B",
    17: "audio", 18: "VIA", 19: "floppy", 20: "NMI button", 21: "PCI A", 22: "PCI B", 23: "PCI C",
    24: "PCI D",
}  # fmt: skip
"""Source number to what is wired to it."""

SPR: Final = {
    1: "XER", 8: "LR", 9: "CTR", 18: "DSISR", 19: "DAR", 22: "DEC", 25: "SDR1", 26: "SRR0",
    27: "SRR1", 256: "VRSAVE", 272: "SPRG0", 273: "SPRG1", 274: "SPRG2", 275: "SPRG3", 282: "EAR",
    287: "PVR", 936: "UMMCR0", 940: "UMMCR1", 944: "MMCR2", 945: "PMC5", 946: "PMC6", 951: "BAMR",
    952: "MMCR0", 953: "PMC1", 954: "PMC2", 955: "SIAR", 956: "MMCR1", 957: "PMC3", 958: "PMC4",
    976: "DMISS", 977: "DCMP", 978: "HASH1", 979: "HASH2", 980: "IMISS", 981: "ICMP", 982: "RPA",
    1008: "HID0", 1009: "HID1", 1010: "IABR", 1011: "ICTRL", 1013: "DABR", 1014: "MSSCR0",
    1015: "MSSCR1", 1016: "LDSTCR", 1017: "L2CR", 1018: "L3CR", 1019: "ICTC", 1020: "THRM1",
    1021: "THRM2", 1022: "THRM3", 1023: "PIR",
    **{528 + 2 * i + j: f"IBAT{i}{'UL'[j]}" for i in range(4) for j in range(2)},
    **{536 + 2 * i + j: f"DBAT{i}{'UL'[j]}" for i in range(4) for j in range(2)},
    **{560 + 2 * i + j: f"IBAT{i + 4}{'UL'[j]}" for i in range(4) for j in range(2)},
    **{568 + 2 * i + j: f"DBAT{i + 4}{'UL'[j]}" for i in range(4) for j in range(2)},
}  # fmt: skip
PVR: Final = {0x0008: "750", 0x000C: "7400", 0x800C: "7410", 0x8000: "7450", 0x0006: "603e",
              0x0007: "603ev", 0x0009: "604e", 0x7000: "750FX", 0x8001: "7455", 0x8002: "7447",
              0x8003: "7447A", 0x0039: "970", 0x003C: "970FX"}  # fmt: skip
DBDMA_REGS: Final = {0: "control", 1: "status", 2: "command pointer high", 3: "command pointer",
                     4: "interrupt select", 5: "branch select", 6: "wait select",
                     7: "transfer modes", 8: "data 2 pointer high", 9: "data 2 pointer",
                     10: "address high", 12: "branch address high", 13: "branch address low",
                     14: "branch pointer high", 15: "branch pointer"}  # fmt: skip
VBE: Final = {0: "id", 1: "width", 2: "height", 3: "bits a pixel", 4: "enable", 5: "bank",
              6: "virtual width", 7: "virtual height", 8: "x offset", 9: "y offset"}  # fmt: skip
PCI_IDS: Final = {
    "106b:0010": "Heathrow mac-io", "106b:0017": "Heathrow/Paddington mac-io",
    "106b:0022": "KeyLargo mac-io", "106b:003f": "KeyLargo USB (OHCI)", "106b:0021": "UniN GEM",
    "1033:0194": "NEC xHCI",
    "1234:1111": "QEMU standard VGA", "10ec:8029": "RTL8029 (NE2000)", "8086:100e": "82540EM",
    "8086:1237": "440FX", "8086:7000": "PIIX3 ISA", "8086:7010": "PIIX3 IDE", "8086:7113": "PIIX4",
    "1b36:000d": "QEMU xHCI", "1af4:1000": "virtio-net", "1af4:1001": "virtio-blk",
    "1af4:1004": "virtio-scsi",
}  # fmt: skip

# (description, field) to the bits of the field; arrays too, element by element.
FIELD_BITS: Final[dict[tuple[str, str], Bits]] = {
    ("cpu", "env.msr"): MSR,
    ("cpu", "env.crf"): CR_FIELD,
    ("cpu_common", "interrupt_request"): INTERRUPT_REQUEST,
    ("mos6522", "ifr"): VIA_IRQ,
    ("mos6522", "ier"): VIA_IRQ,
    ("mos6522", "acr"): VIA_ACR,
    ("openpic_irqsource", "ivpr"): OPENPIC_IVPR,
    ("ide_drive", "status"): IDE_STATUS,
    ("ide_drive", "error"): IDE_ERROR,
    ("ohci-core", "intr_status"): OHCI_INTR,
    ("ohci-core", "intr"): OHCI_INTR,
    ("ohci-core", "rhstatus"): OHCI_HUB,
    ("ohci-core/port", "ctrl"): OHCI_PORT,
    ("xhci-core", "usbcmd"): XHCI_COMMAND,
    ("xhci-core", "usbsts"): XHCI_STATUS,
    ("xhci-port", "portsc"): XHCI_PORT,
    ("xhci-intr", "iman"): XHCI_IMAN,
    ("ne2000", "isr"): NE2000_ISR,
    ("pmu", "last_b"): PMU_LINES,
    ("pmu", "intbits"): PMU_INTS,
    ("pmu", "intmask"): PMU_INTS,
}
# Fields that hold a point on the virtual clock, in ns, beside all of type timer.
CLOCK_FIELDS: Final = {
    ("mos6522_timer", "load_time"),
    ("mos6522_timer", "next_irq_time"),
    ("ohci-core", "sof_time"),
    ("xhci-core", "mfindex_start"),
}
MAC_EPOCH: Final = 2_082_844_800
"""Seconds from 1904 to 1970."""
"""Ticks a second of TB and DEC, by machine type."""


def bit_names(value: int, bits: Bits) -> str:
    """`EE|ME|IR`, what has no name in hex, `-` for none."""
    names = [name for weight, name in bits.items() if value & weight]
    rest = value & ~sum(bits)
    return "|".join(names + ([f"{rest:#x}"] if rest else [])) or "-"
