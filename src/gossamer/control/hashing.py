"""A 64-bit hash of the whole state of a machine, quick to ask for again.

The device sections are hashed anew; of RAM only the pages written since the last call.
"""

from __future__ import annotations

from typing import Final

import xxhash

from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.control.stream_out import body_of
from gossamer.machines.machine import Machine

#: This consumer's bit of the dirty bytes.
DIRTY_BIT: Final = 0x01


class StateHash:
    """Hash of one machine's state."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        arena = machine.arena
        self._pages = np.zeros(arena.used // PAGE_SIZE, dtype=np.uint64)
        arena.dirty[:] |= DIRTY_BIT

    def sections(self) -> dict[str, int]:
        """xxh3 of each device section's body, by section title."""
        return {p.title: xxhash.xxh3_64_intdigest(body_of(p.device)) for p in self.machine.sections}

    def ram(self) -> int:
        """Hash over the hashes of all pages."""
        arena = self.machine.arena
        arena.need_all()
        dirty = np.flatnonzero(arena.dirty[: len(self._pages)] & DIRTY_BIT)
        view, digest = arena.view, xxhash.xxh3_64_intdigest
        for n in dirty.tolist():
            self._pages[n] = digest(view[n * PAGE_SIZE : (n + 1) * PAGE_SIZE])
        if len(dirty):
            arena.dirty[dirty] &= np.uint8(0xFF ^ DIRTY_BIT)
            self.machine.engine.flush()
        return xxhash.xxh3_64_intdigest(self._pages.tobytes())

    def value(self) -> int:
        """The hash of everything: sections, RAM, instruction count."""
        h = xxhash.xxh3_64()
        for title, part in self.sections().items():
            h.update(title.encode())
            h.update(part.to_bytes(8, "big"))
        h.update(self.ram().to_bytes(8, "big"))
        return h.intdigest()
