"""Vector instructions of Power ISA 2.07 for ciphers, sums of hashes, and carry-less products.

Bytes of a state are worked on all at once, in 128 bits.  Source: Power ISA 2.07 Book I 6.11;
FIPS 197 (AES), FIPS 180-4 (SHA).
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, rotl, select, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.service import service
from gossamer.isa.spec.vector_forms import VA, VX, VXSigma
from gossamer.isa.spec.wide.vector_later import SINCE, parts, two, whole

ONES: Final = int.from_bytes(b"\1" * 16, "big")
BYTES: Final = 0xFF * ONES


def each(byte: int) -> int:
    """A byte in every place."""
    return byte * ONES


def doubled(x: Expr) -> Expr:
    """Bytes times x in AES's field."""
    high = x >> 7 & ONES
    return ((x & each(0x7F)) << 1) ^ spread(high) & each(0x1B)


def spread(ones: Expr) -> Expr:
    """All bits of a byte where its lowest is one."""
    return (ones << 8) - ones


def times(a: Expr, b: Expr) -> Expr:
    """Products of bytes in AES's field."""
    product = const(0, 128)
    for n in range(8):
        product = product ^ spread(b >> n & ONES) & a
        a = doubled(a)
    return product


def turned(x: Expr, n: int) -> Expr:
    """Bytes rotated left."""
    return (x & each(0xFF >> n)) << n | x >> (8 - n) & each((1 << n) - 1)


def inverse(x: Expr) -> Expr:
    """Inverses of bytes in AES's field: their 254th powers."""
    two_ = times(x, x)
    three = times(two_, x)
    six = times(three, three)
    twelve = times(six, six)
    fifteen = times(twelve, three)
    high = fifteen
    for _ in range(4):
        high = times(high, high)
    return times(times(high, twelve), two_)


@service(128, result=128, wide=True)
def aes_substitute(state: Expr) -> Expr:
    """SubBytes of FIPS 197 5.1.1."""
    x = inverse(state)
    return x ^ turned(x, 1) ^ turned(x, 2) ^ turned(x, 3) ^ turned(x, 4) ^ each(0x63)


@service(128, result=128, wide=True)
def aes_restore(state: Expr) -> Expr:
    """InvSubBytes of FIPS 197 5.3.2."""
    return inverse(turned(state, 1) ^ turned(state, 3) ^ turned(state, 6) ^ each(0x05))


def rows(x: Expr, step: int) -> Expr:
    """Row r of the state, whose columns follow each other, by `step` x r to the left."""
    lanes = parts(x, 8)
    return whole([lanes[(n + 4 * step * (n % 4)) % 16] for n in range(16)])


def column(x: Expr, n: int) -> Expr:
    """Each column of four bytes rotated up by `n`."""
    return whole([rotl(w, const(8 * n, 32)) for w in parts(x, 32)])


def mixed(x: Expr) -> Expr:
    """MixColumns of FIPS 197 5.1.3."""
    up = column(x, 1)
    return doubled(x ^ up) ^ up ^ column(x, 2) ^ column(x, 3)


def unmixed(x: Expr) -> Expr:
    """InvMixColumns of FIPS 197 5.3.3."""
    return mixed(x ^ doubled(doubled(x ^ column(x, 2))))


def cipher(a: Expr, b: Expr) -> Expr:
    return mixed(rows(aes_substitute(a), 1)) ^ b


def cipher_last(a: Expr, b: Expr) -> Expr:
    return rows(aes_substitute(a), 1) ^ b


def decipher(a: Expr, b: Expr) -> Expr:
    return unmixed(aes_restore(rows(a, 3)) ^ b)


def decipher_last(a: Expr, b: Expr) -> Expr:
    return aes_restore(rows(a, 3)) ^ b


two("vcipher", 1288, 128, cipher)
two("vcipherlast", 1289, 128, cipher_last)
two("vncipher", 1352, 128, decipher)
two("vncipherlast", 1353, 128, decipher_last)


@insn(VX, "vsbox VRT,VRA", needs="VEC", OPCD=4, XO=1480, features=SINCE, width=64)
def vsbox(s: Body, i: VX) -> None:
    s.vr[i.VRT] = aes_substitute(s.vr[i.VRA])


# --- products without carries ---------------------------------------------------------------------


def summed_products(name: str, xo: int, width: int) -> None:
    """Sums of the products of two neighbouring lanes of so many bits."""
    lanes = 128 // (2 * width)
    lowest = sum(1 << 2 * width * n for n in range(lanes))
    mask = ((1 << width) - 1) * lowest

    def product(a: Expr, b: Expr) -> Expr:
        value = const(0, 128)
        for n in range(width):
            ones = b >> n & lowest
            chosen = const(0, 128) - ones if lanes == 1 else (ones << 2 * width) - ones
            value = value ^ (a << n) & chosen
        return value

    def does(a: Expr, b: Expr) -> Expr:
        return product(a & mask, b & mask) ^ product(a >> width & mask, b >> width & mask)

    two(name, xo, 128, does)


summed_products("vpmsumb", 1032, 8)
summed_products("vpmsumh", 1096, 16)
summed_products("vpmsumw", 1160, 32)
summed_products("vpmsumd", 1224, 64)


# --- SHA ------------------------------------------------------------------------------------------

#: Rotations to the right, the last one of the first two rows a shift: sigma 0, 1, Sigma 0, 1.
WORDS: Final = ((7, 18, 3), (17, 19, 10), (2, 13, 22), (6, 11, 25))
DOUBLEWORDS: Final = ((1, 8, 7), (19, 61, 6), (28, 34, 39), (14, 18, 41))


def sigma(x: Expr, counts: tuple[int, int, int], shifts: bool) -> Expr:
    first, second, third = (rotl(x, const(x.width - n, x.width)) for n in counts)
    return first ^ second ^ (x >> counts[2] if shifts else third)


def hashes(name: str, xo: int, width: int, table: tuple[tuple[int, int, int], ...]) -> None:
    @insn(
        VXSigma, f"{name} VRT,VRA,ST,SIX", name=name, needs="VEC", OPCD=4, XO=xo, features=SINCE,
        width=64,
    )  # fmt: skip
    def body(s: Body, i: VXSigma) -> None:
        lanes = []
        for n, x in enumerate(parts(s.vr[i.VRA], width)):
            place = n * width // 32
            second = trunc(i.SIX >> (3 - place), 1)
            small = select(second, sigma(x, table[1], True), sigma(x, table[0], True))
            large = select(second, sigma(x, table[3], False), sigma(x, table[2], False))
            lanes.append(select(i.ST, large, small))
        s.vr[i.VRT] = whole(lanes)


hashes("vshasigmaw", 1666, 32, WORDS)
hashes("vshasigmad", 1730, 64, DOUBLEWORDS)


@insn(VA, "vpermxor VRT,VRA,VRB,VRC", needs="VEC", OPCD=4, XO=45, features=SINCE, width=64)
def vpermxor(s: Body, i: VA) -> None:
    """A byte of VRA and one of VRB, which the halves of VRC's name, added."""
    lanes = []
    for names in parts(s.vr[i.VRC], 8):
        a, b = (
            trunc(value >> (zext(n ^ 15, 128) << 3), 8)
            for value, n in ((s.vr[i.VRA], names >> 4), (s.vr[i.VRB], names & 15))
        )
        lanes.append(a ^ b)
    s.vr[i.VRT] = whole(lanes)
