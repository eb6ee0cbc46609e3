"""Hypercalls of a terminal in native code and in Python: the same answers, the same characters."""

from __future__ import annotations

import random

import pytest

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr.calls import Hypercalls
from gossamer.devices.spapr.vio import Terminal, terminal_calls
from gossamer.engine.context import DATA_SLOTS
from gossamer.engine.tier0 import Tier0
from gossamer.isa.interrupts import Irq

from .programs_64 import CPU, MSR_SF
from .rig import RAM_SIZE, Rig, difference

SC_1, BRANCH_BACK, ADD = 0x4400_0022, 0x4200_FFF4, 0x39CE_0001
LI_R3_PUT = 0x3860_0058
CODE = 0x1_0000
UNIT = 0x7100_0000
GET, PUT = 0x54, 0x58


class Console:
    """A CPU below a hypervisor with one terminal; `asked`: what Python was asked for."""

    def __init__(self, *, native: bool, waits: bool = True) -> None:
        self.rig = rig = Rig(Tier0, cpu=CPU)
        self.sent, self.asked = bytearray(), []
        self.terminal = Terminal(Clock(), UNIT, 0, IrqLine(rig.cpu, Irq.EXTERNAL))
        self.terminal.transmit = self.sent.extend
        calls = Hypercalls()
        calls.add(terminal_calls([self.terminal]))

        def hypercall() -> None:
            self.asked.append(rig.get("r3"))
            calls(rig.block)

        rig.cpu.hypercall = hypercall
        rig.memory.faces.at_leisure = waits
        rig.words(CODE, SC_1)
        if native:
            rig.engine.answer_calls(RAM_SIZE)
            rig.engine.answer_terminal(UNIT, lambda data: self.terminal.transmit(data))
            self.terminal.fell_silent = rig.engine.terminal_silent

    def call(self, number: int, *arguments: int, user: bool = False) -> None:
        self.rig.set(nia=CODE, msr=MSR_SF | (0x4000 if user else 0), r3=number)
        for n, value in enumerate(arguments):
            self.rig.block.set("gpr", value, 4 + n)
        self.rig.run(1)


def test_native_code_answers_as_the_machine_does() -> None:
    a, b = Console(native=True), Console(native=False)
    rng = random.Random(5)
    for n in range(800):
        number = rng.choice((GET, PUT, PUT))
        unit = rng.choice((0, UNIT, UNIT, UNIT, UNIT, 1, UNIT | 1 << 40))
        length = rng.choice((*range(18), 1 << 32, (1 << 64) - 1))
        given = unit, length, rng.getrandbits(64), rng.getrandbits(64)
        user, typed = rng.random() < 0.05, rng.randrange(256) if rng.random() < 0.1 else None
        for one in (a, b):
            if typed is not None:
                one.terminal.receive(typed)
            one.call(number, *given, user=user)
        assert not (d := difference(a.rig, b.rig)), (n, number, given, d)
        assert a.sent == b.sent, (n, number, given)
        assert (a.terminal.received, a.terminal.taken) == (b.terminal.received, b.terminal.taken)
    assert len(b.asked) == 800
    assert 100 < len(a.asked) < 500
    assert len(b.sent) > 2000


def loop(console: Console, count: int, length: int) -> None:
    """Let a guest print `count` times: ``li r3,0x58; sc 1; addi r14,r14,1; bdnz``."""
    rig = console.rig
    rig.words(CODE, LI_R3_PUT, SC_1, ADD, BRANCH_BACK)
    rig.set(nia=CODE, msr=MSR_SF, ctr=count, r4=0, r5=length, r6=0x6162_6364_6566_6768, r14=0)
    rig.set(r7=0x696A_6B6C_6D6E_6F70)
    rig.run(4 * count)
    assert rig.get("r14") == count


def test_characters_are_there_when_the_run_is_back_and_the_list_is_bounded() -> None:
    console = Console(native=True)
    count = 5 * DATA_SLOTS
    loop(console, count, 16)
    assert console.sent == b"abcdefghijklmnop" * count
    # Full, Python is asked once, which empties the list.
    assert 0 < len(console.asked) <= 2 * count // (DATA_SLOTS - 2) + 1


@pytest.mark.parametrize("length", [0, 1, 8, 9, 16])
def test_characters_of_a_call_come_in_order(length: int) -> None:
    console = Console(native=True)
    loop(console, 3, length)
    assert console.sent == b"abcdefghijklmnop"[:length] * 3
    assert console.asked == []


def test_where_characters_cannot_wait_python_is_asked_for_each() -> None:
    console = Console(native=True, waits=False)
    loop(console, 5, 16)
    assert console.asked == [PUT] * 5
    assert len(console.sent) == 80


def test_characters_leave_before_python_answers_another_call() -> None:
    console = Console(native=True)
    seen = []
    answer = console.rig.cpu.hypercall

    def hypercall() -> None:
        seen.append(bytes(console.sent))
        answer()

    console.rig.cpu.hypercall = hypercall
    # li r3,0x58; sc 1; li r3,0; sc 1
    console.rig.words(CODE, LI_R3_PUT, SC_1, 0x3860_0000, SC_1)
    console.rig.set(nia=CODE, msr=MSR_SF, r4=UNIT, r5=2, r6=0x6869 << 48)
    console.rig.run(4)
    assert seen == [b"hi"]


def test_a_key_ends_the_silence_also_after_a_load_and_a_reset() -> None:
    console = Console(native=True)
    heard: list[bool] = []
    terminal = console.terminal
    terminal.fell_silent = heard.append
    terminal.receive(0x61)
    terminal.receive(0x62)
    terminal.post_load(1)
    terminal.take()
    terminal.post_load(1)
    terminal.receive(0x63)
    terminal.reset()
    assert heard == [False, False, True, True, False, True]
