"""A 64-bit CPU below a hypervisor as a stateful object: its registers as QEMU 7.2 writes them.

Registers of the array of SPRs that are here no state keep what QEMU resets them to (`KEPT`).
"""

from __future__ import annotations

from typing import ClassVar, Final

from gossamer.base.data import Data
from gossamer.base.wire import WireReader, WireWriter
from gossamer.cpu.cpu import VSCR_NJ, Avr, Cpu, one, put_crf, register_file
from gossamer.cpu.msr import MSR_EE
from gossamer.cpu.sprs import DEC, PVR, XER, plain
from gossamer.isa.architecture import SLB_ENTRIES
from gossamer.isa.compat import LEVELS, PCR, level_of
from gossamer.isa.interrupts import Irq, Irq405
from gossamer.state.codec import I32, U8, U32, U64, Array, Int, Unused
from gossamer.state.declare import compat, u32
from gossamer.state.layout import NOTHING, Constant, View, subsection

#: QEMU's value of a register that holds no reservation.
NO_RESERVATION: Final = (1 << 64) - 1
#: What QEMU 7.2 has in SPRs that are no state here: AMOR, UMMCR0 (MMCR0's copy), and number 855.
KEPT: Final = {349: (1 << 64) - 1, 779: 0x8000_0000, 855: 0x0010_0000}
#: The same of a POWER8: RPR.
KEPT_2_07: Final = {186: 0x103_070F_1F3F}
PPR: Final = 896
#: HID0 of a 970, and LPCR of a POWER8, as QEMU's pseries resets them.
HID0_970: Final = 0x6000_0000
LPCR_POWER8: Final = 0x1_F008
#: MMCR0[FC]: the monitor stands still after reset.
MMCR0: Final = 795
MMCR0_FC: Final = 0x8000_0000


#: What QEMU 7.2 knows of a part: bits of MSR, instructions by two words of flags, pairs of BATs.
MASKS: Final = {
    "970mp_v1.1": (0x8000_0000_0204_FF36, 0x600F_E1DD_2221, 0x21_0000, 4),
    "power8_v2.0": (0x8000_0001_0280_FF37, 0x8000_600F_E1FF_3A61, 0x23_FFF6, 0),
}


def _mask(n: int, name: str, codec: Int) -> View:
    """A mask: QEMU writes it, and reads it over."""
    return View(
        name,
        codec,
        lambda cpu: MASKS[cpu.model.name][n],
        lambda cpu, value: None,
        compat="says_masks",
    )


#: Parts of the same family that are not here, by the upper half of their PVR.
ELSEWHERE: Final = {
    0x3B: "POWER5+",
    0x3F: "POWER7",
    0x4A: "POWER7+",
    0x4E: "POWER9",
    0x80: "POWER10",
}


def part_of(pvr: int) -> str:
    """A PVR for a person, with the name of a part that is not here."""
    name = ELSEWHERE.get(pvr >> 16)
    return f"{pvr:#010x}" + (f" (a {name}, which is not here)" if name else "")


def _get_sprs(cpu: Cpu64) -> list[int]:
    out = [0] * 1024
    for number, value in (KEPT | (KEPT_2_07 if cpu.has_vsx else {})).items():
        out[number] = value
    for number, (register, element) in plain(cpu.model.features, 64).items():
        out[number] = cpu.block.get(register, element)
    out[XER], out[PVR], out[DEC] = cpu.block.xer, cpu.model.pvr, cpu.decrementer
    out[PPR] = cpu.block.get("ppr")
    level = level_of(cpu.compat_pvr)
    out[PCR] = level.pcr if level else 0
    return out


def _put_sprs(cpu: Cpu64, values: list[int]) -> None:
    if values[PVR] != cpu.model.pvr:
        raise ValueError(
            f"PVR must be {cpu.model.pvr:#010x} ({cpu.model.name}), got {part_of(values[PVR])}"
        )
    for number, (register, element) in plain(cpu.model.features, 64).items():
        cpu.block.set(register, values[number], element)
    cpu.block.xer, ppr = values[XER], values[PPR]
    cpu.block.set("ppr", ppr)
    cpu.set_decrementer(values[DEC])


def _get_reservation(cpu: Cpu64) -> int:
    return cpu.block.get("reserve_ea") if cpu.block.get("reserved") else NO_RESERVATION


def _put_reservation(cpu: Cpu64, value: int) -> None:
    """0 says nothing: QEMU 10.0 and later leave the field empty; ours say it in their own."""
    held = value not in (0, NO_RESERVATION)
    cpu.block.set("reserved", int(held))
    cpu.block.set("reserve_ea", value if held else 0)


class Slbe(Data):
    """An SLB entry on the wire: ESID word and VSID word, as one number of 128 bits."""

    kind: str = "slbe"
    size: int = 16

    def put(self, w: WireWriter, value: int) -> None:
        w.uint(value >> 64, 8)
        w.uint(value & (1 << 64) - 1, 8)

    def get(self, r: WireReader) -> int:
        esid = r.uint(8)
        return esid << 64 | r.uint(8)

    def zero(self) -> int:
        return 0


def _get_slb(cpu: Cpu64) -> list[int]:
    pairs = zip(cpu.block.all("slb_esid"), cpu.block.all("slb_vsid"), strict=True)
    return [esid << 64 | vsid for esid, vsid in pairs]


def _put_slb(cpu: Cpu64, values: list[int]) -> None:
    for n, value in enumerate(values):
        cpu.block.set("slb_esid", value >> 64, n)
        cpu.block.set("slb_vsid", value, n)


_SLB: Final = View("env.slb", Array(Slbe(), SLB_ENTRIES), _get_slb, _put_slb)


def _put_level(cpu: Cpu64, pvr: int) -> None:
    if pvr not in (0, *(level.pvr for level in (LEVELS if cpu.has_vsx else ()))):
        raise ValueError(f"{pvr:#010x} is no level of the architecture that {cpu.model.name} has")
    cpu.compat_pvr = pvr


_LEVEL: Final = View("compat_pvr", U32, lambda cpu: cpu.compat_pvr, _put_level)


def _slb_size(cpu: Cpu64) -> int:
    return 32 if cpu.has_vsx else SLB_ENTRIES


def _check_slb_size(cpu: Cpu64, size: int) -> None:
    if size != _slb_size(cpu):
        raise ValueError(f"an SLB of {size} entries, {cpu.model.name} has {_slb_size(cpu)}")


def _get_fpscr(cpu: Cpu64) -> int:
    return cpu.block.get("drn") << 32 | cpu.block.get("fpscr")


def _put_fpscr(cpu: Cpu64, value: int) -> None:
    """DRN, the rounding mode of decimal arithmetic, is above the rest."""
    if value >> 32 > 7:
        raise ValueError(f"FPSCR must be below 2**35, got {value:#x}")
    cpu.block.set("drn", value >> 32)
    cpu.block.set("fpscr", value)


_FPSCR: Final = View("env.fpscr", U64, _get_fpscr, _put_fpscr)


class Cpu64(Cpu):
    """A PowerPC of 64 bits whose hypervisor is the machine.

    `hypercall` answers an `sc 1`: it finds and leaves the registers behind that instruction.
    """

    WAKING_MSR: ClassVar[int] = MSR_EE

    layouts: ClassVar = {
        "": [
            Constant("unused", Unused(8)),
            register_file("env.gpr", "gpr", U64),
            View("env.crf", Array(U32, 8), lambda cpu: cpu.block.all("crf"), put_crf),
            one("env.nip", "nia", U64),
            View("env.spr", Array(U64, 1024), _get_sprs, _put_sprs),
            View("env.spe_acc", U64, lambda cpu: 0, lambda cpu, value: None),
            View("env.reserve_addr", U64, _get_reservation, _put_reservation),
            one("env.msr", "msr", U64),
            View("env.hflags_compat_nmsr", U64, lambda cpu: 0, lambda cpu, value: None),
            _mask(0, "mig_msr_mask", U64),
            _mask(1, "mig_insns_flags", U64),
            _mask(2, "mig_insns_flags2", U64),
            _mask(3, "mig_nb_BATs", U32),
        ]
    }
    without = (
        *("cpu/fpu", "cpu/altivec", "cpu/sr", "cpu/tlb6xx", "cpu/itlb/gossamer"),
        *("cpu/gossamer", "cpu/rate/gossamer"),
    )
    fpu_64 = subsection(
        "cpu/fpu",
        layout=[register_file("env.vsr", "fpr", Int("fpr", 8)), _FPSCR],
    )
    altivec_64 = subsection(
        "cpu/altivec",
        layout=[
            register_file("env.vsr", "vr", Avr()),
            one("vscr", "vscr", Int("cpu/altivec/vscr", 4)),
        ],
    )
    vsx = subsection("cpu/vsx", layout=[register_file("env.vsr", "vsl", U64)])
    #: Version 2.7 and earlier: the section ends with masks of what the part knows.
    says_masks: bool = compat(False)
    #: Early versions of machines say how many entries of the SLB there are.
    counts_slb: bool = compat(False)
    slb_alone: bool = compat(True)
    counted_slb = subsection(
        "cpu/slb",
        layout=[View("mig_slb_nr", I32, _slb_size, _check_slb_size), _SLB],
        compat="counts_slb",
    )
    #: QEMU 10.0 and later call it version 2, and read both.
    slb = subsection("cpu/slb", layout=[_SLB], compat="slb_alone", newest=2)
    knows_compat: bool = compat(True)
    #: The PVR of what the guest and its hypervisor agreed on to be; 0: nothing yet.
    agreed = subsection("cpu/compat", layout=[_LEVEL], compat="knows_compat")
    #: The same of a version that QEMU sends without it.
    keeps_compat: bool = compat(False)
    own_agreed = subsection(
        "cpu/compat/gossamer",
        ours=True,
        layout=[_LEVEL],
        compat="keeps_compat",
        lost="the level of the architecture that the guest has agreed to",
    )
    compat_pvr: int = u32(within=agreed)
    own = subsection(
        "cpu/64/gossamer",
        ours=True,
        lost=NOTHING,
        layout=[
            one("dec_zero", "dec_zero", U64),
            one("tb_offset", "tb_offset", U64),
            register_file("irq", "irq", U8),
            one("reserved", "reserved", U8),
            one("reserve_ea", "reserve_ea", U64),
        ],
    )

    def reset(self) -> None:
        """As QEMU's pseries starts its first CPU, in 32-bit mode; the machine sets NIA and GPRs."""
        self.clear()
        self.compat_pvr = 0
        self.block.set("monitor", MMCR0_FC, MMCR0 - 784)
        self.block.set("vscr", VSCR_NJ)
        if self.has_vsx:
            self.block.set("lpcr", LPCR_POWER8)
        else:
            self.block.set("hid0", HID0_970)
        self.block.set("dec_zero", self.ticks + 0xFFFF_FFFF)
        self.rearm()

    @property
    def has_vsx(self) -> bool:
        """Whether it has vector-scalar registers, and what else came with Power ISA 2.07."""
        return "2.07" in self.model.features

    @agreed.needed
    def agreed_needed(self) -> bool:
        return bool(self.compat_pvr)

    @own_agreed.needed
    def own_agreed_needed(self) -> bool:
        return bool(self.compat_pvr)

    @vsx.needed
    def vsx_needed(self) -> bool:
        return self.has_vsx

    @property
    def waiting(self) -> bool:
        """The hypervisor lets it wait (H_CEDE) for an interrupt."""
        return bool(self.block.get("halted"))


class CpuLevel(Cpu64):
    """The same of a part whose decrementer interrupts as long as DEC is negative (2.07 on)."""

    ENGINE_INTERRUPTS: ClassVar[bool] = False

    def pending(self) -> tuple[Irq | Irq405, int, bool] | None:
        found = super().pending()
        if found is not None and found[0] == Irq.DECREMENTER:
            return found[0], found[1], False
        return found

    def set_decrementer(self, value: int) -> None:
        super().set_decrementer(value)
        self.block.set("irq", value >> 31 & 1, Irq.DECREMENTER)
