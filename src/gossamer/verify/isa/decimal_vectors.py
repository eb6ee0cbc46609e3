"""Operands for decimal floating point: cohorts, extremes, halves, special values, raw bits."""

from __future__ import annotations

from typing import Final

from gossamer.isa.decimal.formats import EXTENDED, LONG, SHORT, Decimal, Format, Kind, encode
from gossamer.isa.insn import Insn
from gossamer.isa.spec.wide.decimal_forms import DecimalForm
from gossamer.verify.isa.record import Record
from gossamer.verify.isa.wide import WideVectors

#: Instructions of which FRA or FRB is no decimal number of the usual format.
_COUNTS: Final = ("drrnd", "drrndq", "dtstsf", "dtstsfq")
_INTEGERS: Final = ("dcffix", "dcffixq")
_BCD: Final = ("denbcd", "denbcdq")
_EXPONENTS: Final = {"diex": 768, "diexq": 12288}


def is_decimal(row: Insn) -> bool:
    return issubclass(row.form, DecimalForm)


class DecimalVectors(WideVectors):
    """Makes records whose registers, or pairs of them, are decimal numbers."""

    def significand(self, f: Format) -> int:
        rng = self.rng
        count = rng.choice((0, 1, f.precision, f.precision, rng.randrange(1, f.precision + 1)))
        top: int = 10**count
        whole: int = 10**f.precision
        kind = rng.random()
        if kind < 0.2:
            return top - 1 if rng.random() < 0.5 else top // 10
        if kind < 0.35:  # what rounds at a half
            part = rng.randrange(1, f.precision)
            half: int = 5 * 10 ** (f.precision - part - 1)
            return (rng.randrange(10**part) * 2 + 1) * half % whole
        if kind < 0.5:  # zeros at the end
            last: int = 10 ** rng.randrange(count + 1)
            return rng.randrange(top) // last * last
        return rng.randrange(top)

    def number(self, f: Format, like: Decimal | None = None) -> Decimal:
        rng = self.rng
        negative = bool(rng.getrandbits(1))
        kind = rng.random()
        if kind < 0.12:
            special = rng.choice((Kind.INFINITE, Kind.QUIET, Kind.SIGNALING))
            digits = 0 if special is Kind.INFINITE else rng.randrange(10 ** (f.precision - 1))
            return Decimal(negative, digits if rng.random() < 0.7 else 0, 0, special)
        significand = self.significand(f) % 10**f.precision
        if like is not None and kind < 0.5 and not like.special:
            near = like.exponent + rng.randrange(-f.precision - 4, f.precision + 5)
            if kind < 0.25:
                significand = like.significand
                if kind < 0.2 and significand % 10 == 0:
                    significand, near = significand // 10, like.exponent + 1
            exponent = near
        elif kind < 0.6:
            exponent = rng.choice((f.smallest, f.smallest + 1, f.largest, f.largest - 1))
        elif kind < 0.75:
            exponent = rng.randrange(f.smallest, f.largest + 1)
        else:
            exponent = rng.randrange(-f.precision - 3, f.precision + 4)
        return Decimal(negative, significand, min(max(exponent, f.smallest), f.largest))

    def raw(self, f: Format, like: Decimal | None = None) -> tuple[int, Decimal]:
        d = self.number(f, like)
        if self.rng.random() < 0.05 and not d.special:  # declets that are not canonical
            return encode(d, f) | 0x300, Decimal(False, 0)
        return encode(d, f), d

    def make(self) -> Record:
        r = super().make()
        name, rng = self.row.name, self.rng
        like: Decimal | None = None
        for field in ("FRA", "FRB"):
            if f := self.fields.get(f"{field}P"):
                raw, like = self.raw(EXTENDED, like)
                n = f.get(r.word)
                r.fpr[n], r.fpr[n + 1] = raw >> 64, raw & (1 << 64) - 1
            elif f := self.fields.get(field):
                raw, like = self.raw(LONG, like)
                r.fpr[f.get(r.word)] = raw
        if name in _BCD:
            self.put_bcd(r)
        if name == "dctdp":
            high = rng.getrandbits(32) << 32
            r.fpr[self.fields["FRB"].get(r.word)] = high | self.raw(SHORT)[0]
        if name in _COUNTS:
            r.fpr[self.fields["FRA"].get(r.word)] = rng.getrandbits(58) << 6 | rng.randrange(40)
        if name in _EXPONENTS:
            most = _EXPONENTS[name]
            wanted = rng.choice(
                (rng.randrange(most), rng.randrange(-4, 3), most, rng.getrandbits(64))
            )
            r.fpr[self.fields["FRA"].get(r.word)] = wanted & (1 << 64) - 1
        if name in _INTEGERS:
            r.fpr[self.fields["FRB"].get(r.word)] = self.word_value()
        if name in ("dctfix", "dctfixq") and rng.random() < 0.6:
            self.put_integer(r)
        return r

    def put_integer(self, r: Record) -> None:
        """Something that is near an integer of 64 bits."""
        rng = self.rng
        f = LONG if self.row.name == "dctfix" else EXTENDED
        value = rng.choice(((1 << 63) - 1, 1 << 63, rng.getrandbits(rng.randrange(1, 65))))
        value, exponent = value * 10 + rng.choice((0, 4, 5, 6)), -1
        while value >= 10**f.precision:
            value, exponent = value // 10, exponent + 1
        raw = encode(Decimal(bool(rng.getrandbits(1)), value, exponent), f)
        if f is LONG:
            r.fpr[self.fields["FRB"].get(r.word)] = raw
        else:
            n = self.fields["FRBP"].get(r.word)
            r.fpr[n], r.fpr[n + 1] = raw >> 64, raw & (1 << 64) - 1

    def put_bcd(self, r: Record) -> None:
        rng = self.rng
        wide = self.row.name == "denbcdq"
        places = 32 if wide else 16
        value = int(str(rng.randrange(10 ** rng.randrange(places + 1))), 16)
        if rng.random() < 0.7:
            value = value & ~15 | rng.randrange(10, 16)
        if rng.random() < 0.15:
            value |= rng.choice((8, 12, 15)) << 4 * rng.randrange(places)
        if wide:
            n = self.fields["FRBP"].get(r.word)
            r.fpr[n], r.fpr[n + 1] = value >> 64, value & (1 << 64) - 1
        else:
            r.fpr[self.fields["FRB"].get(r.word)] = value
