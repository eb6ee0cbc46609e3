"""The reference engine in a machine, where an architecture has no native code yet."""

from __future__ import annotations

from gossamer.core.memory import AddressMap
from gossamer.engine.reference import Reference
from gossamer.isa.architecture import Architecture


class Plain(Reference):
    """In the place of `Tier0`."""

    def __init__(
        self, memory: AddressMap, architecture: Architecture, beside: Plain | None = None
    ) -> None:
        super().__init__(memory, architecture)

    def close(self) -> None:
        """It has no memory of the host's."""
