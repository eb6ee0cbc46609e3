"""How much virtual time a drive's transfers take: as little as the host allows, or the true rates.

A guest of a virtual machine waits for the host's disk, not for one of 1998.  The true rates find
faults that quick devices hide (a driver that is early, a transfer cut in its middle), so they stay
as a choice: ``-global macio-ide.true-rate=on``.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data


class Timing(Data):
    """Delays in ns; `burst` is what one step of a DMA transfer moves at the most, bytes.

    `command`, `packet`: to a command's first effect.  `seek`, `cd_seek`: to a sector that does not
    follow the last one.  `sector`: 512 bytes.  `chains`: a step goes on into the descriptors that
    follow, without their time on the bus.
    """

    command: int
    packet: int
    seek: int
    cd_seek: int
    sector: int
    burst: int
    chains: bool

    def moving(self, count: int) -> int:
        """Time for `count` bytes; never none, so that no transfer goes on without end at once."""
        return count * self.sector // 512 or 1000


TRUE: Final = Timing(
    command=50_000,
    packet=100_000,
    seek=1_000_000,
    cd_seek=2_000_000,
    sector=30_842,  # 512 bytes at 16.6 MB/s, multiword DMA mode 2
    burst=8192,  # half a millisecond
    chains=False,
)
FAST: Final = Timing(
    command=1000,
    packet=1000,
    seek=0,
    cd_seek=0,
    sector=0,
    burst=1 << 18,
    chains=True,
)
