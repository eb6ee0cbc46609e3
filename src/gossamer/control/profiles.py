"""How our chips write for a release, and what they read that they do not declare.

Evidence: facts sections 7 and 11 (experiments with QEMU 7.2, sources of 10.0 and 10.2).
"""

from __future__ import annotations

from typing import Any, Final

from gossamer.migrate.releases import Release
from gossamer.state.codec import BOOL, U8, U32, Buffer, Codec, Int
from gossamer.state.layout import Subsection, View, subsection
from gossamer.state.transfer import Profile


def profile_of(to: Release) -> Profile:
    """How our chips write for `to`."""
    known = None if to.ours else to.known
    return Profile(to.name, ours=to.ours, known=known, versions=to.versions, forms=to.forms)


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


def _read_only(name: str, version: int, *views: View, minimum: int | None = None) -> Subsection:
    made = subsection(name, version, layout=list(views))
    made.minimum = version if minimum is None else minimum
    return made


_ICOUNT: Final = "timer/icount/"
_TIMER: Final = Int("timer", 8)
_I64: Final = Int("int64", 8, signed=True)
_SHIFT: Final = Int("int16", 2, signed=True)

#: A serial port that could not send, or that looks at a real line now and then.
_SERIAL: Final = (
    _read_only(
        "serial/tsr", 1, _ignored("tsr_retry", U32), _ignored("thr", U8), _ignored("tsr", U8),
    ),
    _read_only(
        "serial/xmit_fifo", 1,
        _ignored("data", Buffer(16)), _ignored("head", U32), _ignored("num", U32),
    ),
    _read_only("serial/poll", 1, _ignored("poll_msl", U32), _ignored("modem_status_poll", _TIMER)),
)  # fmt: skip

FROM_QEMU: Final = {
    "serial": _SERIAL,
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
            View("last_delta", _I64, _nothing, lambda owner, value: None, since=2), minimum=1,
        ),
    ),
}  # fmt: skip
#: Reads our streams and QEMU's.
READING: Final = Profile(also=FROM_QEMU)
