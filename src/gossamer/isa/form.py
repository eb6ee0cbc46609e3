"""Instruction forms: where the fields of a word are.  Bit 0 is the most significant."""

from __future__ import annotations

from typing import overload

from gossamer.base.data import Data
from gossamer.isa.expr import Expr, const, sext, trunc, zext


class Field(Data):
    """Instruction bits `first`..`last`; the value is shifted left by `shift` when read."""

    first: int
    last: int
    shown: str = "{}"
    signed: bool = False
    shift: int = 0

    @property
    def width(self) -> int:
        return self.last - self.first + 1

    @property
    def mask(self) -> int:
        """The field's bits in the word."""
        return ((1 << self.width) - 1) << (31 - self.last)

    @overload
    def __get__(self, form: None, owner: type) -> Field: ...
    @overload
    def __get__(self, form: Form, owner: type) -> Expr: ...
    def __get__(self, form: Form | None, owner: type) -> Field | Expr:
        return self if form is None else self.of(form)

    def of(self, form: Form) -> Expr:
        """The field of a form's word; a constant where its bits are known."""
        if self.mask & ~form.known_mask:
            raw = trunc(form.word >> (31 - self.last), self.width)
        else:
            raw = const(form.known_bits >> (31 - self.last), self.width)
        if self.signed:
            return sext(raw, form.width) << self.shift
        return raw

    def get(self, word: int) -> int:
        """The field's value in a word, sign-extended and shifted as declared."""
        raw = word >> (31 - self.last) & (1 << self.width) - 1
        if self.signed and raw >> (self.width - 1):
            raw -= 1 << self.width
        return raw << self.shift

    def put(self, value: int) -> int:
        """The word bits for `value`; ValueError when it does not fit."""
        raw = value >> self.shift
        low, high = (0, 1 << self.width)
        if self.signed:
            low, high = -(1 << self.width - 1), 1 << self.width - 1
        if not low <= raw < high or raw << self.shift != value:
            raise ValueError(f"{value} does not fit in {self.width} bits")
        return (raw & (1 << self.width) - 1) << (31 - self.last)


class SplitField(Field):
    """Six bits in two places: the low five are `first`..`last`, the other is bit `high`."""

    high: int = 0

    @property
    def width(self) -> int:
        return super().width + 1

    @property
    def mask(self) -> int:
        return (1 << super().width) - 1 << 31 - self.last | 1 << 31 - self.high

    def of(self, form: Form) -> Expr:
        five = self.last - self.first + 1
        if not self.mask & ~form.known_mask:
            return const(self.get(form.known_bits), self.width)
        low = zext(trunc(form.word >> (31 - self.last), five), self.width)
        return low | zext(trunc(form.word >> (31 - self.high), 1), self.width) << five

    def get(self, word: int) -> int:
        five = self.last - self.first + 1
        low = word >> (31 - self.last) & (1 << five) - 1
        return (word >> (31 - self.high) & 1) << five | low

    def put(self, value: int) -> int:
        if not 0 <= value < 1 << self.width:
            raise ValueError(f"{value} does not fit in {self.width} bits")
        five = self.last - self.first + 1
        low = (value & (1 << five) - 1) << (31 - self.last)
        return low | (value >> five) << (31 - self.high)


class Form:
    """An instruction word seen through its fields.

    `known_mask` and `known_bits` say which bits of a symbolic word are already decided: fields of
    known bits are constants.  Signed fields are read as `width` bits, those of the machine's word
    (0: they can't be read).
    """

    OPCD = Field(0, 5)

    def __init__(
        self, word: Expr, known_mask: int = 0, known_bits: int = 0, width: int = 0
    ) -> None:
        self.word, self.known_mask, self.known_bits = word, known_mask, known_bits
        self.width = width

    @classmethod
    def field(cls, name: str) -> Field:
        """The field called `name`; KeyError when the form has none."""
        for c in cls.__mro__:
            if isinstance(f := c.__dict__.get(name), Field):
                return f
        raise KeyError(f"{cls.__name__} has no field {name}")

    @classmethod
    def has(cls, name: str) -> bool:
        return any(isinstance(c.__dict__.get(name), Field) for c in cls.__mro__)
