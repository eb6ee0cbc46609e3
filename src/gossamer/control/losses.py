"""What of a machine's state cannot be sent to a receiver, and whether waiting a little helps.

What is lost with a subsection that only gossamer knows, or with a section that a release has not,
is declared where the state is (`lost=`); here it is only collected.
"""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.base.data import replace
from gossamer.base.wire import WireWriter
from gossamer.machines.machine import Machine
from gossamer.migrate.releases import SERVER, Release
from gossamer.state.declare import Stateful
from gossamer.state.layout import Loss
from gossamer.state.transfer import OURS, is_known, save

__all__ = ["Loss", "losses"]


def losses(m: Machine, receiver: Release) -> list[Loss]:
    """All that would be lost if the machine were sent now."""
    if receiver.ours:
        return []
    kinds = (_server, _usb, _pending, _unsaid)
    return [loss for kind in kinds for loss in kind(m, receiver)]


def _server(m: Machine, receiver: Release) -> Iterator[Loss]:
    """A machine whose versions are QEMU's."""
    if not m.name.startswith(SERVER):
        return
    if not receiver.has_server(m.name):
        yield Loss(f"{receiver.title} has no {m.name}: it will refuse the stream")
    if receiver.sleeps:
        yield Loss(f"{receiver.title} does not wake a guest that waits for its decrementer")


def _usb(m: Machine, receiver: Release) -> Iterator[Loss]:
    """Controllers that a receiver cannot load."""
    for part in m.sections if receiver.needs_msix else ():
        if part.device.vmsd == "xhci" and getattr(part.device, "msix", None) is None:
            yield Loss(f"{part.path}: {receiver.title} ends when it loads an xHCI without MSI-X")


def _pending(m: Machine, receiver: Release) -> Iterator[Loss]:
    """Interrupts that are there and not taken."""
    raised = [(cpu, source) for cpu in m.cpus for source in cpu.SOURCES]
    for cpu, source in raised:
        if not cpu.block.get("irq", source):
            continue
        match source.name:
            case "EXTERNAL" | "CRITICAL":
                kind = "an external" if source.name == "EXTERNAL" else "a critical"
                text = f"{kind} interrupt is pending; the receiver does not drive the line"
                yield Loss(text, True)
            case "DECREMENTER":
                if not receiver.stale_decrementer:
                    yield Loss("a decrementer interrupt is pending", True)
            case "RESET" | "PIT" | "FIT" | "WATCHDOG":
                pass  # `Cpu405.own_lost` says what becomes of its timers
            case name:
                yield Loss(f"interrupt {name.lower()} is pending", True)


def _unsaid(m: Machine, receiver: Release) -> Iterator[Loss]:
    """Sections and subsections that the receiver does not know and that have something to say."""
    found: dict[tuple[int, str], Stateful] = {}

    def saw(owner: Stateful, name: str) -> None:
        found[id(owner), name] = owner

    everything = replace(OURS, saw=saw)
    theirs = replace(OURS, ours=False, known=receiver.known)
    for part in m.sections:
        device = part.device
        if device.vmsd not in receiver.known:
            said = device.lost or "all of its state"
            yield Loss(f"{part.path}: {receiver.title} has no section {part.idstr}: {said}")
            continue
        before = set(found)
        save(device, WireWriter(), everything)
        for owner, name in ((found[key], key[1]) for key in found.keys() - before):
            sub = next(s for s in owner.subsections if s.name == name)
            if not is_known(sub, theirs):
                for loss in sub.losses(owner):
                    yield replace(loss, text=f"{part.path}: {loss.text}")
