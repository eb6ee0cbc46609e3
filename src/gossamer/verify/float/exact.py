"""What floating-point instructions leave, worked out in exact integers: the judge of our engines.

Written from the books (PEM 2.1.4, 3.3 and chapter 8) and on purpose unlike `gossamer.isa`: the
exact result is a Python integer times a power of two, however long; it is rounded to a multiple of
a unit by comparing the remainder with half of it; special operands and FPSCR are NumPy masks.
What the books leave undefined follows docs/isa.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

U64: Final = np.uint64
U32: Final = np.uint32
Bits = NDArray[np.uint64]
Words = NDArray[np.uint32]
Mask = NDArray[np.bool_]

FX, FEX, VX, OX, UX, ZX, XX = (1 << (31 - n) for n in range(7))
VXSNAN, VXISI, VXIDI, VXZDZ, VXIMZ, VXVC = (1 << (31 - n) for n in range(7, 13))
FR, FI = 1 << 18, 1 << 17
VXSOFT, VXSQRT, VXCVI = 1 << 10, 1 << 9, 1 << 8
VE, OE, UE, ZE, XE, NI = 0x80, 0x40, 0x20, 0x10, 8, 4
ANY_VX: Final = VXSNAN | VXISI | VXIDI | VXZDZ | VXIMZ | VXVC | VXSOFT | VXSQRT | VXCVI
#: FPSCR without the bits that follow from others, and without the reserved one.
CONSISTENT: Final = 0xFFFF_FFFF & ~(FEX | VX | 0x800)
SIGN: Final = U64(1 << 63)
INFINITY: Final = U64(0x7FF << 52)
QUIET: Final = U64(1 << 51)
DEFAULT_NAN: Final = U64(0x7FF8 << 48)
_ADJUSTED: Final = 1  # in the events of a rounding: the exponent was adjusted for the trap
_NOTHING: Final = 2  # the exact result is zero


class Format(NamedTuple):
    """Precision, exponents of the least and greatest normal number, adjustment, largest number."""

    precision: int
    low: int
    high: int
    adjust: int
    largest: int


DOUBLE: Final = Format(53, -1022, 1023, 1536, 0x7FEF_FFFF_FFFF_FFFF)
SINGLE: Final = Format(24, -126, 127, 192, 0x47EF_FFFF_E000_0000)


class Answers(NamedTuple):
    """FRT and whether it is written, FPSCR, whether an enabled exception occurs, a CR field."""

    frt: Bits
    written: Mask
    fpscr: Words
    traps: Mask
    field: Words


# --- operands -------------------------------------------------------------------------------------


class Class(NamedTuple):
    """What each operand is."""

    bits: Bits
    negative: Mask
    zero: Mask
    infinite: Mask
    nan: Mask
    signaling: Mask


def classify(x: Bits) -> Class:
    magnitude = x & ~SIGN
    nan = magnitude > INFINITY
    return Class(
        x,
        (x & SIGN) != 0,
        magnitude == 0,
        magnitude == INFINITY,
        nan,
        nan & ((x & QUIET) == 0),
    )


def integers(x: Bits) -> tuple[list[int], list[int]]:
    """(m, e) with the value m × 2**e; zero for what is not finite."""
    biased = (x >> U64(52) & U64(0x7FF)).astype(np.int64)
    m = (x & U64((1 << 52) - 1)).astype(np.int64) | np.where(biased > 0, 1 << 52, 0)
    m = np.where(biased == 0x7FF, 0, m)
    m = np.where(x & SIGN, -m, m)
    return m.tolist(), (np.maximum(biased, 1) - 1075).tolist()


# --- exact results and their rounding -------------------------------------------------------------

Exact = tuple[int, int]


def sums(a: Iterable[Exact], b: Iterable[Exact]) -> Iterator[Exact]:
    for (m, e), (n, f) in zip(a, b, strict=True):
        yield (m + (n << f - e), e) if e <= f else ((m << e - f) + n, f)


def products(a: Bits, c: Bits) -> Iterator[Exact]:
    for m, e, n, f in zip(*integers(a), *integers(c), strict=True):
        yield m * n, e + f


def quotients(a: Bits, b: Bits) -> Iterator[Exact]:
    """To 120 bits and more, the last one set when the quotient goes on: no tie, no rounding."""
    for m, e, n, f in zip(*integers(a), *integers(b), strict=True):
        if not n:
            yield 0, 0
            continue
        q, rest = divmod(abs(m) << 172, abs(n))
        q = q << 1 | (rest != 0)
        yield (-q if (m < 0) != (n < 0) else q), e - f - 173


def values(x: Bits) -> Iterator[Exact]:
    return zip(*integers(x), strict=True)


def encode(q: int, unit: int, wraps: bool) -> int:
    """The magnitude bits of the double q × 2**unit; an adjusted exponent wraps where it must."""
    if not q:
        return 0
    top = q.bit_length() - 1
    biased = top + unit + 1023
    if biased <= 0 and not wraps:
        return q << unit + 1074
    fraction = q << 52 - top if top <= 52 else q >> top - 52
    return (biased & 0x7FF) << 52 | fraction & (1 << 52) - 1


def rounded(n: int, e: int, fpscr: int, form: Format) -> tuple[int, int]:
    """The bits of n × 2**e rounded, and the events with FR and FI."""
    if not n:
        return 0, _NOTHING
    precision, low, high, adjust, largest = form
    negative = n < 0
    sign = negative << 63
    n = abs(n)
    top = n.bit_length() + e - 1
    tiny = top < low
    denormal = tiny and not fpscr & UE
    if denormal and fpscr & NI:
        return sign, UX | XX | FI
    unit = (low if denormal else top) - precision + 1
    mode = fpscr & 3
    away = mode == 3 if negative else mode == 2

    events = 0
    if unit <= e:
        q = n << e - unit
    else:
        q = n >> unit - e
        rest = n - (q << unit - e)
        if rest:
            half = 1 << unit - e - 1
            up = (rest > half or (rest == half and q & 1)) if mode == 0 else away
            q += up
            events = XX | FI | (FR if up else 0)

    if denormal:
        return sign | encode(q, unit, False), events | (UX if events else 0)
    if tiny:
        return sign | encode(q, unit + adjust, True), events | UX | _ADJUSTED
    if q.bit_length() + unit - 1 <= high:
        return sign | encode(q, unit, False), events
    if fpscr & OE:
        return sign | encode(q, unit - adjust, True), events | OX | _ADJUSTED
    if mode == 0 or away:
        return sign | 0x7FF << 52, OX | XX | FI | FR
    return sign | largest, OX | XX | FI


def round_all(exact: Iterable[Exact], fpscr: Words, form: Format) -> tuple[Bits, NDArray[np.int64]]:
    pairs = [rounded(n, e, f, form) for (n, e), f in zip(exact, fpscr.tolist(), strict=True)]
    value, events = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(value, U64), np.array(events, np.int64)


# --- FPSCR ----------------------------------------------------------------------------------------


def status(fpscr: Words) -> Words:
    """With VX and FEX as the other bits say."""
    value = fpscr & U32(CONSISTENT)
    value |= np.where(value & U32(ANY_VX), U32(VX), U32(0))
    enabled = np.zeros(len(value), bool)
    for exception, enable in ((VX, VE), (OX, OE), (UX, UE), (ZX, ZE), (XX, XE)):
        enabled |= ((value & U32(exception)) != 0) & ((value & U32(enable)) != 0)
    return value | np.where(enabled, U32(FEX), U32(0))


def fprf(value: Bits, form: Format, adjusted: Mask) -> Words:
    """The class of a result, in place."""
    x = classify(value)
    size = np.abs(np.where(x.nan | x.infinite, U64(0), value).view(np.float64))
    small = ~x.zero & (size < 2.0**form.low) & ~adjusted
    code = np.where(x.negative, 8, 4) | np.where(small, 0x10, 0)
    code = np.where(x.zero, np.where(x.negative, 0x12, 2), code)
    code = np.where(x.infinite, np.where(x.negative, 9, 5), code)
    code = np.where(x.nan, 0x11, code)
    code = np.where(adjusted, np.where(x.negative, 8, 4), code)
    return code.astype(U32) << U32(12)


def conclude(before: Words, value: Bits, events: NDArray[np.int64], kind: Words | None) -> Answers:
    """FPSCR after `events` (with FR and FI); without `kind` FPRF stays.  CR1 is the field."""
    old = before.astype(np.int64)
    invalid = (events & ANY_VX) != 0
    held = invalid & ((old & VE) != 0) | ((events & ZX) != 0) & ((old & ZE) != 0)
    happened = events & ~(FR | FI | _ADJUSTED | _NOTHING)
    new = old & ~(FR | FI) | events & ~(_ADJUSTED | _NOTHING)
    if kind is not None:
        new = np.where(held, new, new & ~(0x1F << 12) | kind)
    new |= np.where(happened & ~old, FX, 0)
    traps = invalid & ((old & VE) != 0)
    for exception, enable in ((OX, OE), (UX, UE), (ZX, ZE), (XX, XE)):
        traps |= ((events & exception) != 0) & ((old & enable) != 0)
    after = status(new.astype(U32))
    return Answers(value, ~held, after, traps, after >> U32(28))


# --- instructions ---------------------------------------------------------------------------------


def events_of(*pairs: tuple[Mask, int]) -> NDArray[np.int64]:
    total = np.zeros(len(pairs[0][0]), np.int64)
    for mask, bit in pairs:
        total |= np.where(mask, bit, 0)
    return total


def _quieted(x: Bits, form: Format) -> Bits:
    kept = x & ~U64((1 << 29) - 1) if form is SINGLE else x
    return kept | QUIET


def _first_nan(form: Format, *operands: Class) -> Bits:
    """The result of the first operand that is a NaN, else the default NaN."""
    value = np.full(len(operands[0].bits), DEFAULT_NAN)
    for x in reversed(operands):
        value = np.where(x.nan, _quieted(x.bits, form), value)
    return value


def _settle(
    fpscr: Words,
    exact: Iterable[Exact],
    form: Format,
    zero_sign: Mask,
    given: Mask,
    value: Bits,
    events: NDArray[np.int64],
    negate: bool = False,
) -> Answers:
    """`value` where it is given by special operands (NaNs are never negated), else the rounding."""
    got, met = round_all(exact, fpscr, form)
    got = np.where(met & _NOTHING, np.where(zero_sign, SIGN, U64(0)), got)
    got = np.where(given, value, got)
    if negate:
        got = np.where(given & classify(value).nan, got, got ^ SIGN)
    events = events | np.where(given, 0, met)
    adjusted = (events & _ADJUSTED) != 0
    return conclude(fpscr, got, events, fprf(got, form, adjusted))


def _infinity(negative: Mask) -> Bits:
    return np.where(negative, SIGN | INFINITY, INFINITY)


def add(a: Bits, b: Bits, fpscr: Words, form: Format) -> Answers:
    x, y = classify(a), classify(b)
    nan = x.nan | y.nan
    opposed = x.infinite & y.infinite & (x.negative != y.negative)
    value = _infinity(np.where(x.infinite, x.negative, y.negative))
    value = np.where(nan | opposed, _first_nan(form, x, y), value)
    events = events_of((x.signaling | y.signaling, VXSNAN), (opposed, VXISI))
    down = (fpscr & U32(3)) == 3
    both = x.zero & y.zero & (x.negative == y.negative)
    zero_sign = np.where(both, x.negative, down)
    given = nan | x.infinite | y.infinite
    return _settle(fpscr, sums(values(a), values(b)), form, zero_sign, given, value, events)


def subtract(a: Bits, b: Bits, fpscr: Words, form: Format) -> Answers:
    return add(a, np.where(classify(b).nan, b, b ^ SIGN), fpscr, form)


def multiply(a: Bits, c: Bits, fpscr: Words, form: Format) -> Answers:
    x, y = classify(a), classify(c)
    nan, negative = x.nan | y.nan, x.negative != y.negative
    wrong = x.infinite & y.zero | x.zero & y.infinite
    value = np.where(nan | wrong, _first_nan(form, x, y), _infinity(negative))
    events = events_of((x.signaling | y.signaling, VXSNAN), (wrong, VXIMZ))
    given = nan | x.infinite | y.infinite
    return _settle(fpscr, products(a, c), form, negative, given, value, events)


def divide(a: Bits, b: Bits, fpscr: Words, form: Format) -> Answers:
    x, y = classify(a), classify(b)
    nan, negative = x.nan | y.nan, x.negative != y.negative
    endless, nothing = x.infinite & y.infinite, x.zero & y.zero
    value = np.where(x.infinite | y.zero, _infinity(negative), np.where(negative, SIGN, U64(0)))
    value = np.where(nan | endless | nothing, _first_nan(form, x, y), value)
    events = events_of(
        (x.signaling | y.signaling, VXSNAN),
        (endless, VXIDI),
        (nothing, VXZDZ),
        (y.zero & ~x.zero & ~x.infinite & ~x.nan, ZX),
    )
    given = nan | x.infinite | y.infinite | y.zero
    return _settle(fpscr, quotients(a, b), form, negative, given, value, events)


def multiply_add(
    a: Bits, c: Bits, b: Bits, fpscr: Words, form: Format, minus: bool, negate: bool
) -> Answers:
    x, y, given_b = classify(a), classify(c), classify(b)
    z = classify(np.where(given_b.nan, b, b ^ SIGN)) if minus else given_b
    nan, product = x.nan | y.nan | z.nan, x.negative != y.negative
    wrong = x.infinite & y.zero | x.zero & y.infinite
    endless = (x.infinite | y.infinite) & ~wrong
    opposed = endless & z.infinite & (product != z.negative) & ~nan
    value = _infinity(np.where(endless, product, z.negative))
    value = np.where(nan | wrong | opposed, _first_nan(form, x, z, y), value)
    signaling = x.signaling | y.signaling | z.signaling
    events = events_of((signaling, VXSNAN), (wrong, VXIMZ), (opposed, VXISI))
    down = (fpscr & U32(3)) == 3
    both = (x.zero | y.zero) & z.zero & (product == z.negative)
    zero_sign = np.where(both, product, down)
    given = nan | x.infinite | y.infinite | z.infinite
    exact = sums(products(a, c), values(z.bits))
    return _settle(fpscr, exact, form, zero_sign, given, value, events, negate)


def round_to_single(b: Bits, fpscr: Words) -> Answers:
    x = classify(b)
    value = np.where(x.nan, _quieted(b, SINGLE), b)
    events = events_of((x.signaling, VXSNAN))
    return _settle(fpscr, values(b), SINGLE, x.negative, x.nan | x.infinite, value, events)


def to_word(b: Bits, fpscr: Words, mode: Words) -> Answers:
    """NumPy's rounding functions are exact on doubles."""
    x = classify(b)
    number = np.where(x.nan | x.infinite, U64(0), b).view(np.float64)
    ways = [np.rint(number), np.trunc(number), np.ceil(number), np.floor(number)]
    whole = np.choose(mode, ways)
    low, high = whole < -(2.0**31), whole > 2.0**31 - 1
    low |= x.nan | x.infinite & x.negative
    high |= x.infinite & ~x.negative
    word = np.clip(whole, -(2.0**31), 2.0**31 - 1).astype(np.int64)
    word = np.where(low, -(1 << 31), np.where(high, (1 << 31) - 1, word))
    inexact = ~(low | high) & (whole != number)
    grew = inexact & (np.abs(whole) > np.abs(number))
    bits = (x.signaling, VXSNAN), (low | high, VXCVI), (inexact, XX | FI), (grew, FR)
    head = np.where((word == 0) & x.negative, U64(0xFFF8_0001), U64(0xFFF8_0000)) << U64(32)
    value = head | (word & 0xFFFF_FFFF).astype(U64)
    return conclude(fpscr, value, events_of(*bits), None)


def compare(a: Bits, b: Bits, fpscr: Words, ordered: bool) -> Answers:
    x, y = classify(a), classify(b)
    unordered, signaling = x.nan | y.nan, x.signaling | y.signaling
    left, right = (np.where(v.nan, U64(0), v.bits).view(np.float64) for v in (x, y))
    code = np.where(left < right, 8, np.where(left > right, 4, 2))
    code = np.where(unordered, 1, code)
    old = fpscr.astype(np.int64)
    enabled = (old & VE) != 0
    compared = unordered & ~(signaling & enabled) if ordered else np.zeros(len(a), bool)
    events = events_of((signaling, VXSNAN), (compared, VXVC))
    new = old & ~(0xF << 12) | code << 12 | events | np.where(events & ~old, FX, 0)
    never = np.zeros(len(a), bool)
    traps = (events != 0) & enabled
    return Answers(a, never, status(new.astype(U32)), traps, code.astype(U32))


def select(a: Bits, c: Bits, b: Bits, fpscr: Words) -> Answers:
    with np.errstate(invalid="ignore"):
        value = np.where(a.view(np.float64) >= 0.0, c, b)
    never = np.zeros(len(a), bool)
    return Answers(value, ~never, fpscr, never, fpscr >> U32(28))


def answers(name: str, a: Bits, c: Bits, b: Bits, fpscr: Words) -> Answers:
    """What `name` leaves (the estimates: see `estimates`)."""
    form = SINGLE if name.endswith("s") else DOUBLE
    match name.removesuffix("s"):
        case "fadd":
            return add(a, b, fpscr, form)
        case "fsub":
            return subtract(a, b, fpscr, form)
        case "fmul":
            return multiply(a, c, fpscr, form)
        case "fdiv":
            return divide(a, b, fpscr, form)
        case "fmadd" | "fmsub" | "fnmadd" | "fnmsub" as fused:
            minus, negate = fused.endswith("sub"), fused.startswith("fn")
            return multiply_add(a, c, b, fpscr, form, minus, negate)
        case "frsp":
            return round_to_single(b, fpscr)
        case "fctiw":
            return to_word(b, fpscr, fpscr & U32(3))
        case "fctiwz":
            return to_word(b, fpscr, np.ones(len(b), U32))
        case "fcmpu" | "fcmpo":
            return compare(a, b, fpscr, name == "fcmpo")
        case "fsel":
            return select(a, c, b, fpscr)
    raise AssertionError(name)
