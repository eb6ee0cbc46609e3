"""The program of `runner` for a 64-bit peer, and a static ELF file of it.

A record has doublewords where a register is one; the memory window and the pads lie as they do
for 32-bit parts.  Signal frames: Linux's ``struct sigcontext`` of 64-bit PowerPC.
"""

from __future__ import annotations

import struct
from typing import Final

from gossamer.verify.isa.qemu_user import BASE
from gossamer.verify.isa.record import END_EA
from gossamer.verify.isa.runner import CORE, USER_HEAD, USER_TAIL, finish
from gossamer.verify.isa.vector import PROGRAM

SIZE: Final = 1152
REC: Final = END_EA - SIZE
WINDOW: Final = 640
#: Offsets in a record: doublewords of LR, CTR, DAR, PAD; GPRs; FPRs.
DOUBLES: Final = 64
GPRS: Final = 96
FPRS: Final = 352
#: Of `struct ucontext`: registers, floating-point registers.
_FRAME, _FRAME_FPRS = 232, 616

#: ``mtfsf 255,0,1,0``: all 64 bits of FPSCR.
_MTFSF_ALL: Final = 0xFFFE_058E

_NAMES: Final = f"""
    .equ REC, {REC:#x}
    .equ R_WORD, REC
    .equ R_CR, REC+4
    .equ R_XER, REC+8
    .equ R_SIGNAL, REC+12
    .equ R_FPSCR, REC+16
    .equ R_PREFIX, REC+24
    .equ R_LR, REC+64
    .equ R_CTR, REC+72
    .equ R_DAR, REC+80
    .equ R_PAD, REC+88
    .equ R_GPR, REC+{GPRS}
    .equ R_FPR, REC+{FPRS}
    .equ SIZE, {SIZE}
    .equ SPARE, 0x7B00
"""

_TAIL: Final = f"""# Signal handler: r3 number, r4 siginfo, r5 ucontext
handler:
    addi 6, 5, {_FRAME}
    .irp n, ALL
    ld 7, 8*\\n(6)
    std 7, R_GPR+8*\\n(0)
    .endr
    ld 7, 38*8(6)
    stw 7, R_CR(0)
    ld 7, 37*8(6)
    stw 7, R_XER(0)
    ld 7, 36*8(6)
    std 7, R_LR(0)
    ld 7, 35*8(6)
    std 7, R_CTR(0)
    ld 7, 32*8(6)
    std 7, R_PAD(0)
    ld 7, 16(4)
    std 7, R_DAR(0)
    stw 3, R_SIGNAL(0)
    .irp n, ALL,32
    lfd 0, {_FRAME_FPRS - _FRAME}+8*\\n(6)
    stfd 0, R_FPR+8*\\n(0)
    .endr
    ld 7, R_FPR+8*32(0)
    std 7, R_FPSCR(0)
    b send
signals: .long 4, 5, 7, 8, 11, 0
# struct sigaction: handler, flags (SA_SIGINFO | SA_ONSTACK | SA_NODEFER), restorer, mask
    .balign 8
action: .quad handler, 0x48000004, 0, 0
altstack: .quad 0x5000, 0, 0x2800
"""


def _widened(source: str) -> str:
    """A 32-bit text with doublewords for what a record has as such."""
    for name in ("R_LR", "R_CTR", "R_PAD", "R_GPR"):
        for narrow, wide in (("lwz", "ld"), ("stw", "std")):
            for register in ("0", "3", r"\n"):
                source = source.replace(
                    f"{narrow} {register}, {name}", f"{wide} {register}, {name}"
                )
    return source.replace(r"R_GPR+4*\n", r"R_GPR+8*\n")


def _program() -> str:
    tail = USER_TAIL[: USER_TAIL.index("# Signal handler")]
    text = _NAMES + USER_HEAD + _widened(CORE) + tail + _TAIL
    return finish(text, "", "").replace("mtfsf 255, 0", f".long {_MTFSF_ALL:#x}")


WIDE: Final = _program()


def _vector_program() -> str:
    """The vectors' program, in 64-bit mode: its registers keep words of 32 bits."""
    text = PROGRAM.replace("lwz 6, 48(5)", f"addi 6, 5, {_FRAME}")
    text = text.replace(r"lwz 7, 4*\n(6)", r"ld 7, 8*\n(6)").replace(
        "lwz 7, 38*4(6)", "ld 7, 38*8(6)"
    )
    text = text.replace(
        "    lwz 3, R_VRSAVE(0)", "    lfd 0, R_FPSCR(0)\n    mtfsf 255, 0\n    lwz 3, R_VRSAVE(0)"
    )
    text = text.replace("vectors:", "    mffs 0\n    stfd 0, R_FPSCR(0)\nvectors:")
    text = text.replace(
        "    stw 3, R_SIGNAL(0)\n    b vectors",
        f"    stw 3, R_SIGNAL(0)\n    lfd 0, {_FRAME_FPRS}+8*32(5)\n"
        "    stfd 0, R_FPSCR(0)\n    b vectors",
    )
    text = text.replace(
        "    li 3, 4\n    bl catch", "    li 3, 4\n    bl catch\n    li 3, 8\n    bl catch"
    )
    text = text.replace("    .equ R_GPR", "    .equ R_FPSCR, REC+24\n    .equ R_GPR")
    head = text[: text.index("action:")]
    return head.replace("ALL", ",".join(map(str, range(32)))) + _TAIL[_TAIL.index("    .balign") :]


WIDE_VECTOR: Final = _vector_program()


def elf_64(code: bytes, end: int) -> bytes:
    """A static big-endian 64-bit program (ELFv2: no descriptors), BASE to `end`."""
    ident = b"\x7fELF" + bytes([2, 2, 1]) + bytes(9)
    header = struct.pack(">HHIQQQIHHHHHH", 2, 21, 1, BASE, 64, 0, 2, 64, 56, 1, 0, 0, 0)
    segment = struct.pack(">IIQQQQQQ", 1, 7, 0x1000, BASE, BASE, len(code), end - BASE, 0x1000)
    return (ident + header + segment).ljust(0x1000, b"\0") + code
