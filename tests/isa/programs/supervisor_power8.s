# Cases of a supervisor on a POWER8, between the head and the end of supervisor_64.s.  Not here: what
# QEMU 7.2 takes for rfebb's S, and MSR[TS], which it lets a guest set.
    # what a POWER8 has: facilities barred and not, transactions, the hypervisor's instructions
    .macro state
    mfspr 3, 153         # FSCR
    bl log3
    mfcr 3
    bl log3
    .endm
    .macro word w
    bl 1f
1:  mflr 28
    addi 28, 28, 2f-1b
    mtspr 805, 28        # EBBRR
    li 27, 0
    lis 26, 0x1234
    ori 26, 26, 0x5678
    li 25, 0x7ff
    b 4f                 # QEMU takes a block's first address for the instruction's
4:  .long \w
    b 3f
2:  addi 27, 27, 1
3:  bl logall
    state
    .endm
    .macro transactions
    mfmsr 4
    li 3, 1
    sldi 3, 3, 32
    or 3, 3, 4
    mtmsrd 3, 0
    isync
    .endm
    mfspr 3, 153
    bl log3
    li 3, -1
    mtcr 3
    # barred
    .irp w, 0x7c00051d, 0x7c00055d, 0x7e80059c, 0x7c0005dd, 0x7c00071d, 0x7c1a075d, 0x7c0007dd
    word \w
    .endr
    .irp w, 0x7f4022a6, 0x7f4123a6, 0x7f4222a6, 0x7f4322a6, 0x7f4fcaa6, 0x7f4fcba6
    word \w
    .endr
    # the hypervisor's, and what there is not
    .irp w, 0x4c000324, 0x4c000364, 0x4c0003a4, 0x4c0003e4, 0x7f40ceaa, 0x7f40ceea, 0x7f40ce6a
    word \w
    .endr
    .irp w, 0x7f40ce2a, 0x7f40cfaa, 0x7f40cfea, 0x7f40cf6a, 0x7f40cf2a, 0x7c00c99c, 0x7c00c9dc
    word \w
    .endr
    .irp w, 0x7c00035c, 0x7f40025c, 0x7c64282c, 0x7c642b2c, 0x7c642de4, 0x7c642d64
    word \w
    .endr
    # an event's return: to where an interrupt would go on
    li 3, 0
    mtspr 806, 3
    word 0x4c000924
    mfspr 3, 806
    bl log3
    lis 3, 0x4000
    mtspr 806, 3
    word 0x4c000924
    # TAR
    li 3, 0x100
    mtspr 153, 3
    word 0x7f4fcba6
    word 0x7f2fcaa6
    mfspr 3, 815
    bl log3
    # transactions
    transactions
    mfmsr 3
    bl log3
    .irp w, 0x7c00051d, 0x7c00055d, 0x7e80059c, 0x7c0005dd, 0x7c00071d, 0x7c1a075d, 0x7c0007dd
    transactions
    word \w
    .endr
    .irp n, 128, 129, 130, 131
    transactions
    mfspr 3, \n
    bl log3
    .endr
    li 26, 0x55
    transactions
    word 0x7f4323a6
    transactions
    mfspr 3, 130
    bl log3
