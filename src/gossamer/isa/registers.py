"""The architected registers by name: element width in bits and number of elements.

This is the one list of them; `WORD` stands for the width of the model's word.  `cpu.block` lays
them out in memory for native code; the CPU's state fields and SPR forms refer to them by these
names.  CR is kept as eight fields (`crf`, LT 8, GT 4, EQ 2, SO 1) and XER as `so`, `ov`, `ca` and
the rest (`xer`); only their architected views are ever shown.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

#: As wide as the model's word.
WORD: Final = 0
#: Bits of a register's number, and of counts and places within an instruction, in bodies.
NUMBER: Final = 32

_LIST: Final[dict[str, tuple[int, int]]] = {
    # Book I
    "gpr": (WORD, 32),
    "crf": (8, 8),
    "so": (8, 1),
    "ov": (8, 1),
    "ca": (8, 1),
    "reserved": (8, 1),  # a lwarx reservation is held
    "xer": (32, 1),  # without SO, OV, CA
    "lr": (WORD, 1),
    "ctr": (WORD, 1),
    "nia": (WORD, 1),  # address of the next instruction, valid outside native code
    "fpr": (64, 32),
    "fpscr": (32, 1),
    "vr": (128, 32),
    "vscr": (32, 1),
    "vrsave": (32, 1),
    "reserve_ea": (WORD, 1),
    # Book III
    "msr": (WORD, 1),
    "srr0": (WORD, 1),
    "srr1": (WORD, 1),
    "dar": (WORD, 1),
    "dsisr": (32, 1),
    "sdr1": (WORD, 1),
    "ear": (32, 1),
    "pvr": (32, 1),
    "sprg": (WORD, 8),
    "sr": (32, 16),
    "ibat": (32, 16),  # U and L in turn
    "dbat": (32, 16),
    "tb_offset": (64, 1),  # added to the ticks since virtual time 0
    "dec_zero": (64, 1),  # tick (since virtual time 0) at which DEC is zero, low 32 bits
    "tb_hz": (64, 1),  # wiring: ticks of TB and DEC a second
    # Of particular parts: `isa.spec.spr` says which has what
    "hid0": (WORD, 1),
    "hid1": (WORD, 1),
    "l2cr": (32, 1),
    "ictc": (32, 1),
    "thrm": (32, 4),
    "iabr": (WORD, 1),
    "dabr": (WORD, 1),
    "mmcr": (32, 3),
    "pmc": (32, 6),
    "sia": (WORD, 1),
    "bamr": (32, 1),
    "msscr": (32, 2),
    "pir": (32, 1),
    "sda": (WORD, 1),
    "hid2": (32, 1),
    "ictrl": (32, 1),
    "ldstcr": (32, 1),
    "l3cr": (32, 1),
    "l3pm": (32, 1),
    "l3itcr0": (32, 1),
    # interrupt inputs (levels) and pending exceptions, one a source
    "irq": (8, 8),  # by interrupts.Irq
    # table search by software: `isa.spec.software_search` says what is where
    "dmiss": (32, 1),
    "dcmp": (32, 1),
    "hash1": (32, 1),
    "hash2": (32, 1),
    "imiss": (32, 1),
    "icmp": (32, 1),
    "rpa": (32, 1),
    "tgpr": (32, 4),  # of GPR0 to GPR3 the ones that MSR[TGPR] has put aside
    "tlb_upper": (32, 128),
    "tlb_lower": (32, 128),
    "tlb_page": (32, 128),
    "tlb_way": (8, 64),  # the way loaded last
    # of the 405: `isa.spec.sprs_405` says what is where
    "srr2": (32, 1),
    "srr3": (32, 1),
    "esr": (32, 1),
    "dear": (32, 1),
    "evpr": (32, 1),
    "usprg0": (32, 1),
    "pid": (32, 1),
    "zpr": (32, 1),
    "real_mode": (32, 6),  # a bit for each 128 MiB, by `isa.spec.sprs_405.RealMode`
    "ccr0": (32, 1),
    "dbsr": (32, 1),
    "dbcr": (32, 2),
    "iac": (32, 4),
    "dac": (32, 2),
    "dvc": (32, 2),
    "icdbdr": (32, 1),
    "utlb_tag": (32, 64),  # the two words of an entry, and its process
    "utlb_data": (32, 64),
    "utlb_pid": (8, 64),
    "tcr": (32, 1),
    "tsr": (32, 1),
    "pit_reload": (32, 1),  # what was written to PIT last
    "pit_zero": (64, 1),  # tick at which PIT was or will be zero (reloaded: a period ago or ahead)
    "reset_cause": (8, 1),  # of the reset that is to come: its kind, and who asked (as in `irq`)
    "dcr_there": (32, 32),  # wiring: a bit for each of 1024 DCRs, whether anything answers
}

#: Of 64-bit models alone; they lie behind all others.
_LIST_64: Final[dict[str, tuple[int, int]]] = {
    "slb_esid": (64, 64),  # segment lookaside buffer: ESID and V, as `slbmfee` shows them
    "slb_vsid": (64, 64),  # B, VSID, Ks, Kp, N, L, C, LP, as `slbmfev` shows them
    "halted": (8, 1),  # the hypervisor lets the CPU wait for an interrupt (H_CEDE)
    "ctrl": (32, 1),
    "hid4": (WORD, 1),
    "hid5": (WORD, 1),
    "ppr": (WORD, 1),
    "dabrx": (WORD, 1),
    "vsl": (64, 32),  # low doublewords of vector-scalar registers 0 to 31
    "lpcr": (WORD, 1),  # the hypervisor's: it says where and how interrupts enter
    "cfar": (WORD, 1),
    "dscr": (WORD, 1),
    "fscr": (WORD, 1),
    "tar": (WORD, 1),
    "ebb": (WORD, 3),  # EBBHR, EBBRR, BESCR
    "amr": (WORD, 1),
    "uamor": (WORD, 1),
    "iamr": (WORD, 1),
    "pspb": (32, 1),
    "drn": (8, 1),  # FPSCR bits 29 to 31 of 64: the rounding mode of decimal arithmetic
    "tm": (WORD, 3),  # TFHAR, TFIAR, TEXASR
    "monitor": (WORD, 16),  # SPRs 784 to 799, which user programs read as 768 to 783
}


@lru_cache(maxsize=2)
def registers(word: int) -> dict[str, tuple[int, int]]:
    """Width and number of the elements of each register, for words of `word` bits."""
    listed = _LIST if word == 32 else _LIST | _LIST_64
    return {name: (width or word, count) for name, (width, count) in listed.items()}


#: Those of 32-bit models, which is what the machines have.
REGISTERS: Final = registers(32)
