"""A commit journal as gossamer 0.1.0 left it behind, written from its description."""

from __future__ import annotations

import struct
from pathlib import Path

import xxhash

MAGIC = b"gossCMT2"


def write_journal(journal: Path, before: bytes, changes: list[tuple[int, bytes]]) -> None:
    """A whole journal that makes `changes` to an image which holds `before`."""
    out = struct.pack(">8sQ", MAGIC, len(before))
    for offset, data in changes:
        old = before[offset : offset + len(data)]
        out += struct.pack(">QQ", offset, len(data))
        for at in range(0, len(old), 512):
            out += xxhash.xxh3_64_digest(old[at : at + 512])
        out += data
    journal.write_bytes(out + struct.pack(">QQ", xxhash.xxh3_64_intdigest(out), 0))
