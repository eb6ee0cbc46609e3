"""The PowerPC's floating point over Python fractions, for the tests only.

Written from the books (PEM 3.3, chapter 8) and on purpose unlike `gossamer.isa.softfloat`: exact
rationals, one `if` a rule.  `run` gives what an instruction leaves.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

FX, FEX, VX, OX, UX, ZX, XX = (1 << (31 - n) for n in range(7))
VXSNAN, VXISI, VXIDI, VXZDZ, VXIMZ, VXVC = (1 << (31 - n) for n in range(7, 13))
FR, FI = 1 << 18, 1 << 17
VXSQRT, VXCVI = 1 << 9, 1 << 8
VE, OE, UE, ZE, XE, NI = 0x80, 0x40, 0x20, 0x10, 8, 4
ALL_VX = VXSNAN | VXISI | VXIDI | VXZDZ | VXIMZ | VXVC | VXSQRT | VXCVI | 1 << 10
DEFAULT_NAN = 0x7FF8 << 48


@dataclass
class Outcome:
    """FRT (None: unchanged), FPSCR, whether an enabled exception occurred, CR field of compares."""

    frt: int | None
    fpscr: int
    trap: bool
    cr: int | None = None


@dataclass
class State:
    fpscr: int
    events: int = 0
    rounding: int = 0
    adjusted: bool = False

    @property
    def mode(self) -> int:
        return self.fpscr & 3


def to_float(bits: int) -> float:
    return struct.unpack(">d", bits.to_bytes(8, "big"))[0]


def is_nan(b: int) -> bool:
    return math.isnan(to_float(b))


def is_signaling(b: int) -> bool:
    return is_nan(b) and not b >> 51 & 1


def is_infinite(b: int) -> bool:
    return math.isinf(to_float(b))


def is_zero(b: int) -> bool:
    return to_float(b) == 0.0


def sign(b: int) -> int:
    return b >> 63


def exact(b: int) -> Fraction:
    return Fraction(to_float(b))


def infinity(s: int) -> int:
    return s << 63 | 0x7FF << 52


def encode(x: Fraction) -> int:
    """A rational that is a double, as its bits (nonzero)."""
    f = x.numerator / x.denominator
    assert Fraction(f) == x, x
    return int.from_bytes(struct.pack(">d", f), "big")


def floor_log2(x: Fraction) -> int:
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


def to_multiple(x: Fraction, unit: Fraction, mode: int) -> Fraction:
    """`x` rounded to a multiple of `unit`."""
    q = x / unit
    low = math.floor(q)
    if mode == 0:
        n = round(q)  # Fraction rounds halves to even
    elif mode == 1:
        n = low if x > 0 else -math.floor(-q)
    else:
        n = -math.floor(-q) if mode == 2 else low
    return n * unit


def round_result(x: Fraction, single: bool, st: State) -> int:
    """The rounded result of a nonzero exact value; events and rounding bits into `st`."""
    precision, low, high, adjust = (24, -126, 127, 192) if single else (53, -1022, 1023, 1536)
    s = int(x < 0)
    e = floor_log2(abs(x))
    if e < low and not st.fpscr & UE:
        if st.fpscr & NI:
            st.events |= UX | XX
            st.rounding = FI
            return s << 63
        r = to_multiple(x, Fraction(2) ** (low - precision + 1), st.mode)
        if r != x:
            st.events |= UX | XX
            st.rounding = FI | (FR if abs(r) > abs(x) else 0)
        return encode(r) if r else s << 63
    r = to_multiple(x, Fraction(2) ** (e - precision + 1), st.mode)
    if r != x:
        st.events |= XX
        st.rounding = FI | (FR if abs(r) > abs(x) else 0)
    if e < low:
        st.events |= UX
        st.adjusted = True
        return _wrap(r, adjust)
    if abs(r) >= Fraction(2) ** (high + 1):
        st.events |= OX
        if st.fpscr & OE:
            st.adjusted = True
            return _wrap(r, -adjust)
        st.events |= XX
        if st.mode == 0 or st.mode == 2 + s:
            st.rounding = FI | FR
            return infinity(s)
        st.rounding = FI
        return s << 63 | (0x47EF_FFFF_E000_0000 if single else 0x7FEF_FFFF_FFFF_FFFF)
    return encode(r)


def _wrap(r: Fraction, adjust: int) -> int:
    """The double r × 2**adjust; the exponent field wraps when it does not fit."""
    e = floor_log2(abs(r)) + adjust
    fraction = abs(r) / Fraction(2) ** (e - adjust) - 1
    return int(r < 0) << 63 | (e + 1023 & 0x7FF) << 52 | int(fraction * 2**52)


def classify(b: int, single: bool, st: State) -> int:
    if st.adjusted:
        return 8 if sign(b) else 4
    if is_nan(b):
        return 0x11
    minus = sign(b)
    if is_infinite(b):
        return 9 if minus else 5
    if is_zero(b):
        return 0x12 if minus else 2
    small = abs(exact(b)) < Fraction(2) ** (-126 if single else -1022)
    return (8 if minus else 4) | (0x10 if small else 0)


def quieted(b: int, single: bool) -> int:
    b |= 1 << 51
    return b & ~((1 << 29) - 1) if single else b


def conclude(st: State, result: int, fprf: int | None) -> Outcome:
    old = st.fpscr
    invalid = st.events & ALL_VX
    held = bool((invalid and old & VE) or (st.events & ZX and old & ZE))
    new = old & ~(FR | FI) | st.events | st.rounding
    if fprf is not None and not held:
        new = new & ~(0x1F << 12) | fprf << 12
    if st.events & ~old:
        new |= FX
    new = summary(new)
    trap = bool(
        (invalid and old & VE)
        or (st.events & OX and old & OE)
        or (st.events & UX and old & UE)
        or (st.events & ZX and old & ZE)
        or (st.events & XX and old & XE)
    )
    return Outcome(None if held else result, new, trap)


def summary(f: int) -> int:
    f &= ~(VX | FEX)
    if f & ALL_VX:
        f |= VX
    pairs = ((VX, VE), (OX, OE), (UX, UE), (ZX, ZE), (XX, XE))
    if any(f & x and f & e for x, e in pairs):
        f |= FEX
    return f


def fused(a: int, c: int, b: int, st: State, single: bool, minus: bool, negate: bool) -> Outcome:
    """The multiply-add family; `a` × `c` ± `b`."""
    for x in (a, b, c):
        if is_signaling(x):
            st.events |= VXSNAN
    imz = (is_infinite(a) and is_zero(c)) or (is_zero(a) and is_infinite(c))
    if imz:
        st.events |= VXIMZ
    for x in (a, b, c):
        if is_nan(x):
            return conclude(st, quieted(x, single), 0x11)
    if imz:
        return conclude(st, DEFAULT_NAN, 0x11)
    if minus:
        b ^= 1 << 63
    product = sign(a) ^ sign(c)
    if is_infinite(a) or is_infinite(c):
        if is_infinite(b) and sign(b) != product:
            st.events |= VXISI
            return conclude(st, DEFAULT_NAN, 0x11)
        r = infinity(product)
    elif is_infinite(b):
        r = b
    else:
        x = exact(a) * exact(c) + exact(b)
        if x:
            r = round_result(x, single, st)
        else:
            both = is_zero(b) and (is_zero(a) or is_zero(c)) and sign(b) == product
            r = (product if both else int(st.mode == 3)) << 63
    if negate:
        r ^= 1 << 63
    return conclude(st, r, classify(r, single, st))


def add(a: int, b: int, st: State, single: bool, minus: bool) -> Outcome:
    if any(map(is_signaling, (a, b))):
        st.events |= VXSNAN
    for x in (a, b):
        if is_nan(x):
            return conclude(st, quieted(x, single), 0x11)
    if minus:
        b ^= 1 << 63
    if is_infinite(a) and is_infinite(b) and a != b:
        st.events |= VXISI
        return conclude(st, DEFAULT_NAN, 0x11)
    if is_infinite(a) or is_infinite(b):
        r = a if is_infinite(a) else b
    elif x := exact(a) + exact(b):
        r = round_result(x, single, st)
    else:
        r = a if is_zero(a) and a == b else int(st.mode == 3) << 63
    return conclude(st, r, classify(r, single, st))


def multiply(a: int, c: int, st: State, single: bool) -> Outcome:
    if any(map(is_signaling, (a, c))):
        st.events |= VXSNAN
    for x in (a, c):
        if is_nan(x):
            return conclude(st, quieted(x, single), 0x11)
    s = sign(a) ^ sign(c)
    if (is_infinite(a) and is_zero(c)) or (is_zero(a) and is_infinite(c)):
        st.events |= VXIMZ
        return conclude(st, DEFAULT_NAN, 0x11)
    if is_infinite(a) or is_infinite(c):
        r = infinity(s)
    elif x := exact(a) * exact(c):
        r = round_result(x, single, st)
    else:
        r = s << 63
    return conclude(st, r, classify(r, single, st))


def divide(a: int, b: int, st: State, single: bool) -> Outcome:
    if any(map(is_signaling, (a, b))):
        st.events |= VXSNAN
    for x in (a, b):
        if is_nan(x):
            return conclude(st, quieted(x, single), 0x11)
    s = sign(a) ^ sign(b)
    if is_infinite(a) and is_infinite(b):
        st.events |= VXIDI
        return conclude(st, DEFAULT_NAN, 0x11)
    if is_zero(a) and is_zero(b):
        st.events |= VXZDZ
        return conclude(st, DEFAULT_NAN, 0x11)
    if is_infinite(a) or is_zero(b):
        if not is_infinite(a):
            st.events |= ZX
        r = infinity(s)
    elif is_zero(a) or is_infinite(b):
        r = s << 63
    else:
        r = round_result(exact(a) / exact(b), single, st)
    return conclude(st, r, classify(r, single, st))


def round_single(b: int, st: State) -> Outcome:
    if is_signaling(b):
        st.events |= VXSNAN
    if is_nan(b):
        return conclude(st, quieted(b, True), 0x11)
    r = b if is_infinite(b) or is_zero(b) else round_result(exact(b), True, st)
    return conclude(st, r, classify(r, True, st))


def to_word(b: int, st: State, mode: int) -> Outcome:
    if is_signaling(b):
        st.events |= VXSNAN
    if is_nan(b):
        st.events |= VXCVI
        word = -(1 << 31)
    else:
        x = Fraction(1 << 60) * (-1 if sign(b) else 1) if is_infinite(b) else exact(b)
        r = to_multiple(x, Fraction(1), mode)
        word = max(-(1 << 31), min((1 << 31) - 1, int(r)))
        if word != r:
            st.events |= VXCVI
        elif r != x:
            st.events |= XX
            st.rounding = FI | (FR if abs(r) > abs(x) else 0)
    minus_zero = 1 if word == 0 and sign(b) else 0
    return conclude(st, (0xFFF80000 | minus_zero) << 32 | word & 0xFFFF_FFFF, None)


def compare(a: int, b: int, st: State, ordered: bool) -> Outcome:
    x, y = to_float(a), to_float(b)
    if is_nan(a) or is_nan(b):
        code = 1
        snan = is_signaling(a) or is_signaling(b)
        if snan:
            st.events |= VXSNAN
        if ordered and not (snan and st.fpscr & VE):
            st.events |= VXVC
    else:
        code = 8 if x < y else 4 if x > y else 2
    new = st.fpscr & ~(0xF << 12) | code << 12 | st.events
    if st.events & ~st.fpscr:
        new |= FX
    return Outcome(None, summary(new), bool(st.events and st.fpscr & VE), code)


def select(a: int, c: int, b: int, fpscr: int) -> Outcome:
    return Outcome(c if to_float(a) >= 0.0 else b, fpscr, False)


def run(name: str, a: int, c: int, b: int, fpscr: int) -> Outcome:
    """The instruction `name` (without a dot) on FRA, FRC, FRB."""
    st = State(fpscr)
    single = name.endswith("s") and name not in ("fabs", "fnabs")
    root = name[:-1] if single else name
    match root:
        case "fadd" | "fsub":
            return add(a, b, st, single, root == "fsub")
        case "fmul":
            return multiply(a, c, st, single)
        case "fdiv":
            return divide(a, b, st, single)
        case "fmadd" | "fmsub" | "fnmadd" | "fnmsub":
            return fused(a, c, b, st, single, root.endswith("sub"), root.startswith("fn"))
        case "frsp":
            return round_single(b, st)
        case "fctiw":
            return to_word(b, st, st.mode)
        case "fctiwz":
            return to_word(b, st, 1)
        case "fcmpu" | "fcmpo":
            return compare(a, b, st, root == "fcmpo")
        case "fsel":
            return select(a, c, b, fpscr)
    raise AssertionError(name)
