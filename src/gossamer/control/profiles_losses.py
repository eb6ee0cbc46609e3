"""What of a machine's state a receiver cannot be told, and whether waiting a little helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from gossamer.control.stream import body_of
from gossamer.cpu.cpu import Cpu
from gossamer.devices.cuda import Cuda
from gossamer.devices.dbdma import DbdmaChannel
from gossamer.devices.escc_channel import EsccChannel
from gossamer.devices.ide.drive import IDLE, IdeDrive
from gossamer.devices.via import Via
from gossamer.isa.body import Irq
from gossamer.isa.spec.software_search import ENTRIES, VALID
from gossamer.machines.machine import Machine
from gossamer.migrate.releases import Release
from gossamer.state.declare import Stateful
from gossamer.state.transfer import OURS

#: Subsections that always go with our streams; what they carry is judged apart.
_ALWAYS: Final = ("cpu/gossamer", "timer/gossamer")


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that the receiver will not know; `passes`: it is over after a short while."""

    text: str
    passes: bool = False


def losses(m: Machine, receiver: Release) -> list[Loss]:
    """All that would be lost if the machine were sent now."""
    if receiver.ours:
        return []
    return [*_pending(m, receiver), *_unsaid(m)]


def _pending(m: Machine, receiver: Release) -> Iterator[Loss]:
    """Interrupts that are there and not taken."""
    irq = m.cpu.block.all("irq")
    if irq[Irq.EXTERNAL]:
        yield Loss("an external interrupt is pending; the receiver does not drive the line", True)
    if irq[Irq.DECREMENTER] and not receiver.stale_decrementer:
        yield Loss("a decrementer interrupt is pending", True)
    for source in (Irq.MACHINE_CHECK, Irq.SMI, Irq.PERFORMANCE, Irq.THERMAL):
        if irq[source]:
            yield Loss(f"interrupt {source.name.lower()} is pending", True)


def _unsaid(m: Machine) -> Iterator[Loss]:
    """Subsections that only gossamer knows and that have something to say."""
    found: dict[tuple[int, str], Stateful] = {}

    def saw(owner: Stateful, name: str) -> None:
        if name.endswith("/gossamer") and name not in _ALWAYS:
            found[id(owner), name] = owner

    profile = replace(OURS, saw=saw)
    for part in m.sections:
        before = set(found)
        body_of(part.device, profile)
        for key in found.keys() - before:
            for loss in _judge(found[key], key[1]):
                yield replace(loss, text=f"{part.path}: {loss.text}")


def _judge(owner: Stateful, name: str) -> Iterator[Loss]:
    judge = _JUDGES.get(name)
    if judge is None:
        yield Loss(f"{name} is not known there")
    else:
        yield from judge(cast(Any, owner))


def _drive(d: IdeDrive) -> Iterator[Loss]:
    if d.stage != IDLE or d.stalled:
        yield Loss(f"drive {d.unit} is at work on a command", True)
    elif (d.heads, d.sectors) != d.geometry()[1:]:
        yield Loss(f"drive {d.unit}: the geometry that the guest chose")
    elif d.ascq:
        yield Loss(f"drive {d.unit}: the qualifier of its last error")


def _channel(c: DbdmaChannel) -> Iterator[Loss]:
    if c.stage != IDLE:
        yield Loss(f"channel {c.number:#x}: its program is under way", True)


def _serial(c: EsccChannel) -> Iterator[Loss]:
    if c.tx_timer.armed:
        yield Loss("a character is on its way out", True)
    if c.rx_count > 1:
        yield Loss(f"{c.rx_count - 1} received characters that the guest has not read", True)


def _via(v: Via) -> Iterator[Loss]:
    if v.latch_a != v.a or v.latch_b != v.b:
        yield Loss("what the guest wrote to pins that are inputs")
    if v.t2_paused:
        yield Loss("timer 2 waits for pulses")


def _cuda(c: Cuda) -> Iterator[Loss]:
    if c.answer_timer.armed or c.syncing:
        yield Loss("an answer to the guest is being prepared", True)
    if any(c.pram):
        yield Loss("what the guest keeps in parameter RAM")
    if c.file_server or c.wake_time:
        yield Loss("power-on settings (server mode, wake-up time)")


def _fetch_tlb(cpu: Cpu) -> Iterator[Loss]:
    entries = cpu.block.all("tlb_upper")[ENTRIES:]
    if any(upper & VALID for upper in entries):
        yield Loss("the instruction TLB's entries, which the guest will load again")
    if any(cpu.block.all("tlb_way")):
        yield Loss("which ways of the TLBs are loaded next")


def _says(text: str, *, passes: bool = False) -> Callable[[Any], Iterator[Loss]]:
    def judge(_owner: object) -> Iterator[Loss]:
        yield Loss(text, passes)

    return judge


def _nothing(_owner: object) -> Iterator[Loss]:
    """What a guest cannot notice."""
    return iter(())


_JUDGES: Final[dict[str, Callable[[Any], Iterator[Loss]]]] = {
    "cpu/itlb/gossamer": _fetch_tlb,
    "cpu/rate/gossamer": _nothing,  # `handover.check_rate` refuses another
    "ide_drive/gossamer": _drive,
    "ide_bus/gossamer": _says("an interrupt that the guest has masked", passes=True),
    "dbdma_channel/gossamer": _channel,
    "escc_chn/gossamer": _serial,
    "mos6522/gossamer": _via,
    "cuda/gossamer": _cuda,
    "adb_bus/gossamer": _nothing,
    "adb_kbd/gossamer": _says("which keys are down and which lights are on"),
    "ne2000/gossamer": _says("a frame is on its way out", passes=True),
    "heathrow_pic/gossamer": _says("feature and media-bay registers"),
    "PCIHost/gossamer": _says("the bridge's own configuration space"),
}
