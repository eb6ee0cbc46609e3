"""How one value becomes bytes: QEMU's primitive encodings (facts: VMState types).

A codec knows its JSON type name, its size in bytes, and how to put and get one value.
"""

from __future__ import annotations

from functools import cached_property
from struct import Struct
from typing import Any, Final, Protocol

from gossamer.base.data import Data
from gossamer.base.wire import WireReader, WireWriter

NOT_ARMED: Final = (1 << 64) - 1
#: `struct`'s letters of unsigned integers, by size.
_LETTERS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Codec(Protocol):
    """One value on the wire."""

    @property
    def kind(self) -> str:
        """Type name in the JSON description."""

    @property
    def size(self) -> int:
        """Bytes on the wire."""

    def put(self, w: WireWriter, value: Any) -> None: ...  # noqa: ANN401 - one type per codec
    def get(self, r: WireReader) -> Any: ...  # noqa: ANN401
    def zero(self) -> Any: ...  # noqa: ANN401


class Int(Data):
    """A big-endian integer of 1, 2, 4 or 8 bytes."""

    kind: str
    size: int
    signed: bool = False

    @property
    def letter(self) -> str:
        """The letter of `struct`."""
        letter = _LETTERS[self.size]
        return letter.lower() if self.signed else letter

    def put(self, w: WireWriter, value: int) -> None:
        if self.signed:
            w.sint(value, self.size)
        else:
            w.uint(value, self.size)

    def get(self, r: WireReader) -> int:
        return r.sint(self.size) if self.signed else r.uint(self.size)

    def zero(self) -> int:
        return 0


class Equal(Data):
    """An integer that must have the value this build has."""

    of: Int
    value: int

    @property
    def kind(self) -> str:
        return f"{self.of.kind} equal"

    @property
    def size(self) -> int:
        return self.of.size

    def put(self, w: WireWriter, value: object) -> None:
        self.of.put(w, self.value)

    def get(self, r: WireReader) -> int:
        got = self.of.get(r)
        if got != self.value:
            raise r.error(f"value must be {self.value}, got {got}")
        return got

    def zero(self) -> int:
        return self.value


class AtMost(Data):
    """QEMU's "int32 le": big-endian, not negative and at most the local value."""

    limit: int
    kind: str = "int32 le"
    size: int = 4

    def put(self, w: WireWriter, value: object) -> None:
        w.sint(self.limit, 4)

    def get(self, r: WireReader) -> int:
        got = r.sint(4)
        if not 0 <= got <= self.limit:
            raise r.error(f"value must be 0..{self.limit}, got {got}")
        return got

    def zero(self) -> int:
        return self.limit


class Bool(Data):
    """One byte, 0 or 1."""

    kind: str = "bool"
    size: int = 1

    def put(self, w: WireWriter, value: object) -> None:
        w.uint(int(bool(value)), 1)

    def get(self, r: WireReader) -> bool:
        got = r.uint(1)
        if got > 1:
            raise r.error(f"a bool must be 0 or 1, got {got}")
        return bool(got)

    def zero(self) -> bool:
        return False


class Buffer(Data):
    """`size` raw bytes; the value is a bytearray of that size."""

    size: int
    kind: str = "buffer"

    def put(self, w: WireWriter, value: bytes | bytearray) -> None:
        assert len(value) == self.size, (len(value), self.size)
        w.raw(value)

    def get(self, r: WireReader) -> bytearray:
        return bytearray(r.take(self.size))

    def zero(self) -> bytearray:
        return bytearray(self.size)


class Unused(Data):
    """`size` bytes that mean nothing: zero when written, ignored when read."""

    size: int
    kind: str = "unused_buffer"

    def put(self, w: WireWriter, value: object) -> None:
        w.raw(bytes(self.size))

    def get(self, r: WireReader) -> None:
        r.take(self.size)

    def zero(self) -> None:
        return None


class Array(Data):
    """`count` elements back to back; the value is a list."""

    __slots__ = ("__dict__",)

    of: Codec
    count: int

    @property
    def kind(self) -> str:
        return self.of.kind

    @property
    def size(self) -> int:
        return self.of.size * self.count

    @cached_property
    def _packed(self) -> Struct | None:
        """All of a plain array in one step: the registers and TLBs of a CPU are thousands."""
        if not isinstance(self.of, Int):
            return None
        return Struct(f">{self.count}{self.of.letter}")

    def put(self, w: WireWriter, value: list[Any]) -> None:
        assert len(value) == self.count, (len(value), self.count)
        if self._packed is not None:
            w.raw(self._packed.pack(*value))
            return
        for v in value:
            self.of.put(w, v)

    def get(self, r: WireReader) -> list[Any]:
        if self._packed is not None:
            return list(self._packed.unpack(r.take(self.size)))
        return [self.of.get(r) for _ in range(self.count)]

    def zero(self) -> list[Any]:
        if self._packed is not None:
            return [0] * self.count
        return [self.of.zero() for _ in range(self.count)]


class Octets(Array):
    """An array of bytes on the wire; the value is a bytearray of that length."""

    __slots__ = ()

    def put(self, w: WireWriter, value: bytes | bytearray) -> None:  # type: ignore[override]
        assert len(value) == self.count, (len(value), self.count)
        w.raw(value)

    def get(self, r: WireReader) -> bytearray:  # type: ignore[override]
        return bytearray(r.take(self.count))

    def zero(self) -> bytearray:  # type: ignore[override]
        return bytearray(self.count)


class Bitmap(Data):
    """Bits in big-endian 64-bit words, bit n with weight 1 << n % 64 of word n // 64.

    The value is an int whose bit n (weight 1 << n) is bit n of the map.
    """

    bits: int
    kind: str = "bitmap"

    @property
    def size(self) -> int:
        return -(-self.bits // 64) * 8

    def put(self, w: WireWriter, value: int) -> None:
        for n in range(self.size // 8):
            w.uint(value >> 64 * n & NOT_ARMED, 8)

    def get(self, r: WireReader) -> int:
        value = 0
        for n in range(self.size // 8):
            value |= r.uint(8) << 64 * n
        if value >> self.bits:
            raise r.error(f"bits above {self.bits} are set")
        return value

    def zero(self) -> int:
        return 0


U8, U16, U32, U64 = (Int(f"uint{8 * n}", n) for n in (1, 2, 4, 8))
I8, I16, I32, I64 = (Int(f"int{8 * n}", n, signed=True) for n in (1, 2, 4, 8))
BOOL: Final = Bool()
