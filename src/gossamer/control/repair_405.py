"""What QEMU 7.2's streams of a 405 do not say: its timers, where its SDRAM is.

Each line names what was found and what was done.  Source: facts of the ref405ep, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.cpu.cpu_405 import Cpu405
from gossamer.devices.dcrs_405ep import Dcrs405ep
from gossamer.isa.spec import timers_405 as timers
from gossamer.machines.machine import Machine


def complete(m: Machine) -> Iterator[str]:
    """Timers and memory of a CPU whose registers have been loaded."""
    cpu = m.cpu
    assert isinstance(cpu, Cpu405), cpu
    yield from _memory(m)
    if m.clock.now or cpu.block.get("tcr"):
        yield from _timers(cpu)


def _memory(m: Machine) -> Iterator[str]:
    """SDRAM: where a sender that has run had it can only be where -kernel puts it."""
    for part in m.parts:
        chip = part.device
        if isinstance(chip, Dcrs405ep) and not chip.sdram_options and _uses_ram(m):
            chip.enable()
            yield f"{part.path}: whether SDRAM is on is not carried; it has content, so it is at 0"


def _uses_ram(m: Machine) -> bool:
    """Whether anything is in the SDRAM."""
    block = m.block(m.kind.ram_block)
    m.arena.need(block.offset, min(block.size, 1 << 24))
    return bool(m.arena.bytes_of(block)[: 1 << 24].any())


def _timers(cpu: Cpu405) -> Iterator[str]:
    block = cpu.block
    tcr, tsr = block.get("tcr"), block.get("tsr")
    if tcr & timers.PIE and not tsr & timers.PIS:
        block.set("tsr", tsr | timers.PIS)
        yield (
            "PIT: what it counts from and when it expires are not carried; TCR[PIE] is set, so its "
            "interrupt is raised at once"
        )
        if tcr & timers.ARE:
            yield "PIT: its reload value is not carried: it stands still until the guest writes it"
    elif tcr & timers.PIE:
        yield "PIT: its interrupt is pending in TSR and TCR; it is raised"
    if tcr & timers.FIE:
        yield "FIT: it never fired at the sender; it fires here, with the time base"
    if tcr & (timers.WIE | timers.WRC):
        yield "watchdog: its next time-out is not carried; it follows from the time base"
        if tsr & timers.WIS and tcr & timers.WRC:
            block.set("tsr", block.get("tsr") & ~timers.WIS)
            yield "watchdog: TSR[WIS] is cleared: a write of TCR sets it at the sender"
    if tcr & timers.WIE and not block.get("msr") & block.get("srr1") & 0x2_0000:
        yield "watchdog: MSR[CE] is off, as the sender loses it at any interrupt: it stays so"
    cpu.post_load(cpu.version)
