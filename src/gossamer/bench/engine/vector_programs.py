"""The AltiVec programs of `gossamer bench engine` (see `programs`)."""

from __future__ import annotations

from typing import Final

VSAXPY: Final = """
# y = a x + y on 4096 singles, four at a time.
vsaxpy:
    mfmsr 5
    oris 5,5,0x200
    mtmsr 5
    isync
    lis 4,DATA@h            # x, then y
    addi 7,4,-4
    li 5,8192
    mtctr 5
    lis 6,0x3f80
1:  stwu 6,4(7)
    addi 6,6,0x101
    bdnz 1b
    lis 6,0x3a80
    stw 6,16(7)
    addi 7,7,16
    lvewx 0,0,7
    vspltw 0,0,3
2:  mr 7,4
    addi 8,4,0x4000
    li 5,1024
    mtctr 5
3:  lvx 1,0,7
    lvx 2,0,8
    vmaddfp 2,1,0,2
    stvx 2,0,8
    addi 7,7,16
    addi 8,8,16
    bdnz 3b
    addic. 3,3,-1
    bne 2b
    addi 7,4,0x3ffc
    li 5,4096
    mtctr 5
4:  lwzu 6,4(7)
    rotlwi 3,3,3
    xor 3,3,6
    bdnz 4b
    blr
"""

VBYTES: Final = """
# Bytes and words of 64 KiB: sums, rotations, permutations, saturation, maxima.
vbytes:
    mfmsr 5
    oris 5,5,0x200
    mtmsr 5
    isync
    lis 4,DATA@h
    addi 7,4,-4
    li 5,16384
    mtctr 5
    lis 6,0x1234
1:  mulli 6,6,16807
    addi 6,6,12345
    stwu 6,4(7)
    bdnz 1b
    li 9,16
    lvx 8,0,4
    lvx 5,9,4
    vxor 3,3,3
    vxor 6,6,6
    vxor 10,10,10
2:  mr 7,4
    addis 8,4,1
    li 5,4096
    mtctr 5
3:  lvx 1,0,7
    vadduwm 3,3,1
    vrlw 4,3,5
    vxor 6,6,4
    vperm 7,1,6,8
    vsububs 9,7,1
    vmaxub 9,9,4
    vsum4ubs 10,9,10
    stvx 7,0,8
    addi 7,7,16
    addi 8,8,16
    bdnz 3b
    addic. 3,3,-1
    bne 2b
    vxor 10,10,6
    stvx 10,0,4
    lwz 3,0(4)
    lwz 5,4(4)
    xor 3,3,5
    lwz 5,8(4)
    xor 3,3,5
    lwz 5,12(4)
    xor 3,3,5
    blr
"""
