"""The frames by which a machine that has moved says where it is now (RARP), as QEMU sends them.

A switch learns from them at which port the card's address lives.  They come from the emulator and
not from the guest: nothing of them is in its state.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.control.network import Network
from gossamer.control.outside import Card, cards
from gossamer.control.steps import Steps, Wait
from gossamer.core import host

BROADCAST: Final = b"\xff" * 6
RARP: Final = bytes.fromhex("8035 0001 0800 06 04 0003")
"""Ethernet type; hardware Ethernet, protocol IPv4, their sizes, request reverse (RFC 903)."""
LEAST_FRAME: Final = 60


class Announcement(Data):
    """Rounds of frames: the first after `initial` ms, then each `step` ms later, at most `max`."""

    initial: int = 50
    max: int = 550
    rounds: int = 5
    step: int = 100

    def delay_ms(self, done: int) -> int:
        """Time to the next round, ms, when `done` rounds have been sent."""
        return 0 if not done else min(self.max, self.initial + (done - 1) * self.step)


def rarp(mac: bytes) -> bytes:
    """The frame of one card: who has my protocol address? (4 bytes each of no address)."""
    return (BROADCAST + mac + RARP + (mac + bytes(4)) * 2).ljust(LEAST_FRAME, b"\0")


def address(chip: Card) -> bytes:
    """The address that a card was made with."""
    return chip.mac


def announcing(
    network: Network, how: Announcement, interfaces: tuple[str, ...] | None = None
) -> Steps[None]:
    """Announce every card whose cable is in, or those of `interfaces` (ids or MODEL.N)."""
    for done in range(how.rounds):
        if done:
            until = host.monotonic_ns() + how.delay_ms(done) * 1_000_000
            yield Wait(until_ns=until)
        links = network.vm.outside.links
        for n, (name, _, chip) in enumerate(cards(network.vm.machine)):
            if links.get(name, True) and (interfaces is None or name in interfaces):
                network.announce(n, rarp(address(chip)))
