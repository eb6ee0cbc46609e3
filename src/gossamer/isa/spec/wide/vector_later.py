"""Vector instructions of Power ISA 2.07 on doublewords and quadwords, and counts of bits.

Source: Power ISA 2.07 Book I 6.9 to 6.12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import (
    Expr,
    ashr,
    clz,
    const,
    eq,
    gts,
    gtu,
    low,
    ltu,
    rotl,
    select,
    sext,
    trunc,
    zext,
)
from gossamer.isa.insn import insn
from gossamer.isa.spec.vector_forms import VA, VC, VX
from gossamer.isa.spec.wide.later import bits_in_bytes, bits_in_words

SINCE: Final = ("2.07",)
Two = Callable[[Expr, Expr], Expr]
One = Callable[[Expr], Expr]


def parts(value: Expr, width: int) -> list[Expr]:
    """The lanes of so many bits, the most significant first."""
    return [trunc(value >> (128 - width - at), width) for at in range(0, 128, width)]


def whole(lanes: list[Expr]) -> Expr:
    """128 bits of lanes, the most significant first."""
    value = const(0, 128)
    for lane in lanes:
        value = value << lane.width | zext(lane, 128)
    return value


def two(name: str, xo: int, width: int, does: Two) -> None:
    """VRT = does(VRA, VRB) lane by lane."""

    @insn(
        VX,
        f"{name} VRT,VRA,VRB",
        name=name,
        needs="VEC",
        OPCD=4,
        XO=xo,
        features=SINCE,
        width=64,
    )
    def body(s: Body, i: VX) -> None:
        pairs = zip(parts(s.vr[i.VRA], width), parts(s.vr[i.VRB], width), strict=True)
        s.vr[i.VRT] = whole([does(a, b) for a, b in pairs])


def one(name: str, xo: int, width: int, does: One) -> None:
    """VRT = does(VRB) lane by lane."""

    @insn(VX, f"{name} VRT,VRB", name=name, needs="VEC", OPCD=4, XO=xo, features=SINCE, width=64)
    def body(s: Body, i: VX) -> None:
        s.vr[i.VRT] = whole([does(b) for b in parts(s.vr[i.VRB], width)])


def evens(x: Expr) -> list[Expr]:
    """Its first and third word."""
    return parts(x, 32)[::2]


def odds(x: Expr) -> list[Expr]:
    return parts(x, 32)[1::2]


def in_turn(a: list[Expr], b: list[Expr]) -> Expr:
    return whole([x for pair in zip(a, b, strict=True) for x in pair])


def low_half(x: Expr) -> Expr:
    """The low 32 bits of a doubleword, with their sign."""
    return sext(low(x), 64)


two("vaddudm", 192, 64, lambda a, b: a + b)
two("vsubudm", 1216, 64, lambda a, b: a - b)
two("vadduqm", 256, 128, lambda a, b: a + b)
two("vsubuqm", 1280, 128, lambda a, b: a - b)
two("vaddcuq", 320, 128, lambda a, b: zext(ltu(a + b, a), 128))
two("vsubcuq", 1344, 128, lambda a, b: zext(~ltu(a, b), 128))
two("vmrgew", 1932, 128, lambda a, b: in_turn(evens(a), evens(b)))
two("vmrgow", 1676, 128, lambda a, b: in_turn(odds(a), odds(b)))
two("vpkudum", 1102, 128, lambda a, b: whole([*odds(a), *odds(b)]))
two("vmuluwm", 137, 32, lambda a, b: a * b)
two("vmulesw", 904, 64, lambda a, b: low_half(a >> 32) * low_half(b >> 32))
two("vmulosw", 392, 64, lambda a, b: low_half(a) * low_half(b))
two("vmuleuw", 648, 64, lambda a, b: (a >> 32) * (b >> 32))
two("vmulouw", 136, 64, lambda a, b: zext(low(a), 64) * zext(low(b), 64))
two("vmaxsd", 450, 64, lambda a, b: select(gts(a, b), a, b))
two("vmaxud", 194, 64, lambda a, b: select(gtu(a, b), a, b))
two("vminsd", 962, 64, lambda a, b: select(gts(a, b), b, a))
two("vminud", 706, 64, lambda a, b: select(gtu(a, b), b, a))
two("veqv", 1668, 128, lambda a, b: ~(a ^ b))
two("vnand", 1412, 128, lambda a, b: ~(a & b))
two("vorc", 1348, 128, lambda a, b: a | ~b)
two("vrld", 196, 64, lambda a, b: rotl(a, b & 63))
two("vsld", 1476, 64, lambda a, b: a << (b & 63))
two("vsrd", 1732, 64, lambda a, b: a >> (b & 63))
two("vsrad", 964, 64, lambda a, b: ashr(a, b & 63))
one("vupkhsw", 1614, 128, lambda x: whole([sext(w, 64) for w in parts(x, 32)[:2]]))
one("vupklsw", 1742, 128, lambda x: whole([sext(w, 64) for w in parts(x, 32)[2:]]))
one("vpopcntb", 1795, 64, bits_in_bytes)
one("vpopcntw", 1923, 64, bits_in_words)
one("vpopcntd", 1987, 64, lambda x: bits_in_words(x) + (bits_in_words(x) >> 32) & 0x7F)
one("vclzb", 1794, 8, clz)
one("vclzh", 1858, 16, clz)
one("vclzw", 1922, 32, clz)
one("vclzd", 1986, 64, clz)


def count_in_halfwords(x: Expr) -> Expr:
    pairs = bits_in_bytes(x)
    return pairs + (pairs >> 8) & 0x001F_001F_001F_001F


one("vpopcnth", 1859, 64, count_in_halfwords)


def transposed(x: Expr) -> Expr:
    """The eight bytes of a doubleword as a matrix of bits, its rows and columns exchanged."""
    for mask, step in ((0x00AA00AA00AA00AA, 7), (0x0000CCCC0000CCCC, 14), (0xF0F0F0F0, 28)):
        t = (x ^ x >> step) & mask
        x = x ^ t ^ t << step
    return x


one("vgbbd", 1292, 64, transposed)


def clamped(x: Expr, source_signed: bool, target_signed: bool) -> Expr:
    """A doubleword as the nearest word."""
    word = low(x)
    if not source_signed:
        return select(gtu(x, 0xFFFF_FFFF), const(-1, 32), word)
    least, most = (-(1 << 31), (1 << 31) - 1) if target_signed else (0, (1 << 32) - 1)
    top = select(gts(x, most), const(most, 32), word)
    return select(gts(const(least, 64), x), const(least, 32), top)


def packs(name: str, xo: int, source_signed: bool, target_signed: bool) -> None:
    """Doublewords of VRA and VRB as words; SAT where one does not fit."""

    @insn(
        VX, f"{name} VRT,VRA,VRB", name=name, needs="VEC", OPCD=4, XO=xo, features=SINCE, width=64
    )
    def body(s: Body, i: VX) -> None:
        wide = [*parts(s.vr[i.VRA], 64), *parts(s.vr[i.VRB], 64)]
        words = [clamped(x, source_signed, target_signed) for x in wide]
        lost = const(0, 1)
        for x, word in zip(wide, words, strict=True):
            lost = lost | ~eq(sext(word, 64) if target_signed else zext(word, 64), x)
        s.vr[i.VRT] = whole(words)
        s.vscr = s.vscr | zext(lost, 32)


packs("vpkudus", 1230, False, False)
packs("vpksdus", 1358, True, False)
packs("vpksdss", 1486, True, True)


def extended(name: str, xo: int, subtracts: bool, carries: bool) -> None:
    """VRA ± VRB with a carry from VRC's last bit, or what is carried then."""

    @insn(
        VA, f"{name} VRT,VRA,VRB,VRC", name=name, needs="VEC", OPCD=4, XO=xo, features=SINCE,
        width=64,
    )  # fmt: skip
    def body(s: Body, i: VA) -> None:
        a, b = s.vr[i.VRA], s.vr[i.VRB]
        b = ~b if subtracts else b
        partial = a + b
        whole_ = partial + (s.vr[i.VRC] & 1)
        carry = zext(ltu(partial, a) | ltu(whole_, partial), 128)
        s.vr[i.VRT] = carry if carries else whole_


extended("vaddeuqm", 60, False, False)
extended("vaddecuq", 61, False, True)
extended("vsubeuqm", 62, True, False)
extended("vsubecuq", 63, True, True)


@insn(VX, "vbpermq VRT,VRA,VRB", needs="VEC", OPCD=4, XO=1356, features=SINCE, width=64)
def vbpermq(s: Body, i: VX) -> None:
    """Sixteen bits of VRA, each named by a byte of VRB; zero where that is above 127."""
    found = const(0, 128)
    for index in parts(s.vr[i.VRB], 8):
        place = const(127, 128) - zext(index & 127, 128)
        bit = select(ltu(index, 128), s.vr[i.VRA] >> place & 1, const(0, 128))
        found = found << 1 | bit
    s.vr[i.VRT] = found << 64


def compare(name: str, xo: int, holds: Two) -> None:
    """VRT = ones where `holds`, doubleword by doubleword; Rc sets CR field 6."""

    @insn(
        VC,
        name + "{Rc} VRT,VRA,VRB",
        name=name,
        needs="VEC",
        OPCD=4,
        XO=xo,
        features=SINCE,
        width=64,
    )
    def body(s: Body, i: VC) -> None:
        pairs = zip(parts(s.vr[i.VRA], 64), parts(s.vr[i.VRB], 64), strict=True)
        result = whole([sext(holds(a, b), 64) for a, b in pairs])
        s.vr[i.VRT] = result
        every, none = eq(result, -1), eq(result, 0)
        s.write("crf", 6, zext(every, 8) << 3 | zext(none, 8) << 1, i.Rc)


compare("vcmpequd", 199, eq)
compare("vcmpgtsd", 967, gts)
compare("vcmpgtud", 711, gtu)
