"""Apple KeyLargo: the mac-io function of mac99 with its feature registers and free-running timer.

Interrupts (openpic.py) and GPIO (gpio.py) are cells of their own.  Source: Linux
arch/powerpc/include/asm/keylargo.h; docs page keylargo.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.units import ticks_at
from gossamer.core.clock import Clock
from gossamer.core.region import Region
from gossamer.devices.macio import MacIoNewWorld
from gossamer.devices.pci import PciBus
from gossamer.state.codec import U32
from gossamer.state.declare import array
from gossamer.state.layout import subsection

TIMER_HZ: Final = 18_432_000
COUNTER_LOW, COUNTER_HIGH = 0x38, 0x3C
FEATURES: Final = 0x34
"""MBCR (media bay) and FCR0 to FCR4: six words."""
FEATURE_COUNT: Final = 6


class KeyLargo(MacIoNewWorld):
    """The container with its feature control registers: plain storage, all parts are always on."""

    extra = subsection("macio-newworld/gossamer", ours=True, lost="feature control registers")

    features: list[int] = array(U32, FEATURE_COUNT, within=extra)

    def __init__(self, clock: Clock, bus: PciBus, devfn: int) -> None:
        super().__init__(clock, bus, devfn)
        self.add(
            FEATURES,
            Region(
                "features",
                4 * FEATURE_COUNT,
                self.read_feature,
                self.write_feature,
                widths=(4,),
                little=True,
            ),
        )
        self.add(
            0x15000,
            Region("timer", 0x1000, self.read_timer, self.write_timer, widths=(4,), little=True),
        )

    @extra.needed
    def extra_needed(self) -> bool:
        return any(self.features)

    def read_feature(self, offset: int, _size: int) -> int:
        return self.features[offset // 4 % FEATURE_COUNT]

    def write_feature(self, offset: int, _size: int, value: int) -> None:
        self.features[offset // 4 % FEATURE_COUNT] = value

    @property
    def counter(self) -> int:
        """The 64-bit counter: ticks of 18.432 MHz since virtual time 0."""
        return ticks_at(int(self.clock.now), TIMER_HZ)

    def read_timer(self, offset: int, _size: int) -> int:
        if offset == COUNTER_LOW:
            return self.counter & 0xFFFF_FFFF
        if offset == COUNTER_HIGH:
            return self.counter >> 32 & 0xFFFF_FFFF
        self.note(f"read of unknown timer register {offset:#x}")
        return 0

    def write_timer(self, offset: int, _size: int, _value: int) -> None:
        self.note(f"write to timer register {offset:#x}")
