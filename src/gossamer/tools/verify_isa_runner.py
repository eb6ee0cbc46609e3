"""The program that runs in a peer, for our assembler."""

from __future__ import annotations

from typing import Final

SOURCE: Final = r"""
# One record at a time from stdin: load the state, run the instruction, send the record back.
    .equ SYS_exit, 1
    .equ SYS_read, 3
    .equ SYS_write, 4
    .equ SYS_rt_sigaction, 173
    .equ SYS_sigaltstack, 185
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
    .equ R_GPR, REC+64
    .equ R_FPR, REC+192
    .equ SIZE, 1024
    .equ SPARE, 0x7B00
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
    lfd 0, R_FPSCR(0)
    mtfsf 255, 0
    .irp n, ALL
    lfd \n, R_FPR+8*\n(0)
    .endr
    lwz 3, R_CR(0)
    mtcr 3
    lwz 3, R_XER(0)
    mtxer 3
    lwz 3, R_LR(0)
    mtlr 3
    lwz 3, R_CTR(0)
    mtctr 3
    .irp n, ALL
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
    .irp n, REST
    stw \n, R_GPR+4*\n(0)
    .endr
    mfcr 3
    stw 3, R_CR(0)
    mfxer 3
    stw 3, R_XER(0)
    mflr 3
    stw 3, R_LR(0)
    mfctr 3
    stw 3, R_CTR(0)
    li 3, 0
    stw 3, R_SIGNAL(0)
floats:
    .irp n, ALL
    stfd \n, R_FPR+8*\n(0)
    .endr
    mffs 0
    stfd 0, R_FPSCR(0)
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
    .irp n, ALL,32
    lfd 0, 192+8*\n(6)
    stfd 0, R_FPR+8*\n(0)
    .endr
    lwz 7, R_FPR+8*32+4(0)
    stw 7, R_FPSCR+4(0)
    b send
signals: .long 4, 5, 7, 8, 11, 0
# struct sigaction: handler, flags (SA_SIGINFO | SA_ONSTACK | SA_NODEFER), restorer, mask
action: .long handler, 0x48000004, 0, 0, 0
altstack: .long 0x5000, 0, 0x2800
""".replace("ALL", "0,REST").replace("REST", ",".join(map(str, range(1, 32))))
