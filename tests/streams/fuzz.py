"""Damages a stream in the ways that files get damaged, and by hostile hands."""

from __future__ import annotations

import io
import random

from gossamer.base.errors import GossamerError
from gossamer.migrate import framing
from gossamer.migrate.inspect import open_stream
from gossamer.migrate.releases import release
from gossamer.streams import doctor, layouts
from gossamer.streams.patient import Patient
from gossamer.streams.show import RamSum, as_json

EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 64) - 1]


def damage(stream: bytes, chance: random.Random) -> bytes:
    """One to three injuries."""
    data = bytearray(stream)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(max(len(data), 1))
        kind = chance.randrange(8)
        if kind == 0 and data:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and data:
            data[at] = chance.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 0x7E, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + chance.randint(1, 64)]
        elif kind == 4:
            data[at:at] = chance.randbytes(chance.randint(1, 64))
        elif kind == 5:
            size = chance.choice([1, 2, 4, 8])
            value = chance.choice(EXTREMES) & ((1 << 8 * size) - 1)
            data[at : at + size] = value.to_bytes(size, "big")
        elif kind == 6:
            json = data.rfind(b'{"page_size"')
            if json >= 0:
                at = chance.randrange(json, len(data))
                data[at : at + 1] = chance.choice(
                    [b"9", b"-", b"}", b"[", b'"', b"0", b"null", b"1e9", b"99999999999"]
                )
        else:
            other = chance.randrange(max(len(data), 1))
            data[at : at + 40] = data[other : other + 40]
    return bytes(data)


def swallow(data: bytes) -> str:
    """Read all there is to read; the error's text, or "" when it went well."""
    try:
        counted = RamSum()
        stream = open_stream(io.BytesIO(data), "fuzzed", on_ram=counted, schema=layouts.for_machine)
        counted.add_mapped(stream)
        as_json(stream, counted, None)
        if stream.configuration and stream.configuration.machine in ("g3beige", "mac99"):
            doctor.examine(Patient.of(stream), release("qemu-7.2"), {})
    except GossamerError as fault:
        return str(fault) or "an error without a word"
    assert isinstance(stream.events[0], framing.Header)
    return ""


def run(streams: list[bytes], count: int, seed: int) -> tuple[int, int]:
    """How many damaged streams were refused, and how many read."""
    chance = random.Random(seed)
    refused = 0
    for _ in range(count):
        refused += bool(swallow(damage(chance.choice(streams), chance)))
    return refused, count - refused
