"""The command ring of an xHCI controller.

Source: xHCI 1.1, 4.6; order of checks and completion codes as QEMU 7.2 answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.devices.usb.xhci_contexts import (
    ADDRESSED,
    CONFIGURED,
    DEFAULT,
    DISABLED,
    ERROR,
    HALTED,
    RUNNING,
    SIZE,
    STOPPED,
    Contexts,
    Endpoint,
)
from gossamer.devices.usb.xhci_core import XhciCore
from gossamer.devices.usb.xhci_rings import Block, Event, UnreadableError, Walk
from gossamer.devices.usb.xhci_transfers import Transfers

COMMAND_EVENT, FIRMWARE_EVENT = 33, 48
# Completion codes.
SUCCESS, TRANSACTION_ERROR, TRB_ERROR, NO_SLOTS = 1, 4, 5, 9
SLOT_NOT_ENABLED, ENDPOINT_NOT_ENABLED, PARAMETER_ERROR, CONTEXT_STATE = 11, 12, 17, 19
# Types of commands that are of no slot.
ENABLE_SLOT, BANDWIDTH, NO_OP, FIRMWARE, CHALLENGE = 9, 21, 23, 49, 50
FIRMWARE_VERSION: Final = 0x3034
DECONFIGURE, KEEP_DEFAULT = 1 << 9, 1 << 9
"""Flags of Configure Endpoint and Address Device."""
STATE: Final = 27
SET_ADDRESS: Final = 5
_MASK: Final = 0xFFFF_FFFF
_NEC: Final = 0x4943_4878


def _rotated(value: int, count: int) -> int:
    value, count = value & _MASK, count & 31
    return (value << count | value >> 32 - count) & _MASK


def challenge(parameter: int) -> int:
    """The answer of NEC's chips to a challenge: both words, mixed."""
    low, high = parameter & _MASK, parameter >> 32
    mixed = _rotated(low - _NEC, 32 - (high >> 8 & 31)) + _rotated(low + _NEC, high & 31)
    return ~(mixed - _rotated(high ^ _NEC, low >> 16 & 31)) & _MASK


class Commands:
    """What the driver asks of the controller itself."""

    def __init__(self, core: XhciCore, transfers: Transfers) -> None:
        self.core, self.transfers, self.contexts = core, transfers, Contexts(core)

    def work_off(self, now: int = -1) -> None:
        """Carry out what is on the ring; `now`: in this microframe."""
        core, ring = self.core, self.core.cmd_ring
        try:
            while core.may_go_on:
                walk = Walk(core.fetch, ring.dequeue, int(ring.ccs))
                one = walk.next()
                ring.dequeue, ring.ccs = walk.at, bool(walk.cycle)
                if one is None:
                    return
                core.send(0, self._done(one))
        except UnreadableError as fault:
            core.die(str(fault))
            return
        core.wait(0, 1, now)

    def _done(self, one: Block) -> Event:
        """Carry out a command: the event that says so."""
        slot = 0
        if one.kind == ENABLE_SLOT:
            code, slot = self._enable()
        elif one.kind == NO_OP:
            code = SUCCESS
        elif one.kind == FIRMWARE and self.core.firmware:
            return Event(FIRMWARE_EVENT, SUCCESS, one.at, FIRMWARE_VERSION)
        elif one.kind == CHALLENGE and self.core.firmware:
            answer = challenge(one.parameter)
            return Event(
                FIRMWARE_EVENT, SUCCESS, one.at, answer & 0xFFFF, answer >> 24, answer >> 16 & 0xFF
            )
        elif one.kind == BANDWIDTH:
            code = self._bandwidth(one)
        elif one.kind in COMMANDS:
            code, slot = self._of_slot(one)
        else:
            self.core.note(f"command {one.kind}")
            code = TRB_ERROR
        return Event(COMMAND_EVENT, code, one.at, 0, slot)

    def _of_slot(self, one: Block) -> tuple[int, int]:
        """Carry out a command of a slot; the code, and the slot if there is one."""
        slots = self.core.slots
        if not 1 <= one.slot <= len(slots):
            return TRB_ERROR, 0
        if not slots[one.slot - 1].enabled:
            return SLOT_NOT_ENABLED, 0
        return COMMANDS[one.kind](self, one), one.slot

    # --- slots --------------------------------------------------------------------------------

    def _enable(self) -> tuple[int, int]:
        for number, slot in enumerate(self.core.slots, 1):
            if not slot.enabled:
                slot.enabled, slot.addressed = True, False
                return SUCCESS, number
        return NO_SLOTS, 0

    def disable(self, one: Block) -> int:
        self._drop_endpoints(one.slot, 1)
        slot = self.core.slots[one.slot - 1]
        slot.enabled = slot.addressed = False
        return SUCCESS

    def _drop_endpoints(self, slot: int, first: int) -> None:
        """Endpoints from `first` on are no more; those that were not stay as they are."""
        self.transfers.forget(slot, first)
        if not self.core.slots[slot - 1].addressed:
            return
        for number in range(first, 32):
            found = self.contexts.endpoint(slot, number)
            if found is not None:
                found.become(DISABLED)
                self.contexts.keep(found)

    def address(self, one: Block) -> int:
        """The device in a port gets the number of its slot as its address."""
        core, contexts = self.core, self.contexts
        asked = self._input(one.parameter)
        if asked is None or asked != (0, 3):
            return TRB_ERROR
        at = contexts.output(one.slot)
        slot = contexts.words(one.parameter + SIZE)
        endpoint = contexts.words(one.parameter + 2 * SIZE)
        if at is None or slot is None or endpoint is None:
            return TRB_ERROR
        device = contexts.device(slot)
        if device is None:
            return TRB_ERROR
        if any(contexts.device_of(n) is device for n in range(1, 65) if n != one.slot):
            return TRB_ERROR
        waits = bool(one.control & KEEP_DEFAULT)
        slot[3] = DEFAULT << STATE if waits else ADDRESSED << STATE | one.slot
        device.bus_reset()
        if not waits:
            device.setup(bytes((0, SET_ADDRESS, one.slot, 0, 0, 0, 0, 0)))
            device.give(0, 0)
        core.slots[one.slot - 1].addressed = True
        endpoint[0] = endpoint[0] & ~7 | RUNNING
        contexts.put(at, slot)
        contexts.put(at + SIZE, endpoint)
        return SUCCESS

    def reset_device(self, one: Block) -> int:
        """All endpoints but the first are gone, the slot waits for an address."""
        self._drop_endpoints(one.slot, 2)
        found = self.contexts.slot(one.slot)
        if found is None:
            return TRB_ERROR
        at, words = found
        words[3] = words[3] & (1 << STATE) - 1 | DEFAULT << STATE
        self.contexts.put(at, words)
        return SUCCESS

    # --- contexts -----------------------------------------------------------------------------

    def _input(self, at: int) -> tuple[int, int] | None:
        """What an input context says is to be dropped and added."""
        words = self.contexts.words(at)
        return None if words is None else (words[0], words[1])

    def configure(self, one: Block) -> int:
        """Endpoints are dropped and added."""
        contexts = self.contexts
        found = contexts.slot(one.slot)
        if found is None or not self.core.slots[one.slot - 1].addressed:
            return CONTEXT_STATE
        at, slot = found
        if one.control & DECONFIGURE:
            self._drop_endpoints(one.slot, 2)
            slot[3] = slot[3] & (1 << STATE) - 1 | ADDRESSED << STATE
            contexts.put(at, slot)
            return SUCCESS
        asked = self._input(one.parameter)
        new = contexts.words(one.parameter + SIZE)
        if asked is None or new is None or asked[0] & 3 or asked[1] & 3 != 1:
            return TRB_ERROR
        if slot[3] >> STATE < ADDRESSED:
            return CONTEXT_STATE
        for number in range(2, 32):
            code = self._change_endpoint(one, at, number, asked)
            if code != SUCCESS:
                return code
        slot[3] = slot[3] & (1 << STATE) - 1 | CONFIGURED << STATE
        slot[0] = slot[0] & ~(31 << 27) | new[0] & 31 << 27
        contexts.put(at, slot)
        return SUCCESS

    def _change_endpoint(self, one: Block, output: int, number: int, asked: tuple[int, int]) -> int:
        drop, add = (bits >> number & 1 for bits in asked)
        if not drop and not add:
            return SUCCESS
        at = output + SIZE * number
        if drop:
            words = self.contexts.words(at)
            if words is not None:
                words[0] &= ~7
                self.contexts.put(at, words)
        if add:
            words = self.contexts.words(one.parameter + SIZE + SIZE * number)
            if words is None or Endpoint(at, words).has_streams:
                return TRB_ERROR
            words[0] = words[0] & ~7 | RUNNING
            self.contexts.put(at, words)
        self.transfers.forget_one(one.slot, number)
        return SUCCESS

    def evaluate(self, one: Block) -> int:
        """The longest exit latency, the interrupter and the packets of endpoint 0."""
        contexts, asked = self.contexts, self._input(one.parameter)
        at = contexts.output(one.slot)
        if asked is None or at is None or asked[0] or asked[1] & ~3:
            return TRB_ERROR
        for number, word, bits in ((0, 1, 0xFFFF), (0, 2, 0xFFC0_0000), (1, 1, 0xFFFF_0000)):
            if not asked[1] >> number & 1:
                continue
            new = contexts.words(one.parameter + SIZE + SIZE * number)
            old = contexts.words(at + SIZE * number)
            if new is None or old is None:
                return TRB_ERROR
            old[word] = old[word] & ~bits | new[word] & bits
            contexts.put(at + SIZE * number, old)
        return SUCCESS

    # --- endpoints ----------------------------------------------------------------------------

    def _endpoint(self, one: Block) -> Endpoint | int:
        """The endpoint that a command names, or the code that refuses it."""
        number = one.control >> 16 & 31
        if not number:
            return TRB_ERROR
        addressed = self.core.slots[one.slot - 1].addressed
        found = self.contexts.endpoint(one.slot, number) if addressed else None
        return ENDPOINT_NOT_ENABLED if found is None else found

    def reset_endpoint(self, one: Block) -> int:
        found = self._endpoint(one)
        if isinstance(found, int):
            return found
        if found.state != HALTED:
            return CONTEXT_STATE
        if self.contexts.device_of(one.slot) is None:
            return TRANSACTION_ERROR
        return self._stopped(found)

    def stop_endpoint(self, one: Block) -> int:
        """A transfer that is under way is reported as stopped; it stays on the ring."""
        found = self._endpoint(one)
        if isinstance(found, int):
            return found
        if found.state == RUNNING:
            self.transfers.stop(one.slot, one.control >> 16 & 31, found)
        return self._stopped(found)

    def set_dequeue(self, one: Block) -> int:
        found = self._endpoint(one)
        if isinstance(found, int):
            return found
        if found.state not in (STOPPED, ERROR):
            return CONTEXT_STATE
        found.place(one.parameter & ~0xF, one.parameter & 1)
        return self._stopped(found)

    def _stopped(self, endpoint: Endpoint) -> int:
        endpoint.become(STOPPED)
        self.contexts.keep(endpoint)
        return SUCCESS

    def _bandwidth(self, one: Block) -> int:
        """Each port has 80 % left."""
        count = len(self.core.ports)
        if not self.core.store(one.parameter & ~0xF, b"\0" + b"\x50" * count):
            return TRB_ERROR
        return SUCCESS


COMMANDS: Final[dict[int, Callable[[Commands, Block], int]]] = {
    10: Commands.disable,
    11: Commands.address,
    12: Commands.configure,
    13: Commands.evaluate,
    14: Commands.reset_endpoint,
    15: Commands.stop_endpoint,
    16: Commands.set_dequeue,
    17: Commands.reset_device,
}
