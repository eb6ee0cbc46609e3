"""Transfers of an xHCI controller: what it does with the rings of endpoints.

Control and bulk transfers are carried out when the doorbell rings; an interrupt endpoint has its
turn in each of its microframes while there is something for it.  Source: xHCI 1.1, 4.10 and 4.11.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.devices.usb.device import NAK, STALL, Answer, UsbFunction
from gossamer.devices.usb.xhci_contexts import (
    HALTED,
    INTERRUPT_IN,
    INTERRUPT_OUT,
    RUNNING,
    STOPPED,
    Contexts,
    Endpoint,
)
from gossamer.devices.usb.xhci_core import ENDPOINTS, XhciCore
from gossamer.devices.usb.xhci_rings import (
    CHAIN,
    DATA,
    EVENT_DATA,
    IMMEDIATE,
    ISOCHRONOUS,
    NO_OP,
    NORMAL,
    ON_COMPLETION,
    SETUP,
    SHORT,
    STATUS,
    Block,
    Event,
    UnreadableError,
    Walk,
)

TRANSFER_EVENT: Final = 32
MOST_BLOCKS: Final = 1024
"""Blocks of a transfer, the links between them among them."""
MOST_DATA: Final = 0x1_0000
"""Bytes that a device is offered at once."""
BY_EVENT: Final = 4
"""Flag of an event: its pointer is what an Event Data block says."""
SUCCESS, TRANSACTION_ERROR, TRB_ERROR, STALLED, SHORT_PACKET = 1, 4, 5, 6, 13
UNDERRUN, OVERRUN, STOPPED_CODE = 14, 15, 26
IN_REQUEST: Final = 0x80


class Transfers:
    """The endpoints of a controller's slots."""

    def __init__(self, core: XhciCore) -> None:
        self.core, self.contexts = core, Contexts(core)

    # --- when ---------------------------------------------------------------------------------

    def kick(self, slot: int, number: int, _stream: int) -> None:
        """A doorbell: an endpoint that was stopped runs again."""
        if not 1 <= number < ENDPOINTS or not self.core.slots[slot - 1].addressed:
            self.core.note(f"a doorbell of slot {slot}, endpoint {number}")
            return
        found = self.contexts.endpoint(slot, number)
        if found is None or found.state == HALTED:
            return
        if found.state == STOPPED:
            found.become(RUNNING)
            self.contexts.keep(found)
        if found.kind in (INTERRUPT_IN, INTERRUPT_OUT):
            self.core.wait(ENDPOINTS * slot + number, found.interval)
        else:
            self._work_off(slot, number, found)

    def awake(self, port: int) -> None:
        """A device in this port, or behind it, may have something to say."""
        for slot, one in enumerate(self.core.slots, 1):
            if not one.addressed:
                continue
            context = self.contexts.slot(slot)
            if context is None or context[1][1] >> 16 & 0xFF != port:
                continue
            for number in range(2, 1 + (context[1][0] >> 27)):
                found = self.contexts.endpoint(slot, number)
                if found is not None and found.state == RUNNING and found.kind == INTERRUPT_IN:
                    self.core.wait(ENDPOINTS * slot + number, found.interval)

    def turn(self, slot: int, number: int, now: int) -> None:
        """An endpoint that waits: serve it if this microframe is one of its own."""
        if not self.core.slots[slot - 1].addressed:
            return
        found = self.contexts.endpoint(slot, number)
        if found is None or found.state != RUNNING:
            return
        if found.kind not in (INTERRUPT_IN, INTERRUPT_OUT):
            self._work_off(slot, number, found, now)
        elif now % found.interval or self._one(slot, number, found):
            self.core.wait(ENDPOINTS * slot + number, found.interval, now)

    def forget(self, slot: int, first: int) -> None:
        """Endpoints from `first` on wait for nothing."""
        gone = (1 << ENDPOINTS - first) - 1 << ENDPOINTS * slot + first
        self.core.waiting &= ~gone

    def forget_one(self, slot: int, number: int) -> None:
        self.core.waiting &= ~(1 << ENDPOINTS * slot + number)

    def stop(self, slot: int, number: int, endpoint: Endpoint) -> None:
        """Report what the endpoint was about to do as stopped."""
        self.forget_one(slot, number)
        try:
            blocks = self._transfer(endpoint)[0]
        except UnreadableError as fault:
            self.core.die(str(fault))
            return
        if blocks:
            one = blocks[0]
            event = Event(TRANSFER_EVENT, STOPPED_CODE, one.at, one.length, slot, number)
            self.core.send(one.interrupter, event)

    # --- what ---------------------------------------------------------------------------------

    def _work_off(self, slot: int, number: int, endpoint: Endpoint, now: int = -1) -> None:
        """Carry out what is on the ring; `now`: in this microframe."""
        while self.core.may_go_on:
            if not self._one(slot, number, endpoint):
                return
        self.core.wait(ENDPOINTS * slot + number, 1, now)

    def _one(self, slot: int, number: int, endpoint: Endpoint) -> bool:
        """Carry out a transfer; whether there may be more to do."""
        try:
            return self._carry_out(slot, number, endpoint)
        except UnreadableError as fault:
            self.core.die(str(fault))
            return False

    def _transfer(self, endpoint: Endpoint) -> tuple[list[Block], Walk]:
        """The next transfer's blocks (none: there is none yet whole), and where the ring goes on.

        A control transfer goes from its setup stage to its status stage.
        """
        walk = Walk(self.core.fetch, endpoint.dequeue, endpoint.cycle)
        blocks: list[Block] = []
        stages = False
        while walk.fetched < MOST_BLOCKS:
            one = walk.next()
            if one is None:
                return [], walk
            blocks.append(one)
            stages = stages or one.kind == SETUP
            if one.kind == STATUS:
                stages = False
            if not stages and not one.control & CHAIN:
                break
        return blocks, walk

    def _carry_out(self, slot: int, number: int, endpoint: Endpoint) -> bool:
        blocks, walk = self._transfer(endpoint)
        if not blocks:
            if endpoint.is_isochronous:
                code = OVERRUN if endpoint.is_in else UNDERRUN
                self.core.send(0, Event(TRANSFER_EVENT, code, walk.at, 0, slot, number))
            return False
        if all(one.kind == NO_OP for one in blocks):
            endpoint.place(walk.at, walk.cycle)
            self._report(slot, number, blocks, 0, SUCCESS)
            self.contexts.keep(endpoint)
            return True
        device = self.contexts.device_of(slot)
        moved, code = 0, SUCCESS
        if walk.fetched >= MOST_BLOCKS:
            code = TRB_ERROR
        elif device is None:
            code = TRANSACTION_ERROR
        elif number == 1:
            moved, code = self._control(device, blocks)
        else:
            answer = self._move(device, number, endpoint, blocks)
            if answer == NAK:
                return device.is_polled
            if answer == STALL:
                code = STALLED
            elif isinstance(answer, bytes):
                moved = self._scatter(blocks, answer) if endpoint.is_in else self._size(blocks)
        goes_on = code == SUCCESS or endpoint.is_isochronous
        if goes_on:
            endpoint.place(walk.at, walk.cycle)
        else:
            endpoint.become(HALTED)
        self._report(slot, number, blocks, moved, code)
        self.contexts.keep(endpoint)
        return goes_on

    def _move(
        self, device: UsbFunction, number: int, endpoint: Endpoint, blocks: list[Block]
    ) -> Answer:
        """A transaction of an endpoint that is not the first."""
        if endpoint.is_in != bool(number & 1):
            return STALL
        if endpoint.is_in:
            return device.give(number >> 1, min(self._size(blocks), MOST_DATA))
        return device.take(number >> 1, self._gather(blocks))

    def _control(self, device: UsbFunction, blocks: list[Block]) -> tuple[int, int]:
        """A control transfer: how many bytes moved, and how it ended."""
        first, last = blocks[0], blocks[-1]
        if first.kind != SETUP or last.kind != STATUS or not first.control & IMMEDIATE:
            self.core.note("a control transfer without its stages")
            return 0, TRB_ERROR
        if first.length != 8:
            return 0, TRB_ERROR
        request = first.parameter.to_bytes(8, "little")
        data = blocks[1:-1]
        room = min(self._size(data), MOST_DATA)
        device.setup(request)
        if not request[0] & IN_REQUEST:
            return self._control_out(device, data, room)
        length = min(int.from_bytes(request[6:8], "little"), room)
        answer = device.give(0, length)
        if isinstance(answer, str):
            return 0, STALLED
        moved = self._scatter(data, answer)
        device.take(0, b"")
        return moved, SUCCESS

    def _control_out(self, device: UsbFunction, data: list[Block], room: int) -> tuple[int, int]:
        if room:
            answer = device.take(0, self._gather(data))
            if isinstance(answer, str):
                return 0, STALLED
        answer = device.give(0, 0)
        return (0, STALLED) if isinstance(answer, str) else (room, SUCCESS)

    # --- buffers ------------------------------------------------------------------------------

    @staticmethod
    def _buffers(blocks: list[Block]) -> Iterator[Block]:
        return (one for one in blocks if one.kind in (NORMAL, DATA, ISOCHRONOUS))

    def _size(self, blocks: list[Block]) -> int:
        return sum(one.length for one in self._buffers(blocks))

    def _gather(self, blocks: list[Block]) -> bytes:
        """What the driver sends; at most as much as a device is offered at once."""
        out = b""
        for one in self._buffers(blocks):
            if one.control & IMMEDIATE:
                piece: bytes | None = one.parameter.to_bytes(8, "little")[: one.length]
            else:
                length = min(one.length, MOST_DATA - len(out))
                piece = self.core.fetch(one.parameter, length) if length else b""
            if piece is None:
                raise UnreadableError(f"a buffer at {one.parameter:#x}")
            out += piece
        return out

    def _scatter(self, blocks: list[Block], data: bytes) -> int:
        """Put what a device gave where the driver wants it; how much that is."""
        done = 0
        for one in self._buffers(blocks):
            piece = data[done : done + one.length]
            if piece and not self.core.store(one.parameter, piece):
                raise UnreadableError(f"a buffer at {one.parameter:#x}")
            done += len(piece)
        return done

    # --- events -------------------------------------------------------------------------------

    def _report(self, slot: int, number: int, blocks: list[Block], moved: int, code: int) -> None:
        """An event for each block that asks for one; the first of a stage that does is the last."""
        reported = short = False
        total = 0
        for one in blocks:
            here = one.length if one.kind == SETUP else 0
            if one.kind in (NORMAL, DATA, ISOCHRONOUS):
                here = min(one.length, moved)
                short = short or (code == SUCCESS and here < one.length)
                moved, total = moved - here, total + here
            elif one.kind == STATUS:
                reported = short = False
            asks = bool(one.control & ON_COMPLETION) or (short and bool(one.control & SHORT))
            failed = code != SUCCESS and not moved
            if not reported and (asks or failed):
                reported = True
                said = code if code != SUCCESS else SHORT_PACKET if short else SUCCESS
                event = Event(TRANSFER_EVENT, said, one.at, one.length - here, slot, number)
                if one.kind == EVENT_DATA:
                    event = Event(
                        TRANSFER_EVENT, said, one.parameter, total, slot, number, BY_EVENT
                    )
                    total = 0
                self.core.send(one.interrupter, event)
                if code != SUCCESS:
                    return
            if one.kind == SETUP:
                reported = short = False
