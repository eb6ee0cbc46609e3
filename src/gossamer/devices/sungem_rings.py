"""The descriptor rings of a GEM: what its DMA engines do.

A descriptor is a control or status word and a buffer address, both 64 bits, little-endian.
Frames leave at 100 Mb/s; each takes its time on the wire.  Source: Linux
drivers/net/ethernet/sun/sungem.h; docs page sungem.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer.devices.sungem import SunGem

DESCRIPTOR: Final = 16
ENABLE: Final = 1
BYTE_NS: Final = 80
OVERHEAD: Final = 24
"""Preamble, FCS and gap between frames, in bytes."""
START_NS: Final = 2_000
"""From a kick to the first descriptor's frame on the wire (estimate: a few PCI bursts)."""
MOST_DESCRIPTORS: Final = 64
"""Taken at a time without the end of a frame; then the bus has its turn, whatever the ring says."""

# Word numbers, as in sungem.py.
KICK, CONFIG, BASE_LOW, BASE_HIGH, COMPLETION = 0x00, 0x01, 0x02, 0x03, 0x40
RX_CONFIG, RX_BASE_LOW, RX_BASE_HIGH, RX_KICK, RX_COMPLETION = 0x00, 0x01, 0x02, 0x40, 0x41
TX_INTME, TX_ALL, TX_DONE, RX_DONE, RX_NO_BUFFER = 0x01, 0x02, 0x04, 0x10, 0x20
MAC_TX_STATUS, MAC_RX_STATUS, MAC_TX_CONFIG, MAC_RX_CONFIG = 0x04, 0x05, 0x0C, 0x0D
MAC_ADDRESS, MAC_HASH = 0x20, 0x30
FRAME_DONE: Final = 1

# Transmit control word.
SIZE: Final = 0x7FFF
CHECKSUM: Final = 1 << 29
END: Final = 1 << 30
START: Final = 1 << 31
INTERRUPT: Final = 1 << 32
# Receive status word.
OWN: Final = 1 << 31
HASH_PASS: Final = 1 << 60
# Receive MAC configuration.
STRIP_FCS, PROMISCUOUS, ALL_MULTICAST, HASH_FILTER = 0x04, 0x08, 0x10, 0x20
LEAST_FRAME: Final = 60
MOST_FRAME: Final = 9012


def take_ring_sizes(gem: SunGem) -> None:
    """Masks of ring positions, from the sizes in the two DMA configurations."""
    gem.tx_mask = _ring_size(gem.txdmaregs[CONFIG]) - 1
    gem.rx_mask = _ring_size(gem.rxdmaregs[RX_CONFIG]) - 1


def _ring_size(config: int) -> int:
    """32 to 8192 descriptors."""
    return 32 << min(config >> 1 & 15, 8)


# --- transmit -------------------------------------------------------------------------------------


def can_transmit(gem: SunGem) -> bool:
    return bool(gem.txdmaregs[CONFIG] & ENABLE and gem.macregs[MAC_TX_CONFIG] & ENABLE)


def waiting(gem: SunGem) -> bool:
    """Whether there are descriptors that have not been taken.

    A ring made smaller behind its kick leaves a position outside: it counts within the ring.
    """
    return bool((gem.txdmaregs[KICK] ^ gem.txdmaregs[COMPLETION]) & gem.tx_mask)


def kick(gem: SunGem) -> None:
    """There may be something to transmit."""
    if waiting(gem) and can_transmit(gem) and not gem.transmitter.armed:
        gem.transmitter.set(gem.clock.now + START_NS)


def transmit(gem: SunGem) -> None:
    """Take descriptors up to the end of a frame, send it, and go on when it is off the wire."""
    if not can_transmit(gem):
        return
    due = gem.transmitter.due
    sent = 0
    for _ in range(MOST_DESCRIPTORS):
        if sent or not waiting(gem):
            break
        sent = _transmit_descriptor(gem)
    bits = TX_DONE
    if not waiting(gem):
        bits |= TX_ALL
    else:
        gem.transmitter.set(due + (sent + OVERHEAD) * BYTE_NS)
    gem.raise_status(bits)


def _transmit_descriptor(gem: SunGem) -> int:
    """Take one descriptor; the length of the frame that it ended, or 0."""
    regs = gem.txdmaregs
    base = regs[BASE_HIGH] << 32 | regs[BASE_LOW] & ~0x7FF
    position = regs[COMPLETION] & gem.tx_mask
    raw = gem.dma_read(base + DESCRIPTOR * position & 0xFFFF_FFFF, DESCRIPTOR)
    control, address = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")
    regs[COMPLETION] = position + 1 & gem.tx_mask
    if control & START:
        gem.tx_size, gem.tx_first_ctl = 0, control
    length = control & SIZE
    if gem.tx_size + length > len(gem.tx_data):
        gem.note(f"frame longer than {len(gem.tx_data)} bytes")
        length = len(gem.tx_data) - gem.tx_size
    data = gem.dma_read(address & 0xFFFF_FFFF, length)
    gem.tx_data[gem.tx_size : gem.tx_size + length] = data
    gem.tx_size += length
    if control & INTERRUPT:
        gem.gregs[3] |= TX_INTME
    if not control & END:
        return 0
    return _send(gem)


def _send(gem: SunGem) -> int:
    frame = bytearray(gem.tx_data[: gem.tx_size])
    if gem.tx_first_ctl & CHECKSUM:
        first, at = gem.tx_first_ctl >> 15 & 63, gem.tx_first_ctl >> 21 & 255
        if at + 2 <= len(frame):
            frame[at : at + 2] = (~ones_sum(frame[first:]) & 0xFFFF).to_bytes(2, "big")
    gem.tx_size = gem.tx_first_ctl = 0
    gem.macregs[MAC_TX_STATUS] |= FRAME_DONE
    if gem.phy.link:
        gem.send(bytes(frame))
    return max(len(frame), LEAST_FRAME)


def ones_sum(data: bytes | bytearray) -> int:
    """The one's complement sum of big-endian half-words."""
    total = int.from_bytes(data, "big") << 8 * (len(data) & 1)
    # 65536 is 1 modulo 65535; a sum of which nothing is left was 0 only if all words were.
    return total % 0xFFFF or (0xFFFF if total else 0)


# --- receive --------------------------------------------------------------------------------------


def has_room(gem: SunGem) -> bool:
    """Whether the ring has a free buffer; a receiver that is off lets all frames pass by."""
    regs = gem.rxdmaregs
    if not (regs[RX_CONFIG] & ENABLE and gem.macregs[MAC_RX_CONFIG] & ENABLE):
        return True
    return not _is_full(gem)


def _is_full(gem: SunGem) -> bool:
    """One descriptor stays unused: where completion has caught up with the kick, all are free.

    As QEMU 7.2 has it: Linux kicks behind the last descriptor that it has given back.
    """
    regs = gem.rxdmaregs
    behind = regs[RX_COMPLETION] + 1 & gem.rx_mask
    return behind == regs[RX_KICK] & gem.rx_mask


def receive(gem: SunGem, frame: bytes) -> bool:
    """Put a frame into the next free buffer; false when there is none."""
    regs = gem.rxdmaregs
    if not (regs[RX_CONFIG] & ENABLE and gem.macregs[MAC_RX_CONFIG] & ENABLE):
        return True  # the receiver is off: the frame passes by
    passed = accepts(gem, frame, own_address(gem))
    if passed is None:
        return True
    if _is_full(gem):
        gem.raise_status(RX_NO_BUFFER)
        return False
    at = _ring(gem) + DESCRIPTOR * (regs[RX_COMPLETION] & gem.rx_mask) & 0xFFFF_FFFF
    address, status, frame = _fitted(gem, frame, gem.dma_read(at, DESCRIPTOR), passed)
    gem.dma_write(address, frame)
    gem.dma_write(at, status)
    _received(gem, 1)
    return True


def receive_all(gem: SunGem, frames: Sequence[bytes]) -> int:
    """Put frames into free buffers, as `receive` would one by one while there is room; how many.

    The descriptors are read some at a time, but for buffers that lie on the ring itself.
    """
    regs = gem.rxdmaregs
    if not (regs[RX_CONFIG] & ENABLE and gem.macregs[MAC_RX_CONFIG] & ENABLE):
        return len(frames)
    mask, ring, own = gem.rx_mask, _ring(gem) & 0xFFFF_FFFF, own_address(gem)
    end = ring + DESCRIPTOR * (mask + 1)
    position = regs[RX_COMPLETION] & mask
    free = regs[RX_KICK] - 1 - position & mask
    stored = count = 0
    raw, first, statuses = b"", 0, bytearray()
    for frame in frames:
        if stored == free:
            break
        count += 1
        passed = accepts(gem, frame, own)
        if passed is None:
            continue
        read = len(statuses)
        if read == len(raw):
            _give_back(gem, first, statuses)
            ahead = min(len(frames) - count + 1, free - stored, mask + 1 - position)
            first, read = ring + DESCRIPTOR * position & 0xFFFF_FFFF, 0
            raw = gem.dma_read(first, DESCRIPTOR * ahead)
        descriptor = raw[read : read + DESCRIPTOR]
        address, status, frame = _fitted(gem, frame, descriptor, passed)
        if (address < end and ring < address + len(frame)) or end > 1 << 32:
            # It lies on the ring: all that comes before it is there, all that follows is new.
            _give_back(gem, first, statuses)
            gem.dma_write(address, frame)
            gem.dma_write(ring + DESCRIPTOR * position & 0xFFFF_FFFF, status)
            raw = b""
        else:
            gem.dma_write(address, frame)
            statuses += status + descriptor[8:]
        position = position + 1 & mask
        stored += 1
    _give_back(gem, first, statuses)
    if stored:
        _received(gem, stored)
    return count


def _give_back(gem: SunGem, at: int, statuses: bytearray) -> None:
    """Write descriptors whose buffers have been filled."""
    if statuses:
        gem.dma_write(at, statuses)
        statuses.clear()


def _ring(gem: SunGem) -> int:
    return gem.rxdmaregs[RX_BASE_HIGH] << 32 | gem.rxdmaregs[RX_BASE_LOW] & ~0x7FF


def _received(gem: SunGem, count: int) -> None:
    regs = gem.rxdmaregs
    regs[RX_COMPLETION] = (regs[RX_COMPLETION] & gem.rx_mask) + count & gem.rx_mask
    gem.macregs[MAC_RX_STATUS] |= FRAME_DONE
    gem.raise_status(RX_DONE)


def own_address(gem: SunGem) -> bytes:
    """The address that the filter compares with."""
    return b"".join(gem.macregs[MAC_ADDRESS + n].to_bytes(4, "big")[2:] for n in (2, 1, 0))


def accepts(gem: SunGem, frame: bytes, own: bytes) -> int | None:
    """Status bits with which the filters let a frame pass; None: they do not."""
    if len(frame) > MOST_FRAME:
        return None
    config, target = gem.macregs[MAC_RX_CONFIG], frame[:6]
    if target in (own, b"\xff" * 6) or config & PROMISCUOUS:
        return 0
    if not target[:1] or not target[0] & 1:
        return None
    if config & ALL_MULTICAST:
        return 0
    bucket = hash_of(target)
    if config & HASH_FILTER and gem.macregs[MAC_HASH + (bucket >> 4)] >> 15 - (bucket & 15) & 1:
        return HASH_PASS
    return None


def hash_of(address: bytes) -> int:
    """The upper eight bits of the little-endian CRC of an address, as the chip's table has it."""
    return (zlib.crc32(address) ^ 0xFFFF_FFFF) >> 24


def _fitted(gem: SunGem, frame: bytes, raw: bytes, passed: int) -> tuple[int, bytes, bytes]:
    """Where a frame goes by its descriptor, the descriptor's new status, what is written there."""
    config = gem.rxdmaregs[RX_CONFIG]
    control, address = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")
    if len(frame) < LEAST_FRAME:
        frame = frame.ljust(LEAST_FRAME, b"\0")
    total = ~ones_sum(frame[config >> 13 & 0x7F :]) & 0xFFFF
    if not gem.macregs[MAC_RX_CONFIG] & STRIP_FCS:
        frame += zlib.crc32(frame).to_bytes(4, "little")
    room = control >> 16 & SIZE
    if room and len(frame) > room:
        gem.note(f"frame of {len(frame)} bytes cut to its buffer of {room}")
        frame = frame[:room]
    status = (passed | len(frame) << 16 | total).to_bytes(8, "little")
    return (address + (config >> 10 & 7)) & 0xFFFF_FFFF, status, frame
