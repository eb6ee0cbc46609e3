"""The floating-point programs of `gossamer bench engine` (see `programs`)."""

from __future__ import annotations

from typing import Final

MATMUL: Final = """
# C = A x B, doubles, 48 x 48.
matmul:
    lis 4,DATA@h
    lis 5,one@h
    ori 5,5,one@l
    lfd 1,0(5)
    lfd 2,8(5)
    fmr 3,1
    li 6,4608
    mtctr 6
    addi 7,4,-8
1:  fadd 3,3,2
    stfdu 3,8(7)
    bdnz 1b
    addi 5,4,18432          # B
    lis 6,(DATA+0x10000)@h  # C
    li 12,384
2:  mr 7,4                  # row of A
    mr 11,6
    li 8,48
3:  mr 9,5                  # column of B
    li 10,48
4:  fsub 4,4,4
    mr 0,7
    mr 30,9
    li 31,48
    mtctr 31
    addi 31,7,-8
5:  lfdu 5,8(31)
    lfd 6,0(30)
    add 30,30,12
    fmadd 4,5,6,4
    bdnz 5b
    stfd 4,0(11)
    addi 11,11,8
    addi 9,9,8
    addic. 10,10,-1
    bne 4b
    add 7,7,12
    addic. 8,8,-1
    bne 3b
    addic. 3,3,-1
    bne 2b
    li 8,2304
    mtctr 8
    addi 6,6,-8
    li 3,0
6:  lwzu 7,8(6)
    lwz 8,4(6)
    mulli 3,3,31
    xor 7,7,8
    add 3,3,7
    bdnz 6b
    blr
    .balign 8
one:
    .quad 0x3ff0000000000000
    .quad 0x3f91eb851eb851ec
"""

NBODY: Final = """
# Five bodies drawn to each other; square roots by Newton's rule (frsqrte differs between parts).
nbody:
    lis 4,bodies@h
    ori 4,4,bodies@l
    lis 5,DATA@h
    li 6,35
    mtctr 6
    addi 7,4,-8
    addi 8,5,-8
1:  lfdu 0,8(7)
    stfdu 0,8(8)
    bdnz 1b
    lis 6,constants@h
    ori 6,6,constants@l
    lfd 31,0(6)             # 0.5
    lfd 30,8(6)             # 1.5
    lfd 29,16(6)            # dt
    lis 10,0x5fe6
    ori 10,10,0xeb50
2:  mr 7,5
    li 8,4
3:  lfd 1,0(7)
    lfd 2,8(7)
    lfd 3,16(7)
    lfd 4,24(7)
    lfd 5,32(7)
    lfd 6,40(7)
    lfd 7,48(7)
    addi 9,7,56
    mtctr 8
4:  lfd 8,0(9)
    lfd 9,8(9)
    lfd 10,16(9)
    lfd 14,48(9)
    fsub 8,1,8
    fsub 9,2,9
    fsub 10,3,10
    fmul 11,8,8
    fmadd 11,9,9,11
    fmadd 11,10,10,11
    stfd 11,-8(1)           # 1 / sqrt: a first guess from the exponent
    lwz 12,-8(1)
    srwi 12,12,1
    subf 12,12,10
    stw 12,-8(1)
    lfd 12,-8(1)
    fmul 13,11,31
    fmul 0,12,12
    fnmsub 0,0,13,30
    fmul 12,12,0
    fmul 0,12,12
    fnmsub 0,0,13,30
    fmul 12,12,0
    fmul 0,12,12
    fnmsub 0,0,13,30
    fmul 12,12,0
    fmul 0,12,12
    fnmsub 0,0,13,30
    fmul 12,12,0
    fdiv 0,29,11
    fmul 12,0,12
    lfd 11,24(9)
    fmul 13,7,12
    fmadd 11,8,13,11
    stfd 11,24(9)
    lfd 11,32(9)
    fmadd 11,9,13,11
    stfd 11,32(9)
    lfd 11,40(9)
    fmadd 11,10,13,11
    stfd 11,40(9)
    fmul 13,14,12
    fnmsub 4,8,13,4
    fnmsub 5,9,13,5
    fnmsub 6,10,13,6
    addi 9,9,56
    bdnz 4b
    stfd 4,24(7)
    stfd 5,32(7)
    stfd 6,40(7)
    addi 7,7,56
    addic. 8,8,-1
    bne 3b
    mr 7,5
    li 8,5
    mtctr 8
5:  lfd 1,0(7)
    lfd 4,24(7)
    fmadd 1,4,29,1
    stfd 1,0(7)
    lfd 1,8(7)
    lfd 4,32(7)
    fmadd 1,4,29,1
    stfd 1,8(7)
    lfd 1,16(7)
    lfd 4,40(7)
    fmadd 1,4,29,1
    stfd 1,16(7)
    addi 7,7,56
    bdnz 5b
    addic. 3,3,-1
    bne 2b
    lwz 3,4(5)
    lwz 4,0(5)
    xor 3,3,4
    blr
    .balign 8
constants:
    .quad 0x3fe0000000000000
    .quad 0x3ff8000000000000
    .quad 0x3f50624dd2f1a9fc
bodies:                     # x y z, velocity, mass
    .quad 0, 0, 0, 0, 0, 0, 0x4043bd3cc9be45de
    .quad 0x40135da0343cd92c, 0xbff290abc01fdb7c, 0xbfba86f96c25ebf0
    .quad 0x3fe367069b93ccbc, 0x40067ef2f57d949b, 0xbf99d2d79a5a0715, 0x3fa34c95d9ab33d8
    .quad 0x4020afcdc332ca67, 0x40107fcb31de01b0, 0xbfd9d353e1eb467c
    .quad 0xbff02c21b8879442, 0x3ffd35e9bf1f8f13, 0x3f813c485f1123b4, 0x3f871d490d07c637
    .quad 0x4029c9eacea7d9cf, 0xbfe4eb49ff3c8f2f, 0xbfcc5c1a5d2e2f5c
    .quad 0x3ff1531ca9911bef, 0x3febcc7f3e54bbc5, 0xbf862f6bfaf23e7c, 0x3f5c3dd29cf41eb3
    .quad 0x402ec267a905572a, 0xc039eb5833c8a220, 0x3fc6f1f393abe540
    .quad 0x3fef54b61659bc4a, 0x3fe307c631c4fba3, 0xbfa1cb88587665f6, 0x3f60a8f3531799ac
"""

MIX: Final = """
# In the manner of Whetstone: single and double, divide, compare, convert.
mix:
    lis 4,mixed@h
    ori 4,4,mixed@l
    lis 5,DATA@h
    lfd 1,0(4)
    lfd 2,8(4)
    lfs 3,16(4)
    lfs 4,20(4)
    lfd 9,24(4)
    fmr 5,1
    fmr 6,2
    frsp 7,2
    lis 7,1
    mtctr 7
1:  fadd 5,5,2
    fmul 5,5,1
    fsub 6,5,6
    fdivs 7,7,3
    fmadds 7,7,4,3
    fcmpu 0,6,5
    blt 2f
    fneg 6,6
    fmul 6,6,1
2:  fctiwz 8,5
    stfd 8,0(5)
    lwz 6,4(5)
    fabs 6,6
    fsel 6,6,6,5
    fdiv 5,5,9
    stfs 7,8(5)
    lfs 7,8(5)
    add 8,8,6
    bdnz 1b
    lis 7,1
    mtctr 7
    addic. 3,3,-1
    bne 1b
    stfd 5,0(5)
    stfd 6,8(5)
    lwz 3,0(5)
    lwz 6,8(5)
    xor 3,3,6
    lwz 6,12(5)
    xor 3,3,6
    blr
    .balign 8
mixed:
    .quad 0x3feffffeb074a771
    .quad 0x3ff4ccccd0000000
    .long 0x3f8147ae, 0x3e99999a
    .quad 0x3ff000431bde82d8
"""
