"""Records that the hostile guest carries out, and what may be put into them.

A script is a list of records, made by chance from one seed: the grammars of this folder write
sequences that a driver would use, `Script` leaves records out, doubles them, flips bits and puts
random accesses between them.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from gossamer.machines.guests import hostile_405
from gossamer.machines.guests.hostile import HEAD_WORDS, INSTRUCTIONS, MAGIC, RECORD_WORDS
from gossamer.verify.hostile.layout import Layout

NUMBERS: Final = {name: n for n, name in enumerate(hostile_405.KINDS)}
STORES: Final = {1: "store1", 2: "store2", 4: "store4"}
LOADS: Final = {1: "load1", 2: "load2", 4: "load4"}
WIDTHS: Final = {name: width for table in (STORES, LOADS) for width, name in table.items()}
MOST_REPEATS: Final = 256
MOST_TURNS: Final = 0xFFFF
#: RAM that descriptors and buffers are in: the program and its table lie elsewhere.
SCRATCH: Final = range(0x4_0000, 0xC_0000)
EXTERNAL_ENABLE: Final = 0x8000
#: Of records: how many are left out, come twice, have a bit flipped; are followed by a stray one.
LEFT_OUT, DOUBLED, FLIPPED, STRAY = 0.02, 0.02, 0.02, 0.06
#: Turns of an empty loop (32 ns each) behind an access.
DELAYS: Final = (0, 0, 0, 0, 0, 0, 5, 30, 400, 3000)


class Record(NamedTuple):
    """One step of the guest: see `machines.guests.hostile` and `hostile_405`."""

    kind: str
    at: int
    value: int = 0
    repeats: int = 1
    delay: int = 0

    def __str__(self) -> str:
        text = f"{self.kind} {self.at:#x} {self.value:#x}"
        if self.kind == "execute":
            text = f"execute {INSTRUCTIONS[self.value]!r} with {self.at:#x}"
        elif self.kind in ("do", "vdo"):
            text = f"{self.kind} {hostile_405.INSTRUCTIONS[self.value]!r} with {self.at:#x}"
        if self.repeats > 1:
            text += f" x{self.repeats}"
        return text + (f", then {self.delay} turns" if self.delay else "")


def table(records: Sequence[Record]) -> bytes:
    """The bytes that the guest reads."""
    words = [MAGIC, len(records), *[0] * (HEAD_WORDS - 2)]
    for one in records:
        words += [
            NUMBERS[one.kind] << 24 | one.repeats - 1 << 16 | one.delay,
            one.at,
            one.value,
        ]
    assert len(words) == HEAD_WORDS + RECORD_WORDS * len(records)
    return struct.pack(f">{len(words)}I", *words)


def swap(value: int, width: int = 4) -> int:
    """A number with the bytes of its `width` turned round: what a little-endian chip sees."""
    return int.from_bytes((value & (1 << 8 * width) - 1).to_bytes(width, "little"), "big")


def _enabled(on: bool) -> int:
    return EXTERNAL_ENABLE if on else 0


class Script:
    """Collects the records of a run."""

    def __init__(self, rng: random.Random, layout: Layout) -> None:
        self.rng, self.layout = rng, layout
        self.records: list[Record] = []
        #: Between 0 (as written) and 1: how much the records of a sequence are disturbed.
        self.disturbance = 1.0
        self._scratch = SCRATCH.start

    # --- steps ------------------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """One record, disturbed by chance."""
        r, much = self.rng, self.disturbance
        chance = r.random()
        if chance < LEFT_OUT * much:
            return
        if chance < (LEFT_OUT + FLIPPED) * much and record.kind in WIDTHS:
            bit = r.randrange(8 * WIDTHS[record.kind])
            record = record._replace(value=record.value ^ 1 << bit)
        self.records.append(record)
        if r.random() < DOUBLED * much:
            self.records.append(record)
        if r.random() < STRAY * much:
            self.stray()

    def mix(self, one: Callable[[Script], None], other: Callable[[Script], None]) -> None:
        """Both sequences at the same time: the records of one between those of the other."""
        before, halves = self.records, []
        for sequence in (one, other):
            self.records = []
            sequence(self)
            halves.append(self.records[::-1])
        self.records = before
        while halves[0] or halves[1]:
            half = self.rng.choice([h for h in halves if h])
            self.records.append(half.pop())

    def exactly(self, records: Iterable[Record]) -> None:
        """Records that are not disturbed."""
        self.records += records

    def store(self, at: int, value: int, width: int = 1, repeats: int = 1) -> None:
        value &= (1 << 8 * width) - 1
        self.add(Record(STORES[width], at, value, repeats, self.rng.choice(DELAYS)))

    def load(self, at: int, width: int = 1, repeats: int = 1) -> None:
        self.add(Record(LOADS[width], at, 0, repeats, self.rng.choice(DELAYS)))

    def store_little(self, at: int, value: int, width: int = 4) -> None:
        self.store(at, swap(value, width), width)

    def poll(self, at: int, mask: int, wanted: int) -> None:
        """Read a byte until (byte & mask) == wanted, or for a while."""
        self.add(Record("poll", at, mask << 8 | wanted, 1, self.rng.choice(DELAYS)))

    def wait(self, turns: int) -> None:
        """Turns of 32 ns."""
        self.add(Record("wait", 0, max(turns, 1)))

    def nap(self, ticks: int) -> None:
        """Doze until the decrementer, set to so many ticks, or another interrupt wakes the CPU."""
        self.add(Record("nap", 0, ticks))

    def interrupts(self, on: bool) -> None:
        enables = self.layout.enables
        self.add(Record("msr", 0, self.rng.choice(enables) if on and enables else _enabled(on)))

    def execute(self, number: int, operand: int) -> None:
        """An instruction of `program.INSTRUCTIONS`."""
        self.add(Record("execute", operand & 0xFFFF_FFFF, number))

    # --- memory -----------------------------------------------------------------------------------

    def room(self, size: int, alignment: int = 16) -> int:
        """An address of `size` bytes for descriptors or data, used in turns."""
        at = -(-self._scratch // alignment) * alignment
        if at + size > SCRATCH.stop:
            at = -(-SCRATCH.start // alignment) * alignment
        self._scratch = at + size
        return at

    def words(self, at: int, values: Iterable[int]) -> None:
        """Little-endian words in memory, as PCI and DBDMA descriptors have them."""
        for n, value in enumerate(values):
            self.add(Record("store4", at + 4 * n, swap(value)))

    # --- chance -----------------------------------------------------------------------------------

    def value(self) -> int:
        """A word such as hostile drivers write."""
        r = self.rng
        match r.randrange(6):
            case 0:
                return r.getrandbits(32)
            case 1:
                return 1 << r.randrange(32)
            case 2:
                return r.randrange(0x40) * 0x0101_0101
            case 3:
                return r.randrange(SCRATCH.start, SCRATCH.stop, 16)
            case 4:
                return swap(r.randrange(SCRATCH.start, SCRATCH.stop, 16))
        return r.choice((0, 0xFFFF_FFFF, 0x8000_8000, 0x80, 1, 0x7FFF_FFFF))

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    def stray(self) -> None:
        """A random access to some chip, nearby the last one more often than not."""
        self._access(self.layout.stray(self.rng))

    def poke(self, name: str) -> None:
        """A random access to a chip called `name`."""
        self._access(self.rng.choice(self.layout.places[name]))

    def _access(self, place: tuple[int, int]) -> None:
        r = self.rng
        start, size = place
        width = r.choice((1, 1, 1, 2, 4, 4))
        span = min(size, r.choice((0x10, 0x40, 0x100, 0x2000, size)))
        step = r.choice((width, 0x10, 0x200 if span >= 0x2000 else width))
        at = start + r.randrange(0, max(1, span - width + 1), step)
        if r.random() < 0.4:
            self.records.append(Record(LOADS[width], at, 0, 1, r.choice(DELAYS)))
        else:
            value = self.value() & (1 << 8 * width) - 1
            self.records.append(Record(STORES[width], at, value, 1, r.choice(DELAYS)))
