"""What stands outside of the machine and was chosen while it is there: cables, the pointer in hand.

It is the host's, as -netdev is: no save or stream carries it, and what a load puts in the place of
the machine gets it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from gossamer.base.data import Data, field
from gossamer.machines import devices_attach
from gossamer.machines.machine import Machine, Mouse

Card: TypeAlias = devices_attach.Card


def cards(m: Machine) -> Iterator[tuple[str, str, Card]]:
    """Network cards: the id or MODEL.N, the model, the chip."""
    counts: dict[str, int] = {}
    for part, card in devices_attach.cards(m):
        model, _, name = part.known_as.partition(", id ")
        n = counts[model] = counts.get(model, -1) + 1
        yield name.strip('"') or f"{model}.{n}", model, card


def connect(m: Machine, send: Callable[[int, bytes], None]) -> None:
    """Let all that cards send go to `send`, with the card's number."""
    for n, (_, _, chip) in enumerate(cards(m)):
        chip.connect(partial(send, n))


def pointers(m: Machine) -> list[Mouse]:
    """Mice and tablets, in the order of query-mice."""
    return [part.device for part in m.parts if isinstance(part.device, Mouse)]


class Outside(Data, frozen=False):
    """`links`: by card, whether its cable is in; `pointer`: the place in query-mice, None: last.

    `chips`: the cards of the machine that has it.
    """

    links: dict[str, bool] = field(default_factory=dict)
    chips: list[Card] = field(default_factory=list)
    pointer: int | None = None

    def attach(self, m: Machine) -> None:
        """Let `m` have it."""
        self.chips = [chip for _, _, chip in cards(m)]
        for name, _, chip in cards(m):
            if name in self.links:
                chip.plug(self.links[name])
        if self.pointer is not None and self.pointer < len(found := pointers(m)):
            m.mouse = found[self.pointer]
