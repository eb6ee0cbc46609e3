"""Several CPUs of a pseries: they wait, wake, pass their turn and stop."""

from __future__ import annotations

import pytest

from gossamer.devices.spapr import processor_calls as calls
from gossamer.devices.spapr.processor_calls import ProcessorCalls
from gossamer.devices.spapr.vcpus import LPCR_ILE, MSR_EE, MSR_ME
from gossamer.devices.spapr.xics import H_IPI, H_IPOLL, H_XIRR, xics_calls
from gossamer.isa.architecture import MSR_SF
from tests.devices.spapr.rig import Rig

EVERY_CPU = (1 << 64) - 1
AREA = 0x4_0000


@pytest.fixture
def two() -> Rig:
    made = Rig(2)
    made.add(ProcessorCalls(made.ram, made.vcpus, modern=True).handlers())
    made.add(xics_calls(made.ics, lambda: made.vcpus.caller.icp))
    return made


def halted(rig: Rig) -> list[int]:
    return [one.regs.get("halted") for one in rig.vcpus.members]


def test_a_prod_wakes_and_is_kept_for_one_that_does_not_wait(two: Rig) -> None:
    assert two.call(calls.H_CEDE)[0] == 0
    assert halted(two) == [1, 0]
    assert two.regs.get("msr") & MSR_EE
    two.turn = 1
    assert two.call(calls.H_PROD, 0)[0] == 0
    assert halted(two) == [0, 0]
    assert two.call(calls.H_PROD, 1)[0] == 0
    assert two.call(calls.H_CEDE)[0] == 0
    assert halted(two) == [0, 0], "it was prodded"
    assert two.call(calls.H_CEDE)[0] == 0
    assert halted(two) == [0, 1]
    assert two.call(calls.H_PROD, 2)[0] == -4


def test_confer_passes_the_turn_to_one_that_does_not_run(two: Rig) -> None:
    assert two.call(calls.H_CONFER, EVERY_CPU)[0] == 0
    assert two.passed == 1
    assert two.call(calls.H_CONFER, 2)[0] == -4
    assert two.call(calls.H_CONFER, 1, 5)[0] == 0
    assert two.passed == 1, "it has no VPA"
    two.memory.write(AREA + 4, b"\x02\x80")
    assert two.call(calls.H_REGISTER_VPA, calls.VPA, 1, AREA)[0] == 0
    two.memory.write(AREA + calls.VPA_DISPATCHES_AT, (5).to_bytes(4, "big"))
    for seen, passed in ((3, 1), (4, 1), (5, 2)):
        assert two.call(calls.H_CONFER, 1, seen)[0] == 0
        assert two.passed == passed
    assert two.call(calls.H_CONFER, 0)[0] == 0
    assert halted(two) == [1, 0], "to itself: until it is prodded"
    assert two.vcpus.members[0].stopped


def test_the_last_one_does_not_join(two: Rig) -> None:
    two.regs.set("msr", MSR_EE)
    assert two.call(calls.H_JOIN)[0] == 16
    two.regs.set("msr", 0)
    assert two.call(calls.H_JOIN)[0] == 0
    assert halted(two) == [1, 0]
    two.turn = 1
    assert two.call(calls.H_JOIN)[0] == 18
    assert halted(two) == [1, 0]


def test_a_started_cpu_takes_over_time_and_where_interrupts_go(two: Rig) -> None:
    first, second = two.vcpus.members
    second.stop()
    assert two.call(calls.H_SET_MODE, 1, calls.ENDIAN)[0] == 0
    assert second.regs.get("lpcr") == LPCR_ILE
    second.regs.set("lpcr", 8)
    first.regs.set("tb_offset", 77)
    second.start(first, 0x1_0000_2000, 9)
    assert halted(two) == [0, 0]
    wanted = {"nia": 0x1_0000_2000, "msr": MSR_SF | MSR_ME, "lpcr": LPCR_ILE | 8, "tb_offset": 77}
    assert {name: second.regs.get(name) for name in wanted} == wanted
    assert second.regs.get("gpr", 3) == 9


def test_each_has_its_own_interrupts(two: Rig) -> None:
    for one in two.vcpus.members:
        one.icp.set_cppr(0xFF)
    assert two.call(H_IPI, 1, 4)[0] == 0
    assert two.call(H_XIRR)[1][0] == 0xFF00_0000
    assert two.call(H_IPOLL, 1)[1][:2] == [0xFF00_0002, 4]
    two.turn = 1
    assert two.call(H_XIRR)[1][0] == 0xFF00_0002
    assert two.call(H_IPI, 2, 4)[0] == -4
