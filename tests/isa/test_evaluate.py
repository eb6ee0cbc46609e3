"""The order in which a body's statements take effect (docstring of `isa.body`)."""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.evaluate import evaluate, execute
from gossamer.isa.expr import Expr, const, eq, select, zext
from gossamer.isa.interrupts import Access, Interrupt
from tests.isa.mini_cpu import BASE, MiniCpu


def run(build, **gprs) -> MiniCpu:
    cpu = MiniCpu()
    for name, value in gprs.items():
        cpu.gpr[int(name[1:])] = value
    s = Body(32)
    build(s)
    cpu.cia = 0x100
    cpu.target = execute(s.trace, cpu)
    return cpu


def test_reads_see_the_state_before():
    def swap(s):
        s.gpr[1] = s.gpr[2]
        s.gpr[2] = s.gpr[1]

    cpu = run(swap, r1=10, r2=20)
    assert cpu.gpr[1:3] == [20, 10]
    assert cpu.target == 0x104


def test_the_later_of_two_writes_wins():
    def twice(s):
        s.gpr[1] = 1
        s.gpr[1] = 2

    assert run(twice).gpr[1] == 2


def test_branch_target_is_read_before_writes():
    def bctrl(s):
        s.branch(s.lr)
        s.lr = s.cia + 4

    cpu = MiniCpu()
    cpu.regs["lr"][0] = 0x203
    s = Body(32)
    bctrl(s)
    cpu.cia = 0x100
    assert execute(s.trace, cpu) == 0x200
    assert cpu.regs["lr"][0] == 0x104


def test_a_faulting_load_writes_nothing():
    def load(s):
        s.gpr[1] = s.load(s.gpr[2], 4)
        s.gpr[2] = 7

    cpu = run(load, r1=1, r2=BASE - 4)
    assert cpu.gpr[1:3] == [1, BASE - 4]
    assert cpu.taken == [(Interrupt.DSI, 0, BASE - 4, 0x4000_0000, 0x100)]
    assert cpu.target == 0x300


def test_a_load_is_carried_out_once():
    count = []

    class Counting(MiniCpu):
        def load(self, ea, size):
            count.append(ea)
            return 5

    s = Body(32)
    value = s.load(const(BASE, 32), 4)
    s.gpr[1] = value + value
    s.gpr[2] = value
    cpu = Counting()
    execute(s.trace, cpu)
    assert count == [BASE]
    assert cpu.gpr[1:3] == [10, 5]


def test_a_raise_ends_the_instruction_with_nothing_written():
    def trap(s):
        s.gpr[1] = 9
        s.interrupt(Interrupt.PROGRAM, eq(s.gpr[2], 1), 0x2_0000)
        s.store(const(BASE, 32), s.gpr[2], 4)

    cpu = run(trap, r2=1)
    assert cpu.gpr[1] == 0
    assert cpu.memory[:4] == bytes(4)
    assert cpu.taken == [(Interrupt.PROGRAM, 0x2_0000, None, None, 0x100)]
    assert run(trap, r2=2).gpr[1] == 9


def test_a_committing_raise_keeps_the_writes_and_drops_effects():
    def call(s):
        s.gpr[1] = 9
        s.effect("tlb")
        s.interrupt(Interrupt.SYSTEM_CALL, commit=True, after=True)

    cpu = run(call)
    assert cpu.gpr[1] == 9
    assert cpu.effects == []
    assert cpu.taken == [(Interrupt.SYSTEM_CALL, 0, None, None, 0x104)]


def test_a_committing_raise_is_decided_before_the_writes():
    def flip(s):
        s.gpr[1] = 1
        s.interrupt(Interrupt.PROGRAM, eq(s.gpr[1], 0), commit=True)

    assert len(run(flip).taken) == 1


def test_when_runs_only_one_side_and_commits_before_the_outer_writes():
    def body(s):
        s.gpr[3] = s.gpr[1]
        with s.when(eq(s.gpr[2], 1)):
            s.gpr[1] = 50
            s.effect("tlb")

    cpu = run(body, r1=4, r2=1)
    assert (cpu.gpr[1], cpu.gpr[3], cpu.effects) == (50, 4, [("tlb", [])])
    cpu = run(body, r1=4, r2=0)
    assert (cpu.gpr[1], cpu.gpr[3], cpu.effects) == (4, 4, [])


def test_loop_iterations_see_each_other_but_not_a_moved_base():
    def fill(s):
        base = s.gpr[1]
        s.probe(base, 16, Access.WRITE)

        def one(k: Expr) -> None:
            s.store(base + (k << 2), k, 4)
            s.gpr[1] = s.gpr[1] + 1

        s.loop(4, one)

    cpu = run(fill, r1=BASE)
    assert cpu.gpr[1] == BASE + 4
    assert [cpu.memory[4 * n + 3] for n in range(4)] == [0, 1, 2, 3]


def test_a_probe_that_fails_stores_nothing():
    def body(s):
        s.probe(s.gpr[1], 8, Access.WRITE)
        s.store(s.gpr[1], s.gpr[2], 4)

    cpu = run(body, r1=BASE + 0xFFC, r2=1)
    assert cpu.memory[-4:] == bytes(4)
    assert cpu.taken[0][:4] == (Interrupt.DSI, 0, BASE + 0xFFC, 0x4200_0000)


def test_ram_is_read_and_written_by_real_address():
    def body(s):
        s.gpr[1] = s.ram(const(8, 32))
        s.ram_store(const(12, 32), s.gpr[2], 4)

    cpu = MiniCpu()
    cpu.memory[8:12] = (77).to_bytes(4, "big")
    cpu.gpr[2] = 5
    s = Body(32)
    body(s)
    execute(s.trace, cpu)
    assert cpu.gpr[1] == 77
    assert cpu.memory[12:16] == b"\0\0\0\5"


def test_select_is_lazy_in_its_sides():
    cpu = MiniCpu()
    bad = Expr("udiv", 32, (const(1, 32), Expr("reg", 32, (const(5, 32),), "gpr")))
    chosen = select(eq(Expr("reg", 32, (const(5, 32),), "gpr"), 0), const(3, 32), bad)
    assert evaluate(chosen, cpu, {}) == 3


def test_parameters_and_time_reach_expressions():
    cpu = MiniCpu()
    cpu.time = 9
    total = Expr("arg", 64, (), 1) + Expr("now", 64) + zext(Expr("cia", 32), 64)
    cpu.cia = 100
    assert evaluate(total, cpu, {}, (0, 1000)) == 1109
