"""Who a stream is for: forms of the stream, and what each receiver does with it.  Data only.

Evidence: facts sections 7 and 11 (experiments with QEMU 7.2, sources of 10.0 and 10.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.state.codec import BOOL, U32, Codec, Int
from gossamer.state.layout import Subsection, View, subsection
from gossamer.state.transfer import Profile


@dataclass(frozen=True, slots=True)
class Receiver:
    """A program that takes our streams.

    `ours`: it knows gossamer's subsections, so nothing is lost.  `switchover`: it expects
    SWITCHOVER_START before the devices.  `reads_decrementer`: it loads DEC from spr[22].
    `stale_decrementer`: it keeps the decrementer that its own power-on armed, for tick 2**32 - 1.
    """

    name: str
    title: str
    ours: bool = False
    switchover: bool = False
    reads_decrementer: bool = False
    stale_decrementer: bool = False


OURS: Final = "gossamer-1"
RECEIVERS: Final = {
    r.name: r
    for r in (
        Receiver(OURS, "gossamer", ours=True),
        Receiver("qemu-7.2", "QEMU 7.2", stale_decrementer=True),
        Receiver("qemu-10", "QEMU 10", switchover=True, reads_decrementer=True),
    )
}


def receiver(name: str) -> Receiver:
    """The receiver called `name`; ConfigError lists what exists."""
    if name not in RECEIVERS:
        known = ", ".join(RECEIVERS)
        raise ConfigError(f"unknown profile {name!r} (there is: {known})")
    return RECEIVERS[name]


# --- subsections of QEMU's that our chips do not have -------------------------------------------


def _ignored(name: str, codec: Codec) -> View:
    """A field that is read and means nothing here."""
    return View(name, codec, _nothing, lambda owner, value: None)


def _nothing(owner: Any) -> Any:  # noqa: ANN401 - of the codec's type; never written
    raise AssertionError("read only")


def _refuse_stopped(owner: Any, value: bool) -> None:  # noqa: ANN401
    if value:
        raise ValueError("the CPU was stopped by its firmware (RTAS): these machines have none")


def _refuse_crashed(owner: Any, value: bool) -> None:  # noqa: ANN401
    if value:
        raise ValueError("the guest has crashed, says the sender")


def _read_only(name: str, version: int, *views: View) -> Subsection:
    return subsection(name, version, layout=list(views))


_ICOUNT: Final = "timer/icount/"
_TIMER: Final = Int("timer", 8)
_I64: Final = Int("int64", 8, signed=True)
_SHIFT: Final = Int("int16", 2, signed=True)

FROM_QEMU: Final = {
    "cpu": (
        _read_only("cpu/rtas_stopped", 1, View("env.quiesced", BOOL, _nothing, _refuse_stopped)),
        # Record and replay only; a stwcx. under way fails once and is repeated.
        _read_only(
            "cpu/reservation", 1, *(_ignored(f"env.reserve_{n}", U32) for n in ("addr", "length")),
            _ignored("env.reserve_val", U32),
        ),
    ),
    "cpu_common": (
        _read_only("cpu_common/crash_occurred", 1, View("crash", BOOL, _nothing, _refuse_crashed)),
    ),
    "timer": (
        _read_only(
            _ICOUNT + "warp_timer", 1,
            _ignored("vm_clock_warp_start", _I64), _ignored("icount_warp_timer", _TIMER),
        ),
        _read_only(
            _ICOUNT + "timers", 1,
            _ignored("icount_rt_timer", _TIMER), _ignored("icount_vm_timer", _TIMER),
        ),
        _read_only(
            _ICOUNT + "shift", 2, _ignored("icount_time_shift", _SHIFT),
            _ignored("last_delta", _I64),
        ),
    ),
}  # fmt: skip
#: Reads our streams and QEMU's.
READING: Final = Profile(also=FROM_QEMU)
