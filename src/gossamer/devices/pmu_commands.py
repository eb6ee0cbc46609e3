"""The PMU's commands, and what those do that only touch its own memory.

Source: Linux include/uapi/linux/pmu.h and drivers/macintosh/via-pmu.c; docs page pmu.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

ADB_COMMAND, ADB_POLL_OFF = 0x20, 0x21
SET_RTC, READ_RTC = 0x30, 0x38
SET_INTERRUPT_MASK, INTERRUPT_ACK = 0x70, 0x78
SHUTDOWN, SLEEP, RESET = 0x7E, 0x7F, 0xD0
POWER_EVENTS: Final = 0x8F
FIRMWARE_VERSION: Final = 1
"""As QEMU's PMU says: what a guest prints must not depend on the emulator."""
MAGIC: Final = b"MATT"
"""Without it nothing shuts down or sleeps."""


class Settings(Protocol):
    """What the simple commands read and write: the PMU's own memory."""

    pram: bytearray
    power_0: int
    power: int
    volume: int
    brightness: int
    powerup_events: int
    wakeup_events: int
    power_off: Callable[[], None]
    system_reset: Callable[[], None]

    def note(self, text: str) -> None: ...


def _power_control_0(pmu: Settings, data: bytes) -> bytes:
    pmu.power_0 = _switched(pmu.power_0, data[0])
    return b""


def _power_control(pmu: Settings, data: bytes) -> bytes:
    pmu.power = _switched(pmu.power, data[0])
    return b""


def _switched(now: int, request: int) -> int:
    """Power switches after a request: bits 0 to 6 name them, bit 7 says on or off."""
    bits = request & 0x7F
    return now | bits if request & 0x80 else now & ~bits


def _write_pram(pmu: Settings, data: bytes) -> bytes:
    pmu.pram[: len(data)] = data
    return b""


def _read_pram(pmu: Settings, _data: bytes) -> bytes:
    return bytes(pmu.pram[:20])


def _write_xpram(pmu: Settings, data: bytes) -> bytes:
    """Address, count, bytes."""
    if len(data) < 2:
        pmu.note("write of extended parameter RAM without address and count")
        return b""
    at, content = data[0], data[2 : 2 + data[1]]
    content = content[: len(pmu.pram) - at]
    pmu.pram[at : at + len(content)] = content
    return b""


def _read_xpram(pmu: Settings, data: bytes) -> bytes:
    return bytes(pmu.pram[data[0] : data[0] + data[1]])[:32]


def _write_nvram(pmu: Settings, data: bytes) -> bytes:
    """One byte of the PMU's memory; this generation has its NVRAM in flash, not here."""
    at = int.from_bytes(data[:2], "big")
    if at < len(pmu.pram):
        pmu.pram[at] = data[2]
    else:
        pmu.note("write of NVRAM that the PMU does not have")
    return b""


def _read_nvram(pmu: Settings, data: bytes) -> bytes:
    at = int.from_bytes(data, "big")
    return bytes(pmu.pram[at : at + 1]) or b"\0"


def _set_volume(pmu: Settings, data: bytes) -> bytes:
    pmu.volume = data[0]
    return b""


def _volume(pmu: Settings, _data: bytes) -> bytes:
    return bytes([pmu.volume])


def _set_brightness(pmu: Settings, data: bytes) -> bytes:
    pmu.brightness = data[0]
    return b""


def _brightness(pmu: Settings, _data: bytes) -> bytes:
    return bytes([pmu.brightness])


def _battery(_pmu: Settings, _data: bytes) -> bytes:
    """Mains power, no battery."""
    return bytes([0x01, *[0] * 7])


def _smart_battery(_pmu: Settings, _data: bytes) -> bytes:
    """Format 3, mains power, no battery: no charge, current or voltage."""
    return bytes([3, 0x01, 0, 0, 0, 0])


def _shut_down(pmu: Settings, data: bytes) -> bytes:
    if data == MAGIC:
        pmu.power_off()
    else:
        pmu.note("shutdown without its magic word")
    return b"\0"


def _sleep(pmu: Settings, data: bytes) -> bytes:
    """Accepted; the machine stays awake, as if an event woke it at once."""
    pmu.note("sleep" if data == MAGIC else "sleep without its magic word")
    return b"\0"


def _power_events(pmu: Settings, data: bytes) -> bytes:
    """Read (0, 3), set (1, 4) or clear (2, 5) what powers up or wakes the machine."""
    if not data or data[0] > 5:
        pmu.note("unknown power event request")
        return b""
    request, bits = data[0] % 3, int.from_bytes(data[1:3], "big")
    name = "powerup_events" if data[0] < 3 else "wakeup_events"
    now: int = getattr(pmu, name)
    if request == 0:
        return now.to_bytes(2, "big")
    setattr(pmu, name, now | bits if request == 1 else now & ~bits)
    return b""


def _i2c(_pmu: Settings, _data: bytes) -> bytes:
    """Nothing on the PMU's I2C buses acknowledges."""
    return b"\xff"


def _reset(pmu: Settings, _data: bytes) -> bytes:
    pmu.system_reset()
    return b""


def _version(_pmu: Settings, _data: bytes) -> bytes:
    return bytes([FIRMWARE_VERSION])


def _accept(_pmu: Settings, _data: bytes) -> bytes:
    """For parts that these machines do not have (PC card slot, buttons, lid), or a notice."""
    return b""


Command = Callable[[Settings, bytes], bytes]

SIMPLE: Final[dict[int, Command]] = {
    0x10: _power_control_0,
    0x11: _power_control,
    0x31: _write_pram,
    0x32: _write_xpram,
    0x33: _write_nvram,
    0x39: _read_pram,
    0x3A: _read_xpram,
    0x3B: _read_nvram,
    0x40: _set_volume,
    0x41: _set_brightness,
    0x48: _volume,
    0x49: _brightness,
    0x4C: _accept,
    0x6B: _battery,
    0x6F: _smart_battery,
    0x7D: _accept,
    SHUTDOWN: _shut_down,
    SLEEP: _sleep,
    POWER_EVENTS: _power_events,
    0x9A: _i2c,
    RESET: _reset,
    0xD9: _accept,
    0xDC: _accept,
    0xDF: _accept,
    0xEA: _version,
}
