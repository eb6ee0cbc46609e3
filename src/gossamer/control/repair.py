"""What QEMU's streams do not say, worked out after a load and said in lines of text.

Each line names what was found and what was done.  Source: facts section 7, "Interrupts after
load", "Timebase and decrementer".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.base.units import NS_PER_S
from gossamer.control.stream_in import Loaded
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.exceptions_64 import AIL_2, AIL_3
from gossamer.cpu.msr import MSR_EE
from gossamer.devices.escc import MASTER_ENABLE, Escc
from gossamer.devices.heathrow import Heathrow
from gossamer.devices.ide.cell import MacioIde
from gossamer.devices.ide.drive import BSY
from gossamer.isa.interrupts import Interrupt, Irq
from gossamer.isa.spec.parts import EMBEDDED, has
from gossamer.machines.machine import Machine

FAR_NS: Final = 3600 * NS_PER_S
"""No timer of these machines is set for so long."""
_LAZY: Final = "macio/via"
"""QEMU works out the VIA's flags when they are read: an event in the past is nothing special."""
#: First instructions of the interrupts that end a wait, wherever LPCR[AIL] has them.
_TAKEN: Final = frozenset(
    at + vector
    for at in (0, AIL_2, AIL_3)
    for vector in (Interrupt.EXTERNAL, Interrupt.DECREMENTER)
)
#: WR1: external, transmit and receive interrupts.
_SERIAL_INTERRUPTS: Final = 0x1B


def complete(m: Machine, loaded: Loaded, *, mend: bool = True) -> list[str]:
    """Second phase of a load: lines take their levels; a foreign stream is mended first.

    Returns what was done and what cannot be known; nothing for our own streams.
    """
    if not loaded.foreign or not mend:
        m.resume()
        return []
    lines = [f"section {name} is not in the stream: as at power on" for name in loaded.missing]
    if has(m.cpu.model.features, EMBEDDED):
        from gossamer.control import repair_405  # noqa: PLC0415 - of one board

        lines += repair_405.complete(m)
    else:
        for n, cpu in enumerate(m.cpus):
            lines += (f"cpu {n}: {one}" if n else one for one in _decrementer(m, cpu, loaded))
    lines += _waiting(m)
    lines += _timebase(m)
    lines += _timers(m)
    lines += _drives(m)
    lines += _serial(m)
    lines += _interrupts(m)
    return lines


def _decrementer(m: Machine, cpu: Cpu, loaded: Loaded) -> Iterator[str]:
    """DEC as the stream has it, if its sender knows it.

    QEMU before 8.2 does not: its spr[22] is 0, or what an earlier sender left in it.
    """
    hz, dec = cpu.tb_hz, cpu.decrementer
    known = dec and (loaded.modern or "cpu/rtas_stopped" in loaded.subsections)
    if not m.clock.now and dec in (0, 0xFFFF_FFFF):
        cpu.set_decrementer(0xFFFF_FFFF)
        if not dec:
            yield "decrementer: not carried; the machine has not run, so it is as at power on"
    elif not known:
        cpu.set_decrementer(0xFFFF_FFFF)
        cpu.input_changed(Irq.DECREMENTER, True)
        yield f"decrementer: not carried (spr[22] is {dec:#x}); its interrupt is raised at once"
    elif dec >> 31 and (1 << 32) - dec < hz // 100:
        cpu.input_changed(Irq.DECREMENTER, True)
        late = ((1 << 32) - dec) * 1_000_000 // hz
        yield (
            f"decrementer: passed zero {late} us before the save; whether its interrupt was taken "
            "is not carried, so it is raised"
        )


def _waiting(m: Machine) -> Iterator[str]:
    """A CPU that waits where it has just taken an interrupt, which ends all waiting.

    QEMU 7.2 makes it so when the interrupt comes while H_CEDE is being answered; nothing wakes that
    CPU there any more.
    """
    for n, cpu in enumerate(m.cpus):
        block = cpu.block
        enabled, was = (bool(block.get(name) & MSR_EE) for name in ("msr", "srr1"))
        if m.word == 64 and block.get("halted") and block.get("nia") in _TAKEN and was > enabled:
            block.set("halted", 0)
            yield f"cpu {n}: waits at the first instruction of an interrupt; it goes on"


def _timebase(m: Machine) -> Iterator[str]:
    if m.clock.now:
        yield (
            f"time base: an offset that the guest set (mttb) is not carried; TB is "
            f"{m.cpu.timebase:#x}, as the virtual clock says"
        )


def _timers(m: Machine) -> Iterator[str]:
    now = m.clock.now
    for alarm in m.clock.alarms:
        where = alarm.key[0] or "timer"
        if alarm.armed and alarm.when < now and where != _LAZY:
            late = (now - alarm.when) // 1000
            yield f"{where}: a timer was due {late} us before the save; it fires at once"
        elif alarm.armed and alarm.when > now + FAR_NS:
            yield (
                f"{where}: a timer is due in {(alarm.when - now) // NS_PER_S} s, out of step with "
                "the clock; it is made due now"
            )
            alarm.set(now)


def _drives(m: Machine) -> Iterator[str]:
    """A drive that is busy in a stream without our clockwork would stay so."""
    for part in m.parts:
        if isinstance(part.device, MacioIde):
            for drive in part.device.bus.drives:
                if drive.status & BSY and not drive.timer.armed:
                    drive.abort()
                    yield f"{part.path}: drive {drive.unit} was busy with no end; command aborted"


def _serial(m: Machine) -> Iterator[str]:
    """QEMU's serial chip neither keeps WR9 nor heeds its master interrupt enable."""
    for part in m.parts:
        if not isinstance(part.device, Escc):
            continue
        channels = part.device.chn
        asked = any(channel.wregs[1] & _SERIAL_INTERRUPTS for channel in channels)
        if asked and not any(channel.wregs[9] & MASTER_ENABLE for channel in channels):
            for channel in channels:
                channel.wregs[9] = MASTER_ENABLE
            yield (f"{part.path}: WR9 is not carried; WR1 asks for interrupts, so they are enabled")


def _interrupts(m: Machine) -> Iterator[str]:
    """Lines against the controllers' registers, and the controllers against the CPU."""
    pics = [p.device for p in m.parts if isinstance(p.device, Heathrow)]
    before = [[bank.levels for bank in pic.pics] for pic in pics]
    m.resume()
    for pic, old in zip(pics, before, strict=True):
        for bank, (chip, was) in enumerate(zip(pic.pics, old, strict=True)):
            risen, fallen = chip.levels & ~was, was & ~chip.levels
            chip.events |= risen
            for number in _numbers(m, bank, risen):
                yield f"{pic.path}: {number} requests, its line was low; its edge is made up for"
            for number in _numbers(m, bank, fallen):
                yield f"{pic.path}: the line of {number} was high with no request; it is low"
        pic.resume()
        for bank, chip in enumerate(pic.pics):
            for number in _numbers(m, bank, chip.pending):
                yield f"{pic.path}: {number} is pending; the CPU's line is driven"


def _numbers(m: Machine, bank: int, bits: int) -> list[str]:
    names = m.kind.irq_names
    first = 32 * (1 - bank)
    named = (n for n in range(first, first + 32) if bits >> n - first & 1)
    return [f"source {n} ({names[n]})" if n in names else f"source {n}" for n in named]
