"""Whole runs of the hostile guest: sequences of all chips of a machine, chosen by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from gossamer.machines.guests import hostile_405
from gossamer.verify.hostile import adb, board, disks, interrupts, network, others, serial, usb
from gossamer.verify.hostile.layout import Layout
from gossamer.verify.hostile.records import Record, Script

Grammar = Callable[[Script], None]

#: Chip, a region that only machines with it have (none: all have it), grammar, how often it comes.
GRAMMARS: Final[tuple[tuple[str, str, Grammar, int], ...]] = (
    ("ide", "pmac-ide", disks.first, 6),
    ("ide", "pmac-ide", disks.second, 6),
    ("dbdma", "dbdma", disks.dma, 4),
    ("via", "via", adb.timers, 2),
    ("cuda", "cuda", adb.cuda, 6),
    ("cuda", "cuda", adb.cuda_answer, 2),
    ("pmu", "pmu", adb.pmu, 8),
    ("escc", "escc", serial.escc, 5),
    ("heathrow", "heathrow", interrupts.heathrow, 3),
    ("openpic", "openpic", interrupts.openpic, 6),
    ("gpio", "gpio", interrupts.gpio, 2),
    ("ohci", "ohci", usb.ohci, 6),
    ("sungem", "sungem", network.sungem, 4),
    ("ne2000", "ne2000", network.ne2000, 4),
    ("vga", "vbe", others.vga, 3),
    ("pci", "", others.pci, 2),
    ("fw_cfg", "fwcfg.ctl", others.fw_cfg, 1),
    ("nvram", "nvram", others.nvram, 2),
    ("cpu", "", others.cpu, 3),
)
#: The same of the 405EP's board.
BOARD: Final[tuple[tuple[str, str, Grammar, int], ...]] = (
    ("timers", "", board.embedded_timers, 8),
    ("tlb", "", board.tlb, 6),
    ("tlb", "", board.through, 3),
    ("uic", "", board.uic, 4),
    ("dcr", "", board.dcrs, 3),
    ("uart", "serial", board.uart, 6),
    ("m48t59", "m48t59.nvram", board.clock, 3),
    ("opb", "gpt", board.opb, 3),
    ("cpu", "", board.processor, 4),
)
#: Of sequences: mixed with another one, with interrupts enabled, behind a doze, undisturbed.
MIXED, ENABLED, DOZING, UNDISTURBED = 0.3, 0.35, 0.08, 0.3
SET_UP_EVERY: Final = 40
"""Sequences between two times that PCI gets its addresses back."""
HALT_EVERY: Final = 10
"""Sequences between two times that all DMA programs end, loops among them."""


def chips(layout: Layout) -> list[str]:
    """The chips that a machine has, by what this folder calls them."""
    return list(dict.fromkeys(name for name, _, _ in _grammars(layout)))


def _grammars(layout: Layout) -> list[tuple[str, Grammar, int]]:
    known = BOARD if layout.name == hostile_405.MACHINE else GRAMMARS
    return [
        (name, grammar, weight)
        for name, region, grammar, weight in known
        if not region or layout.has(region) or layout.controller == region
    ]


def run_script(
    layout: Layout, seed: int | str, accesses: int, only: Sequence[str] | None = None
) -> list[Record]:
    """Records for so many accesses; of the chips named, if any are: then there is no CPU.

    Those that give PCI functions their addresses come first, even when none is asked for.
    """
    rng = random.Random(f"hostile {layout.name} {layout.controller} {seed}")  # noqa: S311
    script = Script(rng, layout)
    known = [one for one in _grammars(layout) if only is None or one[0] in only]
    grammars = [grammar for _, grammar, _ in known]
    weights = [weight for _, _, weight in known]
    others.give_addresses(script)
    n, set_up = 0, len(script.records)
    while len(script.records) < accesses:
        n += 1
        if n % SET_UP_EVERY == 0:
            others.give_addresses(script)
        if n % HALT_EVERY == 0 and layout.has("dbdma"):
            disks.halt_all(script)
        if only is None:
            script.interrupts(script.maybe(ENABLED))
            if script.maybe(DOZING):
                script.nap(rng.choice((10, 500, 20_000, 0x7FFF_FFFF)))
        script.disturbance = 0.0 if script.maybe(UNDISTURBED) else 1.0
        one, other = rng.choices(grammars, weights, k=2)
        if script.maybe(MIXED):
            script.mix(one, other)
        else:
            one(script)
    return script.records[: max(accesses, set_up if only is not None else 0)]
