"""What of a 405 is on the wire beside its SPRs: its TLB as QEMU sends it, and what only we send.

Source: facts of the ref405ep, section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.isa.spec.utlb import (
    ENTRIES,
    EPN,
    EXECUTE,
    LITTLE,
    PID_BITS,
    RPN,
    SIZE,
    USER,
    VALID,
    WRITE,
)
from gossamer.state.codec import I32, U8, U32, U64, Array, Codec, Equal
from gossamer.state.layout import Constant, Layout, Nested, View

if TYPE_CHECKING:
    from gossamer.cpu.cpu_405 import Cpu405

SIZE_SHIFT: Final = 7
#: QEMU's `prot`; loads are always allowed by an entry that is there.
READS, WRITES, EXECUTES, IS_VALID = 1, 2, 4, 8
#: Bits of the data word that QEMU calls `attr`, and those of the tag that it does not keep.
ATTRIBUTES: Final = 0xFF
TAG_REST: Final = LITTLE | USER
#: QEMU has a size of zero where an entry was never written.
SMALLEST: Final = 1024


def _get_size(tag: int) -> int:
    return SMALLEST << 2 * ((tag & SIZE) >> SIZE_SHIFT)


def _prot(tag: int, data: int) -> int:
    prot = READS if tag or data else 0
    prot |= (WRITES if data & WRITE else 0) | (EXECUTES if data & EXECUTE else 0)
    return prot | (IS_VALID if tag & VALID else 0)


def _entry(n: int) -> list[View]:
    """Entry `n`'s fields.  A sender's fields come in order: each puts its bits where they go."""

    def tag(cpu: Cpu405) -> int:
        return cpu.block.get("utlb_tag", n)

    def data(cpu: Cpu405) -> int:
        return cpu.block.get("utlb_data", n)

    def put_tag(cpu: Cpu405, mask: int, value: int) -> None:
        cpu.block.set("utlb_tag", tag(cpu) & ~mask | value, n)

    def put_data(cpu: Cpu405, mask: int, value: int) -> None:
        cpu.block.set("utlb_data", data(cpu) & ~mask | value, n)

    def put_rpn(cpu: Cpu405, value: int) -> None:
        if value & ~RPN:
            raise ValueError(f"a real page at {value:#x}")
        put_data(cpu, RPN, value)

    def put_pid(cpu: Cpu405, value: int) -> None:
        if value & ~PID_BITS:
            raise ValueError(f"a process of {PID_BITS} at the most, got {value:#x}")
        cpu.block.set("utlb_pid", value, n)

    def put_size(cpu: Cpu405, value: int) -> None:
        sizes = {0: 0, **{_get_size(k << SIZE_SHIFT): k for k in range(8)}}
        if value not in sizes:
            raise ValueError(f"a page of {value:#x} bytes")
        put_tag(cpu, SIZE, sizes[value] << SIZE_SHIFT)

    def put_prot(cpu: Cpu405, value: int) -> None:
        put_tag(cpu, VALID, VALID if value & IS_VALID else 0)
        write, execute = value & WRITES, value & EXECUTES
        put_data(cpu, WRITE | EXECUTE, (write and WRITE) | (execute and EXECUTE))

    return [
        View("RPN", U64, lambda c: data(c) & RPN, put_rpn),
        View("EPN", U32, lambda c: tag(c) & EPN, lambda c, v: put_tag(c, EPN, v & EPN)),
        View("PID", U32, lambda c: c.block.get("utlb_pid", n), put_pid),
        View("size", U32, lambda c: _get_size(tag(c)), put_size),
        View("prot", U32, lambda c: _prot(tag(c), data(c)), put_prot),
        View(
            "attr",
            U32,
            lambda c: data(c) & ATTRIBUTES,
            lambda c, v: put_data(c, ATTRIBUTES, v & ATTRIBUTES),
        ),
    ]


TLB: Final[Layout] = [
    Constant("env.nb_tlb", Equal(I32, ENTRIES)),
    *(
        Nested(
            f"env.tlb.tlbe[{n}]",
            lambda cpu: cpu,
            vmsd="cpu/tlbemb_entry",
            version=1,
            layout=_entry(n),
            joined=True,
        )
        for n in range(ENTRIES)
    ),
]


def _one(register: str, codec: Codec) -> View:
    return View(
        register,
        codec,
        lambda cpu: cpu.block.get(register),
        lambda cpu, value: cpu.block.set(register, value),
    )


def _put_irq(cpu: Cpu405, values: list[int]) -> None:
    for n, value in enumerate(values):
        cpu.block.set("irq", value, n)


def _put_rest(cpu: Cpu405, values: list[int]) -> None:
    for n, value in enumerate(values):
        if value & ~TAG_REST:
            raise ValueError(f"attributes {value:#x} of a page, expected {TAG_REST:#x} at the most")
        cpu.block.set("utlb_tag", cpu.block.get("utlb_tag", n) & ~TAG_REST | value, n)


OWN: Final[Layout] = [
    _one("tb_offset", U64),
    _one("pit_zero", U64),
    _one("pit_reload", U32),
    _one("reserved", U8),
    _one("reserve_ea", U32),
    _one("reset_cause", U8),
    View("irq", Array(U8, 8), lambda cpu: cpu.block.all("irq"), _put_irq),
    View(
        "tags",
        Array(U8, ENTRIES),
        lambda cpu: [tag & TAG_REST for tag in cpu.block.all("utlb_tag")],
        _put_rest,
    ),
]
