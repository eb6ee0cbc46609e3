"""The CPUs that a pseries can have: what its device tree says of each.

As QEMU 7.2 says it.
"""

from __future__ import annotations

from typing import Final

from gossamer.machines.pseries_tree import CpuFacts

#: Ends a list of sizes.
NO_SIZE: Final = 0xFFFF_FFFF

CPUS: Final = {
    "970mp_v1.1": CpuFacts(
        name="PowerPC,UNKNOWN",
        version=0x0044_0101,
        slb=64,
        icache=0x1_0000,
        dcache=0x8000,
        pages=((12, 0, ((12, 0),)), (24, 0x100, ((24, 0),))),
    ),
    "power8_v2.0": CpuFacts(
        name="PowerPC,POWER8",
        version=0x004D_0200,
        slb=32,
        icache=0x8000,
        dcache=0x8000,
        pages=(
            (12, 0, ((12, 0), (24, 0x38))),
            (16, 0x110, ((16, 1), (24, 8))),
            (24, 0x100, ((24, 0),)),
            (34, 0x120, ((34, 3),)),
        ),
        vmx=2,
        segments=(28, 40, NO_SIZE, NO_SIZE),
        accounts=True,
        decimal=True,
        features=bytes.fromhex("1800f63fc7c080f0800000000000000000008000800080000000"),
    ),
}
