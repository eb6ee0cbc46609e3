"""Instructions of Power ISA 2.07: published vectors, and the host's arithmetic."""

from __future__ import annotations

import random
import struct

import pytest

from gossamer.cpu.model import find
from gossamer.isa import fpscr
from gossamer.isa.spec.table import Decoder
from gossamer.verify.isa.record import FLOATING
from gossamer.verify.isa.vector import VectorRecord
from gossamer.verify.isa.vector_excuses import compare_vectors
from gossamer.verify.isa.vsx_excuses import VSX_EXCUSES
from gossamer.verify.isa.wide import WideVector

CPU = WideVector(Decoder(find("power8_v2.0").architecture))


COLUMNS = 0x1_0000_0001_0000_0001_0000_0001


def run(word: int, *values: int, status: int = 0) -> VectorRecord:
    """`word` with these values in v4, v5, v6."""
    vr = [0] * 32
    vr[4 : 4 + len(values)] = values
    return CPU.run(VectorRecord(word, vr=vr, fpscr=status))


def vx(xo: int) -> int:
    """v3 from v4 and v5."""
    return 4 << 26 | 3 << 21 | 4 << 16 | 5 << 11 | xo


def xx3(xo: int) -> int:
    """vs35 from vs36 and vs37."""
    return 60 << 26 | 3 << 21 | 4 << 16 | 5 << 11 | xo << 3 | 7


def pair(a: float, b: float) -> int:
    return int.from_bytes(struct.pack(">dd", a, b), "big")


def test_a_round_of_aes_and_back() -> None:
    """FIPS 197 appendix B: the state at the start of rounds 2 and 3, the round key, its last."""
    state, key = 0xA49C7FF2689F352B6B5BEA43026A5049, 0xF2C295F27A96B9435935807A7359F67F
    after = 0xAA8F5F0361DDE3EF82D24AD26832469A
    assert run(vx(1288), state, key).vr[3] == after
    last, last_key = 0xEB40F21E592E38848BA113E71BC342D2, 0xD014F9A8C9EE2589E13F0CC8B6630CA6
    out = 0x3925841D02DC09FBDC118597196A0B32
    assert run(vx(1289), last, last_key).vr[3] == out
    assert run(vx(1353), out ^ last_key, 0).vr[3] == last
    mixed, plain = 0x8E4DA1BC * COLUMNS, 0xDB135345 * COLUMNS  # published columns
    assert run(vx(1352), out ^ last_key, last ^ mixed).vr[3] == plain


def test_sigmas_of_sha() -> None:
    """FIPS 180-4 4.1.2: sigma 0 of a word, by its definition."""

    def right(x: int, n: int) -> int:
        return (x >> n | x << 32 - n) & 0xFFFF_FFFF

    x = 0x6A09_E667
    word = 4 << 26 | 3 << 21 | 4 << 16 | 0b0_0101 << 11 | 1666  # ST 0; SIX 0101
    got = run(word, x << 96 | x << 64 | x << 32 | x).vr[3]
    small = right(x, 7) ^ right(x, 18) ^ x >> 3, right(x, 17) ^ right(x, 19) ^ x >> 10
    assert got == small[0] << 96 | small[1] << 64 | small[0] << 32 | small[1]


def carryless(a: int, b: int) -> int:
    product = 0
    for n in range(b.bit_length()):
        product ^= (a << n) * (b >> n & 1)
    return product


@pytest.mark.parametrize(("xo", "width"), [(1032, 8), (1096, 16), (1160, 32), (1224, 64)])
def test_products_without_carries(xo: int, width: int) -> None:
    rng = random.Random(width)
    a, b = rng.getrandbits(128), rng.getrandbits(128)
    mask, expected = (1 << width) - 1, 0
    for at in range(0, 128, 2 * width):
        low = carryless(a >> at & mask, b >> at & mask)
        high = carryless(a >> at + width & mask, b >> at + width & mask)
        expected |= (low ^ high) << at
    assert run(vx(xo), a, b).vr[3] == expected


def test_vector_arithmetic_is_the_hosts() -> None:
    a, b = (1.5, -3.0), (0.1, 7.0)
    for xo, does in ((96, float.__add__), (104, float.__sub__), (112, float.__mul__)):
        after = run(xx3(xo), pair(*a), pair(*b))
        assert after.vr[3] == pair(*map(does, a, b))
    assert after.fpscr == fpscr.FX | fpscr.XX  # neither FI nor FPRF


def test_where_one_lane_traps_nothing_is_written() -> None:
    after = run(xx3(120), pair(1, 1), pair(2, 0), status=fpscr.ZE)  # xvdivdp
    assert (after.signal, after.vr[3]) == (FLOATING, 0)
    assert after.fpscr & (fpscr.ZX | fpscr.FEX) == fpscr.ZX | fpscr.FEX


def test_a_wrong_flag_is_not_excused() -> None:
    before = VectorRecord(xx3(96), vr=[pair(1.5, 2.5)] * 32)
    ours, theirs = CPU.run(before), CPU.run(before)
    assert compare_vectors("xvadddp", before, ours, theirs, VSX_EXCUSES) == ({}, False)
    theirs.fpscr |= fpscr.XX
    assert set(compare_vectors("xvadddp", before, ours, theirs, VSX_EXCUSES)[0]) == {"fpscr"}
