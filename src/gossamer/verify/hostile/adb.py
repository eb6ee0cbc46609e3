"""Grammar of the 6522 with Cuda or the PMU behind it: packets, ADB, timers, broken handshakes.

Sources: docs/chips/via.md, cuda.md, pmu.md, adb.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.devices.pmu_lengths import COUNTED, lengths
from gossamer.verify.hostile.records import Script

#: Registers of the 6522, 0x200 apart.
B, A, DDRB, DDRA, T1L, T1H, T1LL, T1LH, T2L, T2H, SR, ACR, PCR, IFR, IER = range(0, 0x1E00, 0x200)
SR_FLAG, SR_OUT, SR_EXT = 0x04, 0x10, 0x0C
#: Port B: Cuda's and the PMU's handshake, active low.
TREQ, TACK, TIP = 0x08, 0x10, 0x20
PMU_TACK, PMU_TREQ = 0x08, 0x10
ADB_COMMANDS: Final = tuple(a << 4 | c for a in (2, 3, 7, 15) for c in (0, 1, 8, 11, 12, 14, 15))
CUDA: Final[tuple[tuple[int, ...], ...]] = (
    *((1, n) for n in (0x00, 0x03, 0x16, 0x1A, 0x21)),
    *((1, 1, n) for n in (0, 1)),
    (1, 2, 1, 0x10),
    (1, 7, 0, 0x20),
    (1, 8, 1, 0x10, 0x55, 0xAA),
    (1, 9, 0x12, 0x34, 0x56, 0x78),
    (1, 0x0B, 0, 0, 1, 0),
    (1, 0x0C, 0, 4, 0x5A),
    (1, 0x0E, 1, 2),
    (1, 0x12, 1),
    (1, 0x13, 1),
    *((1, 0x14, n) for n in (1, 11, 20, 255)),
    (1, 0x19, 0x00, 0x0C),
    (1, 0x19, 0xFF, 0xFF),
    (1, 0x22, 0x88, 1, 2),
    *((1, 0x21, n) for n in (0, 1)),
    *((0, n) for n in ADB_COMMANDS),
    (0, 0x2A, 0x01, 0x02),
    (0, 0x3B, 0x67, 0x04),
    (0, 0x2B, 0x62, 0x03),
    (0, 0x3B, 0x63, 0xFE),
    (0, 0x00),
    (2, 1),
    (9,),
)
POWER: Final[tuple[tuple[int, ...], ...]] = ((1, 0x0A), (1, 0x11))
PMU_COMMANDS: Final = (
    *(0x10, 0x11, 0x20, 0x20, 0x20, 0x21, 0x30, 0x31, 0x32, 0x33, 0x38, 0x39, 0x3A, 0x3B, 0x40),
    *(0x41, 0x48, 0x49, 0x4C, 0x6B, 0x6F, 0x70, 0x70, 0x78, 0x78, 0x78, 0x7D, 0x7E, 0x7F, 0x8F),
    *(0x9A, 0xD9, 0xDC, 0xDF, 0xEA, 0x22, 0xE2),
)
ADB_DATA: Final[tuple[tuple[int, ...], ...]] = (
    *((n, 0) for n in ADB_COMMANDS),
    (0x2A, 0, 2, 1, 2),
    (0x3B, 0, 2, 0x67, 4),
    (0, 0x86, 0, 0x0C, 0),
    (0, 0x86, 2, 0xFF, 0xFF),
    (0x2C, 4, 0),
)


def timers(s: Script) -> None:
    """The 6522's timers and interrupt registers."""
    at = s.layout.at("via")
    for _ in range(s.rng.randrange(1, 6)):
        register = s.rng.choice((T1L, T1H, T1LL, T1LH, T2L, T2H, ACR, PCR, IFR, IER, SR))
        if s.maybe(0.7):
            s.store(at + register, s.rng.choice((0, 1, 0x40, 0x7F, 0x80, 0xC0, 0xFF)))
        else:
            s.load(at + register)


def cuda(s: Script) -> None:
    """A packet to Cuda and its answer, each of both perhaps broken off."""
    r, at = s.rng, s.layout.at("via")
    s.store(at + DDRB, TACK | TIP)
    s.store(at + IER, 0x80 | SR_FLAG if s.maybe(0.7) else SR_FLAG)
    packet = list(r.choice(POWER if s.maybe(0.01) else CUDA))
    if s.maybe(0.05):
        packet += [r.getrandbits(8) for _ in range(r.choice((1, 12, 40)))]
    s.store(at + ACR, SR_EXT | SR_OUT)
    s.store(at + SR, packet[0])
    s.store(at + B, TACK | TREQ)
    tack = TACK
    for byte in packet[1:]:
        _shifted(s, at)
        s.store(at + SR, byte)
        tack ^= TACK
        s.store(at + B, tack | TREQ)
        if s.maybe(0.03):
            return
    _shifted(s, at)
    s.store(at + ACR, SR_EXT)
    s.load(at + SR)
    s.store(at + B, TIP | TACK | TREQ)
    if s.maybe(0.8):
        cuda_answer(s)


def _shifted(s: Script, at: int) -> None:
    """Wait until a byte has been shifted, as an interrupt or by looking."""
    if s.maybe(0.9):
        s.poll(at + IFR, SR_FLAG, SR_FLAG)
    else:
        s.wait(s.rng.choice((10, 3000, 30_000)))


def cuda_answer(s: Script) -> None:
    """Take what Cuda has to report: an answer, or data that it polled from ADB."""
    at = s.layout.at("via")
    s.store(at + ACR, SR_EXT)
    if s.maybe(0.8):
        s.poll(at + B, TREQ, 0)
    _shifted(s, at)
    s.load(at + SR)
    s.store(at + B, TACK | TREQ)
    tack = TACK
    for _ in range(s.rng.choice((1, 3, 4, 6, 9, 18))):
        _shifted(s, at)
        s.load(at + SR)
        tack ^= TACK
        s.store(at + B, tack | TREQ)
    if s.maybe(0.9):
        s.store(at + B, TIP | TACK | TREQ)
        _shifted(s, at)
        s.load(at + SR)


def pmu(s: Script) -> None:
    """A command to the PMU with its data, and the answer."""
    r, at = s.rng, s.layout.at("via")
    s.store(at + DDRB, PMU_TREQ)
    if s.maybe(0.2):
        s.store(at + IER, r.choice((0x84, 0x04)))
    command = r.choice(PMU_COMMANDS) if s.maybe(0.95) else r.getrandbits(8)
    if command == 0xD0 and s.maybe(0.9):
        command = 0x38
    count, answer = lengths(command)
    if command == 0x20:
        sent = list(r.choice(ADB_DATA))
    elif command == 0x7E:
        sent = list(b"MATT" if s.maybe(0.05) else b"MTTA")
    else:
        sent = [r.choice((0, 1, 5, 0x80, 0xFF, r.getrandbits(8))) for _ in range(max(count, 0))]
        if count == COUNTED:
            sent = [r.getrandbits(8) for _ in range(r.choice((0, 2, 3, 5, 40)))]
    _send(s, at, command)
    if count == COUNTED:
        _send(s, at, len(sent) if s.maybe(0.97) else r.getrandbits(8))
    for byte in sent:
        _send(s, at, byte)
        if s.maybe(0.02):
            return
    if answer == COUNTED:
        _receive(s, at)
        answer = r.choice((0, 1, 1, 3, 20))
    for _ in range(answer + r.choice((0, 0, 0, 1))):
        _receive(s, at)


def _send(s: Script, at: int, byte: int) -> None:
    s.store(at + ACR, SR_EXT | SR_OUT)
    s.store(at + SR, byte)
    _handshake(s, at)


def _receive(s: Script, at: int) -> None:
    s.store(at + ACR, SR_EXT)
    s.load(at + SR)
    _handshake(s, at)
    s.load(at + SR)


def _handshake(s: Script, at: int) -> None:
    s.store(at + B, PMU_TACK)
    if s.maybe(0.95):
        s.poll(at + B, PMU_TACK, 0)
    s.store(at + B, PMU_TACK | PMU_TREQ)
    if s.maybe(0.95):
        s.poll(at + B, PMU_TACK, PMU_TACK)
