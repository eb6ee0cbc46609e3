"""`gossamer stream doctor`: what a stream has lost, what the guest will feel, what to mend.

Mends are for the loader named by `receiver`; each was tried on QEMU 7.2 where that is the loader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S
from gossamer.migrate.releases import Release, release
from gossamer.migrate.value_tree import NOT_ARMED, Leaf, Struct, encode, subsections
from gossamer.streams import chips, server
from gossamer.streams.findings import Finding, Grade
from gossamer.streams.meaning import heathrow_sources
from gossamer.streams.page import Page, ns_text
from gossamer.streams.patient import Patient, elements, integer, leaf, member, put, shift_clock
from gossamer.streams.refusals import Refusal

HARD: Final = 0x2
MSR_EE: Final = 0x8000
MSR_POW: Final = 0x40000
FRAME_NS: Final = 1_000_000
"""One USB frame."""
FAR: Final = 3600 * NS_PER_S
VIA_SOURCE: Final = 18
NEVER: Final = (1 << 63) - 1


def examine(
    patient: Patient, receiver: Release, firmware: dict[str, bool], against: Sequence[Refusal] = ()
) -> list[Finding]:
    """All findings, worst first.

    `firmware`: RAM block to whether it has content; `against`: what the receiver refuses.
    """
    context = patient.context
    if not (context.is_mac or context.is_server):
        machine = repr(context.machine) if context.machine else "not named"
        known = (*release("qemu-7.2").timebase, "pseries")
        raise ConfigError(
            f"{patient.stream.name}: machine {machine}; the doctor knows {', '.join(known)}"
        )
    found: list[Finding] = []
    for check in _OF_SERVERS if context.is_server else _CHECKS:
        found += check(patient, receiver)
    if context.is_mac:
        found += _firmware(firmware)
    found += [
        Finding(Grade.LOSS, "refused", r.where, r.why, f"{receiver.title} does not load the stream")
        for r in against
    ]
    return sorted(found, key=lambda f: -f.grade)


def _decrementer(patient: Patient, receiver: Release) -> Iterator[Finding]:
    context, spr = patient.context, _spr(patient)
    if spr is None or context.timebase is None:
        return
    dec = spr[22]
    if patient.never_ran and dec in (0, 0xFFFF_FFFF):
        return
    if not dec:
        feel, mend, apply = _lost_decrementer(patient, receiver)
        yield Finding(
            Grade.LOSS if mend else Grade.TROUBLE, "decrementer", "cpu.env.spr[DEC]",
            "the decrementer is not carried (0, as QEMU before 8.2 writes it)", feel, mend, apply,
        )  # fmt: skip
        return
    if dec >> 31 and (1 << 32) - dec < context.timebase // 100:
        late = ns_text(((1 << 32) - dec) * NS_PER_S // context.timebase)
        yield Finding(
            Grade.LOSS, "decrementer pending", "cpu.env.spr[DEC]",
            f"the decrementer passed zero {late} before the save; whether its interrupt was taken "
            "is not carried",
            "if it was not, QEMU loses it: the guest's next tick comes only after the counter has "
            f"gone round, {ns_text(dec * NS_PER_S // context.timebase)} later",
            "the decrementer is set to fire at once; a tick too many does no harm", _fire_now,
        )  # fmt: skip
    if receiver.stale_decrementer:
        yield from _stale(patient)


def _lost_decrementer(
    patient: Patient, receiver: Release
) -> tuple[str, str, Callable[[Patient], None] | None]:
    context = patient.context
    assert context.timebase is not None
    if receiver.ours:
        return "a decrementer interrupt comes right after the load, then all goes on", "", None
    if receiver.reads_decrementer:
        return "QEMU 8.2 and later raise a decrementer interrupt almost at once", "", None
    wait = _stale_wait(patient)
    if wait is None:
        return "QEMU 7.2's own counter has run out already: an interrupt comes at once", "", None
    return (
        f"no decrementer interrupt for {ns_text(wait)}: a guest that lives by it stands still",
        f"the clock is moved on by {ns_text(wait)}, so that 7.2's counter fires at once; the "
        "guest's timebase jumps by as much",
        lambda p: shift_clock(p, wait),
    )


def _rate(patient: Patient, receiver: Release) -> Iterator[Finding]:
    """The guest has learnt the sender's rate, and goes on with the receiver's."""
    context = patient.context
    mine, theirs = context.timebase, receiver.timebase.get(context.machine)
    if mine and theirs and mine != theirs and not patient.never_ran:
        yield Finding(
            Grade.LOSS, "timebase rate", "cpu",
            f"the guest counts on {mine:,} Hz, {receiver.title}'s {context.machine} has {theirs:,}",
            f"its clock runs {theirs / mine:g} times as fast as it believes",
        )  # fmt: skip


def _whole_seconds(ns: int) -> int:
    """Rounded up: the Mac's date is kept in seconds, so that it is not moved by a shift."""
    return -(-ns // NS_PER_S) * NS_PER_S


def _stale_wait(patient: Patient) -> int | None:
    """Until 7.2's power-on decrementer fires: at tick 2**32 of the virtual clock."""
    context = patient.context
    if context.clock is None or context.timebase is None:
        return None
    due = -(-(1 << 32) * NS_PER_S // context.timebase)
    return _whole_seconds(due - context.clock) if due > context.clock else None


def _stale(patient: Patient) -> Iterator[Finding]:
    wait = _stale_wait(patient)
    feel = "7.2 does not read it: an interrupt comes at once instead"
    mend = ""
    apply: Callable[[Patient], None] | None = None
    if wait is not None:
        feel = f"7.2 does not read it: no decrementer interrupt for {ns_text(wait)}"
        mend = f"the clock is moved on by {ns_text(wait)}; the timebase jumps by as much"
        apply = lambda p: shift_clock(p, wait)  # noqa: E731 - bound to this wait
    yield Finding(
        Grade.LOSS, "decrementer", "cpu.env.spr[DEC]", "the decrementer is carried", feel, mend,
        apply,
    )  # fmt: skip


def _fire_now(patient: Patient) -> None:
    found = leaf(patient.tree("cpu"), "env.spr")
    assert found is not None
    assert isinstance(found.value, tuple)
    values = list(found.value)
    values[22] = 1
    found.value = tuple(values)


def _timebase(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    context = patient.context
    if _has(patient, "cpu/gossamer"):
        return
    if context.clock is None or context.timebase is None:
        yield Finding(
            Grade.LOSS, "clock", "timer", "there is no virtual clock in the stream",
            "timebase, decrementer and all timers start anew",
        )  # fmt: skip
        return
    ticks = context.clock * context.timebase // NS_PER_S
    yield Finding(
        Grade.NOTE, "timebase", "cpu", "the offset of the timebase is not carried by any QEMU",
        f"after the load TB reads {ticks:#x}; if the guest had set it (mttb), it sees it jump",
    )  # fmt: skip


def _has(patient: Patient, prefix: str) -> bool:
    return any(
        sub.vmsd.startswith(prefix)
        for tree in patient.trees.values()
        for _, sub in subsections(tree)
    )


def _heathrow(patient: Patient, receiver: Release) -> Iterator[Finding]:
    request = integer(patient.tree("cpu_common"), "interrupt_request") or 0
    for i, pic in enumerate(elements(patient.tree("heathrow_pic"), "pics")):
        events, levels, mask, fixed = (
            integer(pic, n) or 0 for n in ("events", "levels", "mask", "level_triggered")
        )
        pending = (events | levels & fixed) & mask
        if not pending or request & HARD:
            continue
        msr = integer(patient.tree("cpu"), "env.msr") or 0
        why = "MSR[EE] is 0, so it was not taken" if not msr & MSR_EE else "MSR[EE] is 1"
        what = f"pending with no line to the CPU: {heathrow_sources(i, pending)} ({why})"
        if receiver.ours or _due(patient):
            feel = "the line is worked out from the controller when gossamer loads it"
            if not receiver.ours:
                feel = "a timer of the VIA is due at the load: QEMU drives the line then"
            yield Finding(Grade.NOTE, "interrupt", f"heathrow_pic.pics[{i}]", what, feel)
            continue
        yield Finding(
            Grade.LOSS, "interrupt", f"heathrow_pic.pics[{i}]", what,
            "QEMU does not drive the line when it loads: the interrupt is lost until another "
            "source moves; a driver that waits for it hangs",
            *_poke(patient),
        )  # fmt: skip


def _due(patient: Patient) -> bool:
    """Whether a timer of the VIA expires at once after the load."""
    clock = patient.context.clock
    return clock is not None and any(
        (due := integer(timer, "timer")) is not None and due <= clock
        for _path, via in patient.named("mos6522")
        for timer in elements(via, "timers")
    )


def _poke(patient: Patient) -> tuple[str, Callable[[Patient], None] | None]:
    """Any event of the VIA makes QEMU work out the line again; its timer 1 can be made to fire."""
    if patient.context.clock is None or not list(patient.named("mos6522")):
        return "", None
    return (
        "timer 1 of the VIA is made to expire at the load, which makes QEMU drive the line; its "
        "flag T1 is set in IFR",
        _expire_t1,
    )


def _expire_t1(patient: Patient) -> None:
    clock = patient.context.clock
    assert clock is not None
    for _path, via in patient.named("mos6522"):
        first = elements(via, "timers")[:1]
        for timer in first:
            put(timer, "timer", clock)
            if integer(timer, "next_irq_time") in (0, NEVER):
                put(timer, "next_irq_time", clock)


def _via_line(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    """The VIA's request against its level at the heathrow."""
    pics = elements(patient.tree("heathrow_pic"), "pics")
    cuda = member(patient.tree("cuda"), "mos6522_cuda.parent_obj")
    if len(pics) != 2 or not isinstance(cuda, Struct):
        return
    wants = bool((integer(cuda, "ifr") or 0) & (integer(cuda, "ier") or 0) & 0x7F)
    level = bool((integer(pics[1], "levels") or 0) >> VIA_SOURCE & 1)
    if wants != level:
        yield Finding(
            Grade.TROUBLE, "VIA line", "cuda.mos6522_cuda.parent_obj.ifr",
            f"the VIA {'requests' if wants else 'does not request'} an interrupt, the controller "
            f"sees its line {'high' if level else 'low'}",
            "an interrupt that has no cause, or one that does not come until the VIA moves",
        )  # fmt: skip


def _copies(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    """The 6522 is in the stream twice; the copy in cuda or pmu is loaded last and wins."""
    own = patient.tree("mos6522")
    for path in ("mos6522_cuda.parent_obj", "mos6522_pmu.parent_obj"):
        name = "cuda" if "cuda" in path else "pmu"
        copy = member(patient.tree(name), path)
        if own is None or not isinstance(copy, Struct) or encode(own) == encode(copy):
            continue

        def agree(p: Patient, name: str = name, path: str = path) -> None:
            good = member(p.tree(name), path)
            old = p.trees[("mos6522", 0)]
            assert isinstance(good, Struct)
            old.members, old.subsections = good.members, good.subsections

        yield Finding(
            Grade.TROUBLE, "6522 twice", "mos6522", f"its two copies differ (the other: {name})",
            f"the copy in {name} is loaded last and wins", "the first is made equal to it", agree,
        )  # fmt: skip


def _timers(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    clock = patient.context.clock
    if clock is None:
        return
    for path, vmsd, at in patient.clock_leaves():
        value = at.value
        if not isinstance(value, int) or value == NOT_ARMED:
            continue
        if at.type == "timer" and value < clock:
            yield Finding(
                Grade.TROUBLE, "stale timer", path,
                f"was due {ns_text(clock - value)} before the save",
                "it fires the moment the guest runs",
            )  # fmt: skip
        elif at.type == "timer" and value - clock > FAR:
            yield Finding(
                Grade.TROUBLE, "clock", path, f"is due in {ns_text(value - clock)}",
                "the device looks dead: this section is out of step with the virtual clock",
            )  # fmt: skip
        elif at.type != "timer" and at.name != "next_irq_time" and value > clock:
            yield Finding(
                Grade.TROUBLE, "clock", path,
                f"is {ns_text(value - clock)} in the future: {vmsd} is out of step with the clock",
                "what it times runs slow or stands until the clock gets there",
            )  # fmt: skip


def _usb(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    clock = patient.context.clock
    for path, core in patient.named("ohci-core"):
        ctl, sof = integer(core, "ctl") or 0, integer(core, "sof_time") or 0
        if chips.OHCI_STATE[ctl >> 6 & 3] != "operational" or clock is None:
            continue
        if not any(sub.vmsd == "ohci-core/eof-timer" for sub in core.subsections):

            def arm(_p: Patient, core: Struct = core, due: int = sof + FRAME_NS) -> None:
                timer = Leaf("eof_timer", "timer", 0, 8, None, due)
                core.subsections.append(
                    Struct("ohci-core/eof-timer", "ohci-core/eof-timer", 1, 0, 8, [timer])
                )

            yield Finding(
                Grade.LOSS, "USB frames", path, "the controller runs, its frame timer is missing",
                "no frame is ever started: keyboard and mouse are dead",
                "the timer is armed one frame after the last start of frame", arm,
            )  # fmt: skip
        elif clock - sof > 10 * FRAME_NS:
            yield Finding(
                Grade.TROUBLE, "clock", f"{path}.sof_time",
                f"the last frame began {ns_text(clock - sof)} before the save",
                "the frame number jumps when the controller catches up",
            )  # fmt: skip


def _pmu(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    pmu = patient.tree("pmu")
    timer, target = integer(pmu, "one_sec_timer"), integer(pmu, "one_sec_target")
    if timer in (None, NOT_ARMED) or target is None or timer is None:
        return
    if abs(timer - target * 10**6) > NS_PER_S:
        yield Finding(
            Grade.TROUBLE, "clock", "pmu.one_sec_timer",
            f"the timer and its target are {ns_text(abs(timer - target * 10**6))} apart",
            "the PMU's second ticks come in a burst, or not for a while",
        )  # fmt: skip


def _in_flight(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    for path, channel in patient.named("dbdma_channel"):
        if integer(channel, "io.processing"):
            yield Finding(
                Grade.LOSS, "DMA in flight", path, "a transfer was under way",
                "its end is not carried: the driver waits, and resets the bus if it can",
            )  # fmt: skip
    for (idstr, instance), tree in patient.trees.items():
        if tree.vmsd != "ide" or integer(tree, "dma_active") is None:
            continue
        title = f"{idstr}/{instance}" if instance else idstr
        if integer(tree, "dma_active"):
            yield Finding(
                Grade.TROUBLE, "DMA in flight", title, "the IDE channel waits for DMA",
                "fine if the DBDMA channel still has its command; else the driver times out",
            )  # fmt: skip
        for i, drive in enumerate(elements(tree, "bus.ifs")):
            if (integer(drive, "status") or 0) & 0x80:
                yield Finding(
                    Grade.TROUBLE, "IDE busy", f"{title}.bus.ifs[{i}]", "the drive is busy",
                    "it stays busy: nothing in the stream finishes the command",
                )  # fmt: skip


def _exception(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    tree = patient.tree("cpu_common")
    for sub in tree.subsections if tree else ():
        if sub.vmsd == "cpu_common/exception_index":
            number = integer(sub, "exception_index")
            yield Finding(
                Grade.TROUBLE, "mid-exception", "cpu_common/exception_index",
                f"the CPU was entering exception {number} when it was stopped",
                "the instruction at NIP runs again: harmless unless it had already acted",
            )  # fmt: skip
    request = integer(tree, "interrupt_request") or 0
    if integer(tree, "halted") and not request & HARD:
        yield Finding(
            Grade.NOTE, "asleep", "cpu_common.halted", "the CPU sleeps until an interrupt",
            "if the interrupt it waits for is one of those above that are lost, it never wakes",
        )  # fmt: skip


def _firmware(blocks: dict[str, bool]) -> Iterator[Finding]:
    for name, there in blocks.items():
        if name.endswith(".bios") and not there:
            yield Finding(
                Grade.LOSS, "firmware", name, "no page of the firmware is in the stream",
                "QEMU does not load firmware before an incoming stream: the guest finds zeros",
            )  # fmt: skip


def _run_state(patient: Patient, _receiver: Release) -> Iterator[Finding]:
    found = leaf(patient.tree("globalstate"), "runstate")
    if found is None or not isinstance(found.value, bytes):
        return
    state = found.value.split(b"\0")[0].decode("ascii", "replace")
    if state not in ("running", "paused", "prelaunch"):
        yield Finding(
            Grade.NOTE, "run state", "globalstate", f"the machine was in state {state!r}",
            "the loader goes into that state; it may not run by itself",
        )  # fmt: skip


def _spr(patient: Patient) -> tuple[int, ...] | None:
    found = leaf(patient.tree("cpu"), "env.spr")
    if found is None or not isinstance(found.value, tuple) or len(found.value) != 1024:
        return None
    return tuple(v for v in found.value if isinstance(v, int))


_CHECKS: Final[tuple[Callable[[Patient, Release], Iterator[Finding]], ...]] = (
    _decrementer, _heathrow, _via_line, _timers, _copies, _usb, _pmu, _in_flight, _exception,
    _run_state, _timebase, _rate,
)  # fmt: skip

_OF_SERVERS: Final[tuple[Callable[[Patient, Release], Iterator[Finding]], ...]] = (
    server.findings, _timers, _exception, _run_state,
)  # fmt: skip


def mend(patient: Patient, found: list[Finding]) -> list[Finding]:
    """Apply every mend; those that were applied.  A shift of the clock comes last."""
    applied = [f for f in found if f.apply is not None]
    for finding in sorted(applied, key=lambda f: f.name.startswith("decrementer")):
        assert finding.apply is not None
        finding.apply(patient)
    return applied


def print_findings(page: Page, name: str, receiver: str, found: list[Finding]) -> None:
    """Each finding with what the guest feels."""
    page.heading(f"{name}, to be loaded by {receiver}")
    styles = {Grade.LOSS: "bold red", Grade.TROUBLE: "yellow", Grade.NOTE: "cyan"}
    for finding in found:
        page.line()
        page.line(f"{finding.grade.name}  {finding.name}  ({finding.where})", styles[finding.grade])
        page.line(f"  found: {finding.what}")
        page.line(f"  guest: {finding.feel}")
        if finding.mend:
            page.line(f"  --fix: {finding.mend}", "green")
    page.line()
    bad = sum(f.grade > Grade.NOTE for f in found)
    page.line(f"{bad} to heed, {len(found) - bad} to know", "bold")


def as_json(found: list[Finding]) -> list[dict[str, Any]]:
    """Findings for programs."""
    return [
        {
            "grade": f.grade.name.lower(), "name": f.name, "where": f.where, "what": f.what,
            "guest": f.feel, "fix": f.mend or None,
        }
        for f in found
    ]  # fmt: skip
