"""What the PMU's commands are: the lengths of each, and what the simple ones do.

A command is a byte, then its data (a fixed count, or a length byte and that many), then the answer
(the same two forms).  Source: the lengths that Linux drivers/macintosh/via-pmu.c and OpenBIOS
drivers/pmu.c rely on; the names of include/uapi/linux/pmu.h; docs page pmu.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

COUNTED: Final = -1
"""The length travels as a byte."""

ADB_COMMAND, ADB_POLL_OFF = 0x20, 0x21
SET_RTC, READ_RTC = 0x30, 0x38
SET_INTERRUPT_MASK, INTERRUPT_ACK = 0x70, 0x78
SHUTDOWN, SLEEP, RESET = 0x7E, 0x7F, 0xD0
POWER_EVENTS: Final = 0x8F
FIRMWARE_VERSION: Final = 1
"""As QEMU's PMU says: what a guest prints must not depend on the emulator."""
MAGIC: Final = b"MATT"
"""Without it nothing shuts down or sleeps."""

_FIXED: Final = {
    0x10: (1, 0), 0x11: (1, 0), 0x18: (0, 1), 0x19: (0, 1), 0x1F: (0, 0),
    0x21: (0, 0), 0x22: (2, 0), 0x23: (1, 0), 0x24: (1, 0),
    0x28: (0, -1), 0x29: (0, -1), 0x2F: (0, -1),
    0x30: (4, 0), 0x31: (20, 0), 0x33: (3, 0),
    0x38: (0, 4), 0x39: (0, 20), 0x3A: (2, -1), 0x3B: (2, 1), 0x3C: (3, -1), 0x3F: (4, 0),
    0x40: (1, 0), 0x41: (1, 0), 0x48: (0, 1), 0x49: (0, 1), 0x4B: (1, 0), 0x4C: (1, 0),
    0x50: (1, 0), 0x51: (0, 0), 0x52: (2, 0), 0x53: (2, 0), 0x55: (1, 0), 0x56: (3, 0),
    0x57: (1, 0), 0x58: (0, 1), 0x59: (1, 0), 0x5A: (0, 2), 0x5B: (0, 2), 0x5C: (0, -1),
    0x60: (2, 0), 0x68: (0, 3), 0x69: (0, 3), 0x6A: (0, 2), 0x6B: (0, 8), 0x6C: (0, -1),
    0x6D: (0, -1), 0x70: (1, 0), 0x71: (1, 0), 0x72: (1, 0), 0x78: (0, -1), 0x79: (0, -1),
    0x7D: (5, 1), 0x7E: (4, 1), 0x7F: (4, 1), 0x80: (4, 0), 0x82: (0, 0), 0x88: (0, 5),
    0x90: (1, 0), 0x91: (2, 0), 0x98: (0, 1), 0x99: (0, 1),
    0xA0: (2, 0), 0xA1: (2, 0), 0xA2: (2, 0), 0xA3: (4, 0), 0xA5: (0, 0),
    0xA8: (1, 1), 0xA9: (1, 0), 0xAA: (3, 0), 0xAB: (2, 0), 0xD0: (0, 0),
    0xD8: (1, 1), 0xD9: (1, 1), 0xDC: (0, 1), 0xDD: (0, -1),
    0xE1: (4, 0), 0xE2: (0, 1), 0xE5: (4, 0), 0xE8: (3, -1), 0xEA: (0, 1), 0xEC: (0, -1),
    0xEF: (0, 0),
}  # fmt: skip


def lengths(command: int) -> tuple[int, int]:
    """(bytes of data, bytes of answer) of a command; COUNTED where a length byte travels.

    Commands with bit 3 answer, the others do not, except where the table says otherwise.
    """
    return _FIXED.get(command, (COUNTED, COUNTED if command & 8 else 0))


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
    """Power switches after a request: bits 0 to 6 name them, bit 7 tells on from off."""
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
