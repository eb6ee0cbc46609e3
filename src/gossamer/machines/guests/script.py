"""The scripts of the second built-in guest: what it writes where, and which vectors it reports.

A script is a list of steps; its text is the table that the guest carries out.  DBDMA programs stand
behind it.  Sources: docs/chips/openpic.md, heathrow.md, dbdma.md, via.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data

BASE: Final = 0x1000
"""Where the program begins, at its label `start`."""

Step = tuple[str, int | str, int | str]

#: Numbers of the steps.
FRAMES: Final = {"write": 1, "read": 2, "wait": 3, "byte": 4, "report": 5, "jump": 6}

# --- steps ----------------------------------------------------------------------------------------


def write(address: int, value: int | str) -> Step:
    """A little-endian word to a register."""
    return "write", address, value


def read(address: int) -> Step:
    """A little-endian word from a register; it becomes part of what the guest reports."""
    return "read", address, 0


def byte(address: int, value: int) -> Step:
    return "byte", address, value


def wait(turns: int) -> Step:
    """Turns of an empty loop, one instruction each."""
    return "wait", 0, turns


REPORT: Final[Step] = ("report", 0, 0)

# --- OpenPIC --------------------------------------------------------------------------------------

PIC: Final = 0x8084_0000
CPU: Final = PIC + 0x20000
MASKED: Final = 0x8000_0000
INHIBITED: Final = 0x8000_0000
LEVEL: Final = 0x0040_0000
TIMERS: Final = (0x40, 0x41, 0x42, 0x43)
"""Vectors; those of the IPIs, of both IDE channels' DMA, of the 6522, of USB, spurious."""
IPIS: Final = (0x50, 0x51, 0x52, 0x53)
DMAS: Final = (0x60, 0x61)
VIA: Final = 0x70
USB: Final = 0x78
OTHER: Final = 0x48
"""The vector that timer 0 has for a while."""
SPURIOUS: Final = 0xFF


def timer(n: int, register: int) -> int:
    """Address of a timer's count (0), base (1), vector and priority (2), destination (3)."""
    return PIC + 0x1100 + 0x40 * n + 0x10 * register


def timer_vector(n: int, priority: int, *, vector: int | None = None, masked: bool = False) -> Step:
    number = TIMERS[n] if vector is None else vector
    return write(timer(n, 2), (MASKED if masked else 0) | priority << 16 | number)


def ipi_vector(n: int, priority: int, *, masked: bool = False) -> Step:
    return write(PIC + 0x10A0 + 0x10 * n, (MASKED if masked else 0) | priority << 16 | IPIS[n])


def send(*ipis: int) -> list[Step]:
    return [write(CPU + 0x40 + 0x10 * n, 1) for n in ipis]


def task_priority(value: int) -> Step:
    return write(CPU + 0x80, value)


def source(n: int, priority: int, vector: int, sense: int = 0) -> list[Step]:
    at = PIC + 0x10000 + 0x20 * n
    return [write(at + 0x10, 1), write(at, sense | priority << 16 | vector)]


def base(n: int, count: int) -> Step:
    return write(timer(n, 1), count)


COUNTS: Final = [read(timer(n, 0)) for n in range(4)]
"""What the four timers show: count and toggle."""
IPI_REGISTERS: Final = [read(PIC + 0x10A0 + 0x10 * n) for n in range(4)]

# --- DBDMA, 6522 ----------------------------------------------------------------------------------

CHANNELS: Final = (0x8080_8B00, 0x8080_8D00)
RUN, S1, S0 = 0x8000, 0x02, 0x01
CELL: Final = 0x3800
"""A word that DMA writes and reads."""
COMMANDS: Final = """\
        .balign 16,0
mover:  {nop}
        {store}
        {load}
        {loop}
        {interrupt}
        {stop}
waiter: {held}
        {interrupt}
        {stop}
once:   {interrupt}
        {stop}
stuck:  {output}
        {stop}
"""


def command(code: int, count: int = 0, address: int = 0, argument: int | str = 0) -> str:
    """A descriptor: little-endian fields; `argument` a number, or a label below 64 KiB."""
    words = [(code << 16 | count).to_bytes(4, "little"), address.to_bytes(4, "little")]
    first = ",".join(f"{b:#x}" for b in b"".join(words))
    if isinstance(argument, str):
        place = f"({argument}-start+{BASE:#x})"  # a number, as an assembler sees it
        last = f"{place}&255,{place}>>8,0,0"
    else:
        last = ",".join(f"{b:#x}" for b in argument.to_bytes(4, "little"))
    return f".byte {first},{last},0,0,0,0"


ALWAYS_INTERRUPT: Final = 0x30
BRANCH_UNLESS: Final = 0x08
WAIT_UNLESS: Final = 0x02
PROGRAMS: Final = COMMANDS.format(
    nop=command(0x6000),
    store=command(0x4600, 4, CELL, 0x1122_3344),
    load=command(0x5600, 4, CELL + 4),
    loop=command(0x6000 | BRANCH_UNLESS, argument="mover"),
    interrupt=command(0x6000 | ALWAYS_INTERRUPT),
    stop=command(0x7000),
    held=command(0x6000 | WAIT_UNLESS),
    output=command(0x1000, 0x20, CELL),
)
"""The mover goes round until s0 is set, then interrupts; the waiter waits for s1; `stuck` has a
data command, with no drive to take the data."""


def start(channel: int, program: str) -> list[Step]:
    at = CHANNELS[channel]
    return [write(at, RUN << 16), write(at + 0x0C, program), write(at, RUN << 16 | RUN)]


def signal(channel: int, bits: int, value: int) -> Step:
    """The host writes status bits s7..s0."""
    return write(CHANNELS[channel], bits << 16 | value)


def stop(channel: int) -> Step:
    return write(CHANNELS[channel], (RUN | S0 | S1) << 16)


DMA_SETUP: Final = [
    write(CHANNELS[0] + 0x14, S0 << 16 | S0),  # branch select
    write(CHANNELS[1] + 0x18, S1 << 16 | S1),  # wait select
]
VIA_AT: Final = 0x8081_6000
VIA_SETUP: Final = [
    byte(VIA_AT + 0x1600, 0x40),  # ACR: timer 1 runs freely
    byte(VIA_AT + 0x1C00, 0xC0),  # IER: timer 1
    byte(VIA_AT + 0x0800, 0x00),
    byte(VIA_AT + 0x0A00, 0x06),  # 1536 ticks of 783 kHz: 1.96 ms
]

USB_AT: Final = 0x8008_0000
"""Where an OHCI controller's registers are, if the script puts them anywhere."""

# --- the scripts ----------------------------------------------------------------------------------


class Script(Data):
    """Steps that are done once, steps that are repeated, vectors that are reported."""

    once: tuple[Step, ...]
    again: tuple[Step, ...]
    reported: tuple[int, ...]
    via_vector: int

    @property
    def vectors(self) -> dict[str, int]:
        """Vectors that the handler knows."""
        return {
            "viavec": self.via_vector,
            "usbvec": USB,
            "again": IPIS[0],
            "slow": TIMERS[3],
        }

    def text(self) -> str:
        """The tables, as assembly."""
        return "\n".join(
            [
                "script:",
                *map(_row, self.once),
                "repeat:",
                *map(_row, self.again),
                _row(("jump", "repeat", 0)),
                f"vectors: .byte {','.join(map(str, self.reported))},0",
                PROGRAMS,
            ]
        )


def _row(step: Step) -> str:
    what, address, value = step
    return f"        .long {what},{address},{value}"


OPENPIC_SETUP: Final = [
    write(PIC + 0x1020, 0x2000_0000),
    task_priority(15),
    *(write(timer(n, 3), 1) for n in range(4)),
    timer_vector(0, 6),
    timer_vector(1, 6),
    timer_vector(2, 9),
    timer_vector(3, 3),
    ipi_vector(0, 4),
    ipi_vector(1, 7),
    ipi_vector(2, 7),
    ipi_vector(3, 12),
    *source(0x02, 5, DMAS[0]),
    *source(0x03, 8, DMAS[1]),
    *source(0x19, 2, VIA, LEVEL),
    base(0, 700),  # 168 us
    base(1, 1900),
    base(2, 3100),
    base(3, 5200),  # 1.25 ms
    task_priority(0),
]
OPENPIC_TURN: Final = [
    # All timers; IPIs one by one; a mover goes round meanwhile.
    *start(0, "mover"),
    *send(0),
    wait(3000),
    *send(3, 1, 2),
    *COUNTS,
    signal(0, S0, S0),
    *start(1, "waiter"),
    REPORT,
    stop(0),
    # Timer 1 expires masked, timer 0 is inhibited, task priority holds back all but the highest.
    timer_vector(1, 6, masked=True),
    base(0, INHIBITED | 700),
    task_priority(8),
    *start(0, "stuck"),
    *send(0, 1, 2, 3),
    wait(4000),
    *COUNTS,
    *IPI_REGISTERS,
    signal(1, S1, S1),
    REPORT,
    stop(0),
    stop(1),
    # What was held back comes: equal priorities in order, the rest by priority.
    timer_vector(1, 6),
    task_priority(0),
    *COUNTS,
    # Timer 0 again with another base, vector and priority; a new base for timer 2 while it runs.
    timer_vector(0, 10, vector=OTHER),
    base(0, 900),
    base(2, 2500),
    ipi_vector(1, 7, masked=True),
    *send(1),
    wait(6000),
    *COUNTS,
    *IPI_REGISTERS,
    REPORT,
    ipi_vector(1, 7),
    *send(0, 2),
    task_priority(15),
    *send(3, 2, 1, 0),
    wait(20_000),
    *COUNTS,
    read(CPU + 0xA0),  # all is held back: the spurious vector
    task_priority(0),
    timer_vector(0, 6),
    base(0, INHIBITED | 900),
    base(0, 700),
    base(2, 3100),
    wait(9000),
]
HEATHROW_SETUP: Final = [
    write(0x8080_0024, 1 << 2 | 1 << 3 | 1 << 18),
]
HEATHROW_TURN: Final = [
    *start(0, "mover"),
    wait(3000),
    read(0x8080_002C),
    signal(0, S0, S0),
    *start(1, "waiter"),
    REPORT,
    stop(0),
    # Events come while they are not enabled.
    write(0x8080_0024, 1 << 3),
    *start(0, "mover"),
    signal(0, S0, S0),
    signal(1, S1, S1),
    wait(4000),
    stop(0),
    *start(0, "stuck"),
    read(0x8080_0020),
    REPORT,
    stop(0),
    stop(1),
    write(0x8080_0024, 1 << 2 | 1 << 3 | 1 << 18),
    wait(5000),
]
SCRIPTS: Final = {
    "mac99": Script(
        (*OPENPIC_SETUP, *DMA_SETUP, *VIA_SETUP),
        tuple(OPENPIC_TURN),
        (*TIMERS, OTHER, *IPIS, *DMAS, VIA, SPURIOUS),
        VIA,
    ),
    "g3beige": Script(
        (*HEATHROW_SETUP, *DMA_SETUP, *VIA_SETUP), tuple(HEATHROW_TURN), (2, 3, 18), 18
    ),
}
