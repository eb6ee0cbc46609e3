"""Compare every instruction with an independent peer, vector by vector, whole results.

All our engines are made from one text, so they cannot check it; a peer can.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gossamer.base.errors import ConfigError
from gossamer.isa.insn import Decoder, Insn
from gossamer.tools.verify_isa_excuses import ALL, masks
from gossamer.tools.verify_isa_local import OUTSIDE, LocalCpu
from gossamer.tools.verify_isa_qemu import QemuUser
from gossamer.tools.verify_isa_record import Record
from gossamer.tools.verify_isa_vectors import Vectors

SHOWN: Final = 3  # differences printed for one instruction
BATCH: Final = 20_000

#: Forms that a user program cannot run to a comparable end, and why.
NOT_RUN: Final = {
    "sc": "the peer makes a system call of its host",
    "mfspr_pvr": "Linux answers for the CPU, which is supervisor's",
    "mftb": "the peer's time is its host's",
    "mftbu": "the peer's time is its host's",
    "mfspr_tbl": "the peer's time is its host's",
    "mfspr_tbu": "the peer's time is its host's",
}


class Peer(Protocol):
    """Something that runs records."""

    name: str

    def run(self, records: Sequence[Record]) -> list[Record]: ...


@dataclass
class Tally:
    """What was compared."""

    vectors: int = 0
    mismatches: int = 0
    excused: int = 0
    forms: set[str] = field(default_factory=set)
    bad: Counter[str] = field(default_factory=Counter)


def compare(
    name: str, peer: str, before: Record, ours: Record, theirs: Record
) -> tuple[dict[str, tuple[int, int]], bool]:
    """What differs beyond the excuses, and whether an excuse hid anything."""
    found = ours.differences(theirs)
    if not found:
        return {}, False
    hidden = masks(name, peer, before, ours, theirs)
    if "outcome" in hidden:
        return {}, True
    left = {}
    for what, (mine, yours) in found.items():
        mask = hidden.get("memory" if what.startswith("memory") else what, 0)
        if (mine ^ yours) & ~mask & ALL:
            left[what] = (mine, yours)
    return left, len(left) != len(found)


def check(row: Insn, peer: Peer, cpu: LocalCpu, records: Sequence[Record], tally: Tally) -> None:
    """Run the records of one instruction on both sides."""
    for before, theirs in zip(records, peer.run(records), strict=True):
        ours = cpu.run(before)
        assert ours.pad != OUTSIDE, f"{row.name} {before.word:#010x}: went nowhere"
        if ours.signal:  # what a peer tells of the address differs from kind to kind
            ours.dar = theirs.dar
        left, excused = compare(row.name, peer.name, before, ours, theirs)
        tally.vectors += 1
        tally.excused += excused
        if left:
            tally.mismatches += 1
            tally.bad[row.name] += 1
            if tally.bad[row.name] <= SHOWN:
                shown = ", ".join(f"{k} {a:#x} not {b:#x}" for k, (a, b) in left.items())
                print(f"{row.name} {before.word:#010x}: {shown}", file=sys.stderr)


def make_peer(name: str, model: str) -> Peer:
    if name == "qemu":
        return QemuUser(model)
    raise ConfigError(f"peer {name!r}: expected qemu or unicorn")


def run(
    peer: str, count: int, seed: int, model: str = "750", only: Iterable[str] = ()
) -> int:
    """Compare `count` vectors of each instruction; 0 when nothing differs.

    `only` names the instructions wanted (none: all).  Prints one line at the end.
    """
    decoder = Decoder(())
    there = make_peer(peer, model)
    cpu = LocalCpu(decoder, floating=True)
    tally = Tally()
    wanted = set(only)
    for row in decoder.rows:
        if row.name in NOT_RUN or wanted and row.name not in wanted:
            continue
        rng = random.Random(f"{seed} {row.name}")  # noqa: S311 (not a secret)
        vectors = Vectors(row, rng)
        check(row, there, cpu, [vectors.make() for _ in range(count)], tally)
        tally.forms.add(row.name)
    print(
        f"forms={len(tally.forms)} vectors={tally.vectors} mismatches={tally.mismatches}"
        f" excused={tally.excused}"
    )
    return 1 if tally.mismatches or not tally.vectors else 0
