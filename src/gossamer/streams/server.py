"""What a pseries' stream has lost, what its guest will feel, and what can be mended.

Time as measured on QEMU 7.2, 10.0 and 11.1 (`EVIDENCE` of `migrate.releases`); the mend of the
decrementer was tried on QEMU 7.2: a Linux that stood still there goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.base.units import NS_PER_S
from gossamer.isa.architecture import MSR_SF
from gossamer.migrate.releases import SERVER, Release, number_of
from gossamer.migrate.value_tree import Struct
from gossamer.streams.findings import Finding, Grade
from gossamer.streams.page import ns_text
from gossamer.streams.patient import Patient, integer, leaf, member, put

MSR_EE, MSR_ME, MSR_TRANSLATED, MSR_LE = 0x8000, 0x1000, 0x30, 1
DEC, SRR0, LPCR = 22, 26, 318
LPCR_AIL, LPCR_ILE = 3 << 23, 1 << 25
DECREMENTER: Final = 0x900
#: Where interrupts go with LPCR[AIL] = 3 (Power ISA 2.07 Book III-S 6.5).
ALTERNATE: Final = 0xC000_0000_0000_4000
#: Bits of MSR that SRR1 does not take over.
NOT_IN_SRR1: Final = 0x783F_0000
#: What a firmware's tree is padded to as long as its services are called (QEMU).
OPEN_TREE: Final = 0x20_0000


def findings(patient: Patient, receiver: Release) -> Iterator[Finding]:
    """All that is particular to a pseries."""
    for instance in sorted(n for name, n in patient.trees if name == "cpu"):
        yield from _decrementer(patient, receiver, instance)
    if not receiver.ours:
        yield from _firmware(patient, receiver)
    yield from _areas(patient, receiver)
    yield from _timebase(patient)


def _decrementer(patient: Patient, receiver: Release, n: int) -> Iterator[Finding]:
    cpu = patient.tree("cpu", n)
    sprs = leaf(cpu, "env.spr")
    if sprs is None or not isinstance(sprs.value, tuple) or patient.never_ran:
        return
    dec, where = sprs.value[DEC], f"cpu{f'/{n}' if n else ''}.env.spr[DEC]"
    assert isinstance(dec, int)
    ours = any(sub.vmsd == "cpu/64/gossamer" for sub in cpu.subsections) if cpu else False
    if receiver.ours:
        if not dec and not ours:
            yield Finding(
                Grade.NOTE, "decrementer", where,
                "the decrementer is not carried (0, as QEMU before 8.2 writes it)",
                "its interrupt comes right after the load, then all goes on",
            )  # fmt: skip
        return
    if receiver.sleeps:
        yield Finding(
            Grade.LOSS, "decrementer", where,
            "the decrementer is carried" if dec else "the decrementer is not carried",
            f"{receiver.title} loads it, yet does not wake a guest on a POWER8 that waits for it",
        )  # fmt: skip
        return
    if receiver.reads_decrementer:
        if not dec:
            yield Finding(
                Grade.NOTE, "decrementer", where, "the decrementer is not carried",
                f"{receiver.title} raises its interrupt at once, and all goes on",
            )  # fmt: skip
        return
    yield _lost(patient, receiver, n, where, dec)


def _lost(patient: Patient, receiver: Release, n: int, where: str, dec: int) -> Finding:
    """A receiver that does not read it makes DEC 2**32 - 1 - TB."""
    msr = integer(patient.tree("cpu", n), "env.msr") or 0
    what = "carried" if dec else "not carried"
    feel = f"{receiver.title} does not read it: no interrupt comes, a guest that lives by it stops"
    if not msr & MSR_EE:
        return Finding(
            Grade.LOSS, "decrementer", where,
            f"the decrementer is {what}, and MSR[EE] is 0, so that its interrupt cannot be taken",
            feel,
        )  # fmt: skip
    return Finding(
        Grade.LOSS, "decrementer", where, f"the decrementer is {what}", feel,
        "its interrupt is taken in the stream: the guest begins there and sets DEC itself",
        lambda p: enter(p, n),
    )  # fmt: skip


def enter(patient: Patient, n: int = 0) -> None:
    """Let a CPU be at the first instruction of its decrementer interrupt."""
    cpu = patient.tree("cpu", n)
    sprs = leaf(cpu, "env.spr")
    assert cpu is not None
    assert sprs is not None
    assert isinstance(sprs.value, tuple)
    values = list(sprs.value)
    msr, lpcr = integer(cpu, "env.msr") or 0, int(values[LPCR])
    values[SRR0] = integer(cpu, "env.nip") or 0
    values[SRR0 + 1] = msr & ~NOT_IN_SRR1
    sprs.value = tuple(values)
    new, vector = MSR_SF | msr & MSR_ME, DECREMENTER
    if lpcr & LPCR_ILE:
        new |= MSR_LE
    if lpcr & LPCR_AIL == LPCR_AIL and msr & MSR_TRANSLATED == MSR_TRANSLATED:
        new, vector = new | MSR_TRANSLATED, ALTERNATE + DECREMENTER
    put(cpu, "env.msr", new)
    put(cpu, "env.nip", vector)
    common = patient.tree("cpu_common", n)
    if common is not None:
        put(common, "halted", 0)


def _firmware(patient: Patient, receiver: Release) -> Iterator[Finding]:
    spapr = patient.tree("spapr")
    for sub in spapr.subsections if spapr else ():
        starting = sub.vmsd == "spapr/vof/gossamer" and integer(sub, "firmware_active")
        open_tree = sub.vmsd == "spapr_dtb" and integer(sub, "fdt_size") == OPEN_TREE
        if (starting or open_tree) and not patient.never_ran:
            yield Finding(
                Grade.LOSS, "firmware", sub.vmsd, "the kernel still calls its firmware",
                f"{receiver.title} keeps nothing of its open files and claimed memory: the kernel "
                "cannot go on starting",
            )  # fmt: skip
            return


def _areas(patient: Patient, receiver: Release) -> Iterator[Finding]:
    version = number_of(patient.context.machine.removeprefix(SERVER))
    ours = patient.tree("gossamer-spapr_cpu") is not None
    if version < (3, 0) and not patient.never_ran and not (ours and receiver.ours):
        yield Finding(
            Grade.NOTE, "processor areas", "spapr_cpu",
            f"{patient.context.machine} has no section for what H_REGISTER_VPA has registered",
            "the platform forgets virtual processor areas; Linux goes on, its dispatch log stands",
        )  # fmt: skip
    if version < (2, 10) and not patient.never_ran:
        yield Finding(
            Grade.NOTE, "level", "cpu/compat",
            f"{patient.context.machine} does not say which level the guest has agreed to",
            "the level is the CPU's own until the guest starts again",
        )  # fmt: skip


def _timebase(patient: Patient) -> Iterator[Finding]:
    context, tb = patient.context, member(patient.tree("spapr"), "tb")
    theirs = integer(tb, "guest_timebase") if isinstance(tb, Struct) else None
    if context.clock is None or context.timebase is None or theirs is None:
        return
    ticks = context.clock * context.timebase // NS_PER_S
    ahead = ns_text(abs(theirs - ticks) * NS_PER_S // context.timebase)
    yield Finding(
        Grade.NOTE, "timebase", "spapr.tb.guest_timebase",
        f"{theirs:#x} is that of the host which saved ({ahead} from the guest's)",
        f"only a KVM host uses it; by the virtual clock TB reads {ticks:#x} after the load",
    )  # fmt: skip
