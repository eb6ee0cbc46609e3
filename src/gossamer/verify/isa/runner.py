"""The program that runs in a peer, for our assembler: as a Linux program or on a bare machine.

Both load the state of a record, run its prefix and instruction, and put the state back.
"""

from __future__ import annotations

from typing import Final

MSR_RUN: Final = 0x3000  # FP and ME: supervisor mode without translation

NAMES: Final = r"""
    .equ REC, 0x7C00
    .equ R_WORD, REC
    .equ R_CR, REC+4
    .equ R_XER, REC+8
    .equ R_LR, REC+12
    .equ R_CTR, REC+16
    .equ R_SIGNAL, REC+20
    .equ R_FPSCR, REC+24
    .equ R_DAR, REC+32
    .equ R_PAD, REC+36
    .equ R_PREFIX, REC+40
    .equ R_SRR0, REC+44
    .equ R_SRR1, REC+48
    .equ R_MSR, REC+52
    .equ R_DSISR, REC+56
    .equ R_GPR, REC+64
    .equ R_FPR, REC+192
    .equ SIZE, 1024
    .equ SPARE, 0x7B00
"""

CORE: Final = r"""
load:
    li 3, SPARE
    stwcx. 3, 0, 3
    lwz 3, R_PREFIX(0)
    lis 4, slot@ha
    stwu 3, slot@l(4)
    lwz 3, R_WORD(0)
    stw 3, 4(4)
    dcbst 0, 4
    sync
    icbi 0, 4
    isync
FLOATS_IN    lwz 3, R_CR(0)
    mtcr 3
    lwz 3, R_XER(0)
    mtxer 3
    lwz 3, R_LR(0)
    mtlr 3
    lwz 3, R_CTR(0)
    mtctr 3
BEFORE    .irp n, ALL
    lwz \n, R_GPR+4*\n(0)
    .endr
    b slot
# On a page of their own: the prefix, the instruction, and 16 pads of 16 bytes where it can go on.
    .org 0x3000
slot:
    .long 0
    .long 0
pads:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    stw 0, R_GPR(0)
    li 0, \n
    b capture
    nop
    .endr
    .org 0x4000
capture:
    stw 0, R_PAD(0)
    li 0, 0
    stw 0, R_SIGNAL(0)
save:
    .irp n, REST
    stw \n, R_GPR+4*\n(0)
    .endr
AFTER    mfcr 3
    stw 3, R_CR(0)
    mfxer 3
    stw 3, R_XER(0)
    mflr 3
    stw 3, R_LR(0)
    mfctr 3
    stw 3, R_CTR(0)
FLOATS_OUT"""

USER_HEAD: Final = r"""
    .equ SYS_exit, 1
    .equ SYS_read, 3
    .equ SYS_write, 4
    .equ SYS_rt_sigaction, 173
    .equ SYS_sigaltstack, 185
    .globl _start
_start:
    li 31, 0
    lis 3, altstack@ha
    addi 3, 3, altstack@l
    li 4, 0
    li 0, SYS_sigaltstack
    sc
    lis 30, signals@ha
    addi 30, 30, signals@l
1:  lwz 3, 0(30)
    cmpwi 3, 0
    beq 2f
    lis 4, action@ha
    addi 4, 4, action@l
    li 5, 0
    li 6, 8
    li 0, SYS_rt_sigaction
    sc
    addi 30, 30, 4
    b 1b
2:
next:
    li 30, REC
    li 29, SIZE
3:  li 3, 0
    mr 4, 30
    mr 5, 29
    li 0, SYS_read
    sc
    bso quit
    cmpwi 3, 0
    ble quit
    add 30, 30, 3
    subf. 29, 3, 29
    bne 3b
"""

USER_TAIL: Final = r"""
send:
    li 30, REC
    li 29, SIZE
4:  li 3, 1
    mr 4, 30
    mr 5, 29
    li 0, SYS_write
    sc
    bso quit
    add 30, 30, 3
    subf. 29, 3, 29
    bne 4b
    b next
quit:
    li 3, 0
    li 0, SYS_exit
    sc
# Signal handler: r3 number, r4 siginfo, r5 ucontext (its register pointer at 48)
handler:
    lwz 6, 48(5)
    .irp n, ALL
    lwz 7, 4*\n(6)
    stw 7, R_GPR+4*\n(0)
    .endr
    lwz 7, 38*4(6)
    stw 7, R_CR(0)
    lwz 7, 37*4(6)
    stw 7, R_XER(0)
    lwz 7, 36*4(6)
    stw 7, R_LR(0)
    lwz 7, 35*4(6)
    stw 7, R_CTR(0)
    lwz 7, 32*4(6)
    stw 7, R_PAD(0)
    lwz 7, 12(4)
    stw 7, R_DAR(0)
    stw 3, R_SIGNAL(0)
FLOATS_SIGNAL    b send
signals: .long 4, 5, 7, 8, 11, 0
# struct sigaction: handler, flags (SA_SIGINFO | SA_ONSTACK | SA_NODEFER), restorer, mask
action: .long handler, 0x48000004, 0, 0, 0
altstack: .long 0x5000, 0, 0x2800
"""

SYSTEM_HEAD: Final = r"""
    .equ NEXT, 0x7B10
    .equ DONE, 0x7B14
# Vectors: r0 is saved, then says which.
    .irp v, 1,2,3,4,5,6,7,8,9,A,B,C,D,E,F,10,11,12,13,14,15,16,17
    .org 0x\v00
    stw 0, R_GPR(0)
    li 0, 0x\v00
    b fault
    .endr
    .org 0x2000
fault:
    stw 0, R_SIGNAL(0)
    stw 3, R_GPR+12(0)
    mfsrr0 3
    stw 3, R_PAD(0)
    mfsrr1 3
    stw 3, R_SRR1(0)
    mfdar 3
    stw 3, R_DAR(0)
    mfdsisr 3
    stw 3, R_DSISR(0)
    lwz 3, R_GPR+12(0)
    b save
_start:
    li 3, MSR_RUN
    mtsrr1 3
    lis 3, 6f@ha
    addi 3, 3, 6f@l
    mtsrr0 3
    rfi
6:  lis 28, FIRST@ha
    addi 28, 28, FIRST@l
next:
    lis 27, LAST@ha
    addi 27, 27, LAST@l
    cmplw 28, 27
    bge quit
    stw 28, NEXT(0)
    li 3, SIZE/4
    mtctr 3
    li 29, REC-4
    subi 28, 28, 4
3:  lwzu 4, 4(28)
    stwu 4, 4(29)
    bdnz 3b
"""

SYSTEM_TAIL: Final = r"""
    lwz 28, NEXT(0)
    li 3, SIZE/4
    mtctr 3
    li 29, REC-4
    subi 30, 28, 4
4:  lwzu 4, 4(29)
    stwu 4, 4(30)
    bdnz 4b
    addi 28, 28, SIZE
    b next
quit:
    li 3, 1
    stw 3, DONE(0)
5:  b 5b
"""

SYSTEM_BEFORE: Final = """\
    lwz 3, R_SRR0(0)
    mtsrr0 3
    lwz 3, R_SRR1(0)
    mtsrr1 3
    li 3, 0
    mtdar 3
    mtdsisr 3
"""

SYSTEM_AFTER: Final = """\
    mfmsr 3
    stw 3, R_MSR(0)
    li 3, MSR_RUN
    mtsrr1 3
    lis 3, 6f@ha
    addi 3, 3, 6f@l
    mtsrr0 3
    rfi
6:
"""


#: How floating-point registers come and go; nothing on a part that has none.
FLOATS: Final = {
    "FLOATS_IN": r"""    lfd 0, R_FPSCR(0)
    mtfsf 255, 0
    .irp n, ALL
    lfd \n, R_FPR+8*\n(0)
    .endr
""",
    "FLOATS_OUT": r"""floats:
    .irp n, ALL
    stfd \n, R_FPR+8*\n(0)
    .endr
    mffs 0
    stfd 0, R_FPSCR(0)
""",
    "FLOATS_SIGNAL": r"""    .irp n, ALL,32
    lfd 0, 192+8*\n(6)
    stfd 0, R_FPR+8*\n(0)
    .endr
    lwz 7, R_FPR+8*32+4(0)
    stw 7, R_FPSCR+4(0)
""",
}


def finish(source: str, before: str, after: str, *, floating: bool = True) -> str:
    for place, text in FLOATS.items():
        source = source.replace(place, text if floating else "floats:\n" * (place == "FLOATS_OUT"))
    source = source.replace("BEFORE", before).replace("AFTER", after)
    return source.replace("ALL", "0,REST").replace("REST", ",".join(map(str, range(1, 32))))


#: For qemu-ppc and Unicorn, from address 0x2000.
USER: Final = finish(NAMES + USER_HEAD + CORE + USER_TAIL, "", "")
#: For qemu-ppc as a part without floating point.
INTEGER: Final = finish(NAMES + USER_HEAD + CORE + USER_TAIL, "", "", floating=False)
#: For a bare machine, from address 0x100; FIRST and LAST bound the records.
SYSTEM: Final = finish(
    NAMES + SYSTEM_HEAD + CORE + SYSTEM_TAIL, SYSTEM_BEFORE, SYSTEM_AFTER
).replace("MSR_RUN", hex(MSR_RUN))
