# What a guest's supervisor sees on a pseries: faults of segments and pages, fetches, privileged and
# illegal instructions, 32-bit mode.  Each value is printed as 16 digits by H_PUT_TERM_CHAR, then DONE.
# For GNU as -a64; linked at 0, loaded at 0x400000.
    .abiversion 2
    .globl _start
    .set LOG, 0x500000
    .set SLOT, 0x510000
_start:
    # to 64-bit mode
    li 3, 1
    sldi 3, 3, 63
    ori 3, 3, 0x1000
    mtsrr1 3
    lis 3, 1f@h
    ori 3, 3, 1f@l
    oris 3, 3, 0x40
    mtsrr0 3
    rfid
1:  lis 31, LOG@h
    # vectors: copy the stub to each
    lis 4, stub@h
    ori 4, 4, stub@l
    oris 4, 4, 0x40
    lis 5, table@h
    ori 5, 5, table@l
    oris 5, 5, 0x40
2:  lwz 6, 0(5)
    cmpwi 6, 0
    beq 4f
    li 7, 0
3:  lwzx 8, 4, 7
    stwx 8, 6, 7
    addi 7, 7, 4
    cmpwi 7, 64
    bne 3b
    sync
    icbi 0, 6
    isync
    addi 5, 5, 4
    b 2b
4:
    # page table entries: VSID 0x123 page n -> real 0x600000 + n*4096, by H_ENTER exact
    .macro enter page, flags, vflags=1
    li 3, 8              # H_ENTER
    li 4, 0              # flags: any slot
    li 5, ((0x123 ^ \page) & 0x7ff) * 8
    lis 6, 0x12
    ori 6, 6, 0x3000     # 0x123 << 12
    ori 6, 6, \vflags
    lis 7, 0x60
    ori 7, 7, (\page << 12) & 0xf000
    ori 7, 7, \flags
    sc 1
    bl log3
    .endm
    enter 0, 0x10        # pp 0
    enter 1, 0x11
    enter 2, 0x12
    enter 3, 0x13
    enter 4, 0x16        # no execute
    enter 5, 0x3a        # guarded, inhibited, pp 2
    # page 0 gets code: blr
    lis 3, 0x60
    lis 4, 0x4e80
    ori 4, 4, 0x20
    .irp n, 0,1,2,3,4,5
    lis 3, 0x60
    ori 3, 3, \n << 12
    stw 4, 0(3)
    .endr
    # SLB: entry 1 -> segment 0xC000000000000000, Ks=1; entry 2 -> 0xD.., Kp=1; entry 3: 0xE.. N
    .macro slbset n, top, vs
    li 3, \top
    sldi 3, 3, 60
    oris 3, 3, 0x800
    ori 3, 3, \n
    lis 4, 0x12
    ori 4, 4, 0x3000 | \vs
    slbmte 4, 3
    isync
    .endm
    slbset 1, 12, 0x800
    slbset 2, 13, 0x400
    slbset 3, 14, 0x200
    # data cases with DR on: r30 = msr to use
    .macro data ins, top, off
    li 29, \top
    sldi 29, 29, 60
    ori 29, 29, \off
    bl 1f
1:  mflr 28
    addi 28, 28, 2f-1b
    lis 27, 0
    li 26, 0x77
    mfmsr 3
    ori 3, 3, 0x10
    mtmsrd 3, 0
    isync
    \ins 26, 0(29)
    b 3f
2:  li 27, 1
3:  mfmsr 3
    li 4, 0x10
    andc 3, 3, 4
    mtmsrd 3, 0
    isync
    bl logall
    .endm
    .irp off, 0x008, 0x1008, 0x2008, 0x3008, 0x4008, 0x5008, 0x6008
    data ld, 12, \off
    data std, 12, \off
    data ld, 13, \off
    data std, 13, \off
    .endr
    data ld, 11, 0x8
    data stw, 11, 0x8
    # R and C of the entries
    .irp n, 0,1,2,3,4,5
    li 3, 0x0c           # H_READ
    li 4, 0
    li 5, ((0x123 ^ \n) & 0x7ff) * 8
    sc 1
    std 3, 0(31)
    std 5, 8(31)
    addi 31, 31, 16
    .endr
    # fetch cases: go to page with IR on; blr comes back with IR on?  use a trap instead
    .macro fetch top, off
    li 29, \top
    sldi 29, 29, 60
    ori 29, 29, \off
    bl 1f
1:  mflr 28
    addi 28, 28, 2f-1b
    mtlr 28
    mfmsr 3
    ori 3, 3, 0x20
    mtsrr1 3
    mtsrr0 29
    rfid
2:  li 27, 2
    bl logall
    .endm
    .irp off, 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000
    fetch 12, \off
    fetch 13, \off
    fetch 14, \off
    .endr
    fetch 11, 0
    # plain cases: word executed in supervisor 64-bit mode
    .macro word w
    bl 1f
1:  mflr 28
    addi 28, 28, 2f-1b
    li 27, 0
    lis 26, 0x1234
    ori 26, 26, 0x5678
    li 25, 0x7ff
    .long \w
    b 3f
2:  li 27, 1
3:  bl logall
    .endm
    word 0x44000002
    word 0x7fe00008
    word 0x00000000
    word 0x4c000064
    word 0x4c000224
    word 0x7c00d264
    word 0x7c00d224
    word 0x7c00046c
    word 0x7f59ffa6
    word 0x7f5903a6
    word 0x7f5902a6
    word 0x7f5f42a6
    word 0x7f58fba6
    word 0x7c0000ac
    word 0x7f5103a6
    word 0x7f5e4ba6
    word 0x7f400424
    word 0x7c00d364
    word 0x7f40cf26
    word 0x7f40cea6
    word 0x7f1c43a6
    word 0x7c1bd7a6
    word 0xfc00d02a
    word 0x10000000
    word 0x7f40001c
    # 32-bit mode: arithmetic
    bl 1f
1:  mflr 28
    addi 28, 28, 2f-1b
    li 3, 0x1000
    mtsrr1 3
    mtsrr0 28
    rfid
2:  li 3, 1
    sldi 3, 3, 40
    ori 3, 3, 5
    li 4, -5
    addo. 5, 3, 4
    mfcr 20
    mfxer 21
    addic 6, 4, 5
    mfxer 22
    subfc 7, 3, 4
    mfxer 23
    lis 8, 0x7fff
    ori 8, 8, 0xffff
    addo 9, 8, 8
    mfxer 24
    lis 11, 0x8000
    nego 12, 11
    mfxer 25
    lis 10, 0x50
    li 13, 1
    sldi 13, 13, 36
    add 14, 10, 13
    std 9, 64(14)
    ldu 15, 64(14)
    li 16, 1
    sldi 16, 16, 33
    mtctr 16
    addi 16, 16, 1
    bl 4f
4:  mflr 17
    addi 16, 16, 2
    mtctr 16
    bdnz 5f
5:  mfctr 18
    mfmsr 19
    # back to 64
    li 3, 1
    sldi 3, 3, 63
    ori 3, 3, 0x1000
    mtsrr1 3
    bl 6f
6:  mflr 28
    addi 28, 28, 7f-6b
    mtsrr0 28
    rfid
7:
    .irp r, 5,6,7,9,12,14,15,17,18,19,20,21,22,23,24,25
    std \r, 0(31)
    addi 31, 31, 8
    .endr
    # print the log
    lis 30, LOG@h
9:  cmpld 30, 31
    bge done
    ld 29, 0(30)
    # 16 hex digits, one call of 16 bytes and one newline
    li 28, 16
    li 5, 0
    li 6, 0
10: rldicl 7, 29, 4, 60
    sldi 29, 29, 4
    cmpwi 7, 10
    addi 8, 7, 48
    blt 11f
    addi 8, 7, 87
11: cmpwi 28, 8
    bgt 12f
    sldi 6, 6, 8
    or 6, 6, 8
    b 13f
12: sldi 5, 5, 8
    or 5, 5, 8
13: addi 28, 28, -1
    cmpwi 28, 0
    bne 10b
    mr 20, 6
    mr 6, 5
    mr 7, 20
    lis 4, 0x7100
    li 5, 16
    li 3, 0x58
    sc 1
    lis 4, 0x7100
    li 5, 2
    li 6, 0x0d0a
    sldi 6, 6, 48
    li 7, 0
    li 3, 0x58
    sc 1
    addi 30, 30, 8
    b 9b
done:
    lis 4, 0x7100
    li 5, 4
    lis 6, 0x444f
    ori 6, 6, 0x4e45
    sldi 6, 6, 32
    li 3, 0x58
    sc 1
14: b 14b
log3:
    std 3, 0(31)
    addi 31, 31, 8
    blr
# r27 says how it went; the vector's log lies at SLOT: vector, srr0-r28, srr1, dar, dsisr, msr
logall:
    lis 3, SLOT@h
    ori 3, 3, SLOT@l
    std 27, 0(31)
    std 26, 8(31)
    ld 4, 0(3)
    std 4, 16(31)
    ld 4, 8(3)
    subf 4, 28, 4
    std 4, 24(31)
    ld 4, 16(3)
    std 4, 32(31)
    ld 4, 24(3)
    std 4, 40(31)
    ld 4, 32(3)
    std 4, 48(31)
    ld 4, 40(3)
    std 4, 56(31)
    addi 31, 31, 64
    li 4, 0
    std 4, 0(3)
    std 4, 16(3)
    mtdar 4
    mtdsisr 4
    std 28, 8(3)
    std 4, 24(3)
    std 4, 32(3)
    std 4, 40(3)
    blr
# a vector's stub (64 bytes): finds where it is
stub:
    mtsprg 0, 3
    mtsprg 1, 4
    mflr 4
    mtsprg 2, 4
    bl 1f
1:  mflr 4
    lis 3, handler@h
    ori 3, 3, handler@l
    oris 3, 3, 0x40
    mtlr 3
    addi 4, 4, -20
    blr
    nop
    nop
    nop
    nop
    nop
handler:
    lis 3, SLOT@h
    ori 3, 3, SLOT@l
    std 4, 0(3)
    mfsrr0 4
    std 4, 8(3)
    mfsrr1 4
    std 4, 16(3)
    mfdar 4
    std 4, 24(3)
    mfdsisr 4
    std 4, 32(3)
    mfmsr 4
    std 4, 40(3)
    # go on at r28 with the MSR as it is
    mtsrr0 28
    mfmsr 4
    mtsrr1 4
    mfsprg 3, 2
    mtlr 3
    mfsprg 3, 0
    mfsprg 4, 1
    rfid
table: .long 0x300, 0x380, 0x400, 0x480, 0x600, 0x700, 0x800, 0xc00, 0xd00, 0xf20, 0xf40, 0xf60, 0x100, 0x200, 0
