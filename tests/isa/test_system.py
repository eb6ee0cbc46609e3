"""Supervisor instructions, special-purpose registers and interrupts, after the manuals."""

from __future__ import annotations

import pytest

from gossamer.isa.interrupts import Interrupt, Irq
from tests.isa.mini_cpu import BASE, FP, USER, MiniCpu

NS = 10**9


@pytest.fixture
def cpu() -> MiniCpu:
    return MiniCpu()


def program(cpu: MiniCpu) -> int:
    """SRR1 bits of the one program interrupt taken."""
    ((interrupt, srr1, _, _, _),) = cpu.taken
    assert interrupt is Interrupt.PROGRAM
    return srr1


# --- privilege and undefined registers ------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("mfmsr r3", "mtmsr r3", "rfi", "mtsr 3,r3", "mtsrin r3,r4", "mfsr r3,1", "mfsrin r3,r4"),
        *("tlbie r3", "tlbsync", "dcbi 0,r3", "mtspr 1008,r3", "mfspr r3,26", "mtdec r3"),
        *("mfspr r3,1023", "mtspr 1023,r3", "mttbl r3"),
    ],
)
def test_supervisor_instructions_are_privileged(cpu, text):
    cpu.regs["msr"][0] = USER
    cpu.run(text)
    assert program(cpu) == 0x0004_0000


@pytest.mark.parametrize("text", ["mfspr r3,5", "mtspr 5,r3", "mfspr r3,1000", "mtspr 268,r3"])
def test_undefined_sprs_without_the_privileged_bit_are_illegal(cpu, text):
    cpu.regs["msr"][0] = USER
    cpu.run(text)
    assert program(cpu) == 0x0008_0000


@pytest.mark.parametrize("text", ["mfspr r3,1023", "mtspr 287,r3", "mfspr r3,276", "mfspr r3,284"])
def test_undefined_sprs_do_nothing_in_supervisor_mode(cpu, text):
    cpu.gpr[3] = 77
    cpu.run(text)
    assert cpu.taken == []
    assert cpu.gpr[3] == 77
    assert cpu.regs["pvr"] == [0x0008_0301]


@pytest.mark.parametrize(
    "text", ["mfspr r3,0", "mtspr 4,r3", "mfspr r3,5", "mtspr 6,r3", "mftb r3,9"]
)
def test_power_sprs_and_odd_time_bases_are_illegal(cpu, text):
    cpu.run(text)
    assert program(cpu) == 0x0008_0000


def test_7400_has_registers_that_the_750_lacks():
    cpu = MiniCpu(("7400",))
    cpu.gpr[3] = 0x1234_5678
    cpu.run("mtspr 256,r3; mfspr r4,256; mtspr 1014,r3; mfspr r5,1014; mfspr r6,928")
    assert cpu.taken == []
    assert cpu.gpr[4:7] == [0x1234_5678, 0x1234_5678, 0]


def test_fp_unavailable(cpu):
    cpu.run("fmr f1,f2")
    assert cpu.taken == [(Interrupt.FP_UNAVAILABLE, 0, None, None, 0x100)]
    cpu.taken.clear()
    cpu.regs["msr"][0] = FP
    cpu.run("fmr f1,f2")
    assert cpu.taken == []


# --- registers that are more than storage ---------------------------------------------------------


def test_xer_keeps_its_implemented_bits(cpu):
    cpu.gpr[3] = 0xFFFF_FFFF
    cpu.run("mtxer r3; mfxer r4")
    assert cpu.gpr[4] == 0xE000_FF7F
    assert (cpu.regs["so"], cpu.regs["ov"], cpu.regs["ca"]) == ([1], [1], [1])


def test_hid0_invalidate_bits_read_back_zero(cpu):
    cpu.gpr[3] = 0x8000_CC00
    cpu.run("mtspr 1008,r3; mfspr r4,1008")
    assert cpu.gpr[4] == 0x8000_C000
    assert cpu.effects == [("translation", [])]


def test_hid1_is_read_only(cpu):
    cpu.regs["hid1"][0] = 0x7000_0000
    cpu.run("mtspr 1009,r3; mfspr r4,1009")
    assert cpu.gpr[4] == 0x7000_0000


def test_l2cr_global_invalidate_is_over_at_once(cpu):
    cpu.gpr[3] = 0x8020_0001
    cpu.run("mtspr 1017,r3; mfspr r4,1017")
    assert cpu.gpr[4] == 0x8000_0000


@pytest.mark.parametrize(
    ("threshold", "below", "tin"), [(20, 0, 1), (30, 0, 0), (20, 1, 0), (30, 1, 1), (24, 0, 0)]
)
def test_thermal_comparison_ends_at_once(cpu, threshold, below, tin):
    cpu.gpr[3] = threshold << 23 | below << 2 | 1
    cpu.gpr[4] = 1
    cpu.run("mtspr 1022,r4; mtspr 1020,r3; mfspr r5,1020")
    assert cpu.gpr[5] >> 30 == tin << 1 | 1


def test_thermal_comparison_waits_for_thrm3(cpu):
    cpu.gpr[3], cpu.gpr[4] = 20 << 23 | 1, 1
    cpu.run("mtspr 1020,r3; mfspr r5,1020; mtspr 1022,r4; mfspr r6,1020")
    assert (cpu.gpr[5] >> 30, cpu.gpr[6] >> 30) == (0, 3)


def test_user_mirrors_of_the_performance_monitor(cpu):
    cpu.gpr[3] = 0xABCD
    cpu.run("mtspr 953,r3; mtspr 955,r3; mtspr 956,r3")
    cpu.regs["msr"][0] = USER
    cpu.run("mfspr r4,937; mfspr r5,939; mfspr r6,940")
    assert cpu.taken == []
    assert cpu.gpr[4:7] == [0xABCD] * 3


def test_bats_and_segments(cpu):
    cpu.gpr[3], cpu.gpr[4] = 0x8000_1FFF, 0x3000_0000
    cpu.run("mtdbatl 2,r3; mfdbatl r5,2; mtsr 5,r3; mfsr r6,5; mtsrin r3,r4; mfsrin r7,r4")
    assert cpu.regs["dbat"][5] == cpu.gpr[5] == 0x8000_1FFF
    assert cpu.regs["sr"][3] == cpu.regs["sr"][5] == cpu.gpr[6] == cpu.gpr[7] == 0x8000_1FFF
    assert cpu.effects == [("translation", []), ("segment", [5]), ("segment", [3])]


# --- time -----------------------------------------------------------------------------------------


def test_timebase_counts_ticks_of_virtual_time(cpu):
    cpu.time = 3 * NS + 61
    cpu.run("mftb r3; mftbu r4")
    assert (cpu.gpr[4], cpu.gpr[3]) == (0, 3 * 16_600_000 + 1)


def test_timebase_does_not_overflow_after_years(cpu):
    cpu.time = 200 * 365 * 86400 * NS + 999_999_999
    expected = cpu.time * 16_600_000 // NS
    cpu.run("mftb r3; mftbu r4")
    assert cpu.gpr[4] << 32 | cpu.gpr[3] == expected


def test_writing_the_halves_of_the_timebase(cpu):
    cpu.time = 12345
    cpu.gpr[3], cpu.gpr[4] = 0xFFFF_FFFF, 7
    cpu.run("mttbl r3; mttbu r4; mftb r5; mftbu r6")
    assert (cpu.gpr[6], cpu.gpr[5]) == (7, 0xFFFF_FFFF)
    assert cpu.effects == [("timer", []), ("timer", [])]
    cpu.time += 1000
    cpu.run("mftbu r6")
    assert cpu.gpr[6] == 8


def test_decrementer_counts_down(cpu):
    cpu.gpr[3] = 1000
    cpu.run("mtdec r3")
    cpu.time = NS // 16_600  # 1000 ticks, rounded down
    cpu.run("mfdec r4")
    assert cpu.gpr[4] == 1
    cpu.time += 61
    cpu.run("mfdec r4")
    assert cpu.gpr[4] == 0
    cpu.time += 50
    cpu.run("mfdec r4")
    assert cpu.gpr[4] == 0xFFFF_FFFF
    assert cpu.regs["irq"][Irq.DECREMENTER] == 0  # counting is the alarm's business


@pytest.mark.parametrize(
    ("old", "new", "pending"),
    [
        (5, 0x8000_0000, 1),
        (5, 6, 0),
        (0x8000_0000, 0xFFFF_FFFF, 0),
        (0xFFFF_FFFF, 1, 0),
        (0, 0xFFFF_FFFF, 1),
    ],
)
def test_mtdec_raises_the_exception_when_bit_0_rises(cpu, old, new, pending):
    cpu.regs["dec_zero"][0] = old
    cpu.gpr[3] = new
    cpu.run("mtdec r3")
    assert cpu.regs["irq"][Irq.DECREMENTER] == pending
    assert cpu.effects == [("timer", [])]


# --- system linkage -------------------------------------------------------------------------------


def test_sc_returns_to_the_next_instruction(cpu):
    assert cpu.run("sc") == 0xC00
    assert cpu.taken == [(Interrupt.SYSTEM_CALL, 0, None, None, 0x104)]


def test_mtmsr_keeps_implemented_bits_and_no_le(cpu):
    cpu.gpr[3] = 0xFFFF_FFFF
    cpu.run("mtmsr r3")
    assert cpu.regs["msr"][0] == 0x0005_FF76
    assert cpu.effects == [("msr", [])]


def test_mtmsr_of_the_7400_has_vec():
    cpu = MiniCpu(("7400",))
    cpu.gpr[3] = 0xFFFF_FFFF
    cpu.run("mtmsr r3")
    assert cpu.regs["msr"][0] == 0x0205_FF76


def test_rfi_clears_pow_keeps_ile_and_drops_the_low_address_bits(cpu):
    cpu.regs["msr"][0] = 0x0005_0000
    cpu.regs["srr0"][0], cpu.regs["srr1"][0] = 0x1237, 0x0004_B032
    assert cpu.run("rfi") == 0x1234
    assert cpu.regs["msr"][0] == 0x0001_B032


def test_rfi_takes_every_implemented_bit_but_pow_and_ile(cpu):
    cpu.regs["srr1"][0] = 0xFFFF_FFFF
    cpu.run("rfi")
    assert cpu.regs["msr"][0] == 0x0000_FF76


@pytest.mark.parametrize(
    ("text", "a", "b", "trapped"),
    [
        ("tw 16,r3,r4", -1, 1, True),
        ("tw 16,r3,r4", 1, -1, False),
        ("tw 8,r3,r4", 1, -1, True),
        ("tw 4,r3,r4", 5, 5, True),
        ("tw 2,r3,r4", 1, -1, True),
        ("tw 1,r3,r4", -1, 1, True),
        ("tw 1,r3,r4", 1, -1, False),
        ("trap", 0, 1, True),
        ("twi 0,r3,5", 5, 0, False),
    ],
)
def test_traps(cpu, text, a, b, trapped):
    cpu.gpr[3], cpu.gpr[4] = a & 0xFFFF_FFFF, b & 0xFFFF_FFFF
    cpu.run(text)
    assert [t[1] for t in cpu.taken] == ([0x0002_0000] if trapped else [])


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "dsisr"),
    [
        # MPC750UM 4.5.6: instruction bits 29..30, 25, 21..24, 6..15 (D-form: 0, 5, 1..4, 6..15)
        ("lmw r30,2(r3)", 0b00_0_0111 << 10 | 30 << 5 | 3),
        ("stmw r30,2(r3)", 0b00_1_0111 << 10 | 30 << 5 | 3),
        ("lwarx r5,r3,r4", 0b00_0_0000 << 10 | 5 << 5 | 3),
        ("stwcx. r5,r3,r4", 0b10_0_0010 << 10 | 5 << 5 | 3),
        ("lfd f5,2(r3)", 0b00_0_1001 << 10 | 5 << 5 | 3),
        ("lfsux f5,r3,r4", 0b11_1_1000 << 10 | 5 << 5 | 3),
        ("stfsx f5,r3,r4", 0b11_0_1010 << 10 | 5 << 5 | 3),
    ],
)
def test_alignment_interrupt_describes_the_instruction(cpu, text, dsisr):
    cpu.regs["msr"][0] = FP
    cpu.gpr[3], cpu.gpr[4] = BASE, 2
    cpu.run(text)
    assert cpu.taken == [(Interrupt.ALIGNMENT, 0, BASE + 2, dsisr, 0x100)]


def test_unaligned_integer_accesses_are_carried_out(cpu):
    cpu.gpr[3], cpu.gpr[4] = BASE + 1, 0x0102_0304
    cpu.run("stw r4,0(r3); lwz r5,0(r3); lhz r6,2(r3)")
    assert cpu.taken == []
    assert cpu.gpr[5:7] == [0x0102_0304, 0x0304]


def test_stwcx_needs_the_reservation_of_its_address(cpu):
    cpu.gpr[3], cpu.gpr[4], cpu.gpr[6] = BASE, 7, BASE + 4
    cpu.run("stwcx. r4,0,r3")
    assert (cpu.cr >> 28, cpu.memory[:4]) == (0, bytes(4))
    cpu.run("lwarx r5,0,r3; stwcx. r4,0,r6")
    assert (cpu.cr >> 28, cpu.memory[4:8]) == (0, bytes(4))
    cpu.run("lwarx r5,0,r3; stwcx. r4,0,r3")
    assert (cpu.cr >> 28, cpu.memory[:4]) == (2, b"\0\0\0\7")
    cpu.run("stwcx. r4,0,r3")
    assert cpu.cr >> 28 == 0


def test_strings_fill_registers_from_the_left_and_wrap(cpu):
    cpu.memory[:8] = bytes(range(1, 9))
    cpu.gpr[3] = BASE
    cpu.gpr[0] = 0xFFFF_FFFF
    cpu.run("lswi r31,r3,6")
    assert (cpu.gpr[31], cpu.gpr[0]) == (0x0102_0304, 0x0506_0000)
    cpu.gpr[4] = BASE + 16
    cpu.run("stswi r31,r4,6")
    assert cpu.memory[16:24] == bytes([1, 2, 3, 4, 5, 6, 0, 0])


def test_string_of_no_bytes_touches_nothing(cpu):
    cpu.gpr[3], cpu.gpr[5] = 0, 9
    cpu.run("lswx r5,0,r3; stswx r5,0,r3")
    assert cpu.taken == []
    assert cpu.gpr[5] == 9


def test_the_longest_string_has_127_bytes_and_comes_round_to_its_base(cpu):
    cpu.memory[:127] = bytes(range(1, 128))
    cpu.gpr[3] = BASE
    cpu.regs["xer"][0] = 0xFF7F
    cpu.run("lswx r5,0,r3")
    assert cpu.taken == []
    assert cpu.gpr[5] == 0x0102_0304
    assert cpu.gpr[3:5] == [0x797A_7B7C, 0x7D7E_7F00]


def test_load_multiple_over_its_base_uses_the_old_base(cpu):
    for n in range(4):
        cpu.memory[4 * n + 3] = n + 1
    cpu.gpr[29] = BASE
    cpu.run("lmw r28,0(r29)")
    assert cpu.gpr[28:32] == [1, 2, 3, 4]


def test_update_forms_leave_ra_alone_when_the_access_faults(cpu):
    cpu.gpr[3] = BASE - 8
    cpu.run("lwzu r4,4(r3)")
    assert cpu.taken[0][0] is Interrupt.DSI
    assert cpu.gpr[3] == BASE - 8
    cpu.run("lwzu r4,8(r3)")
    assert cpu.gpr[3] == BASE


def test_dcbz_clears_the_block_around_its_address(cpu):
    cpu.memory[:96] = b"\xff" * 96
    cpu.gpr[3] = BASE + 45
    cpu.run("dcbz 0,r3")
    assert cpu.memory[:96] == b"\xff" * 32 + bytes(32) + b"\xff" * 32


@pytest.mark.parametrize(
    ("text", "dsisr"),
    [
        ("icbi 0,r3", 0x4000_0000),
        ("dcbst 0,r3", 0x4000_0000),
        ("dcbf 0,r3", 0x4000_0000),
        ("dcbi 0,r3", 0x4200_0000),
        ("dcbz 0,r3", 0x4200_0000),
    ],
)
def test_cache_instructions_translate(cpu, text, dsisr):
    cpu.gpr[3] = 0x20
    cpu.run(text)
    assert cpu.taken == [(Interrupt.DSI, 0, 0x20, dsisr, 0x100)]


@pytest.mark.parametrize("text", ["dcbt 0,r3", "dcbtst 0,r3"])
def test_cache_hints_never_fault(cpu, text):
    cpu.gpr[3] = 0x20
    cpu.run(text)
    assert cpu.taken == []


def test_tlbie_names_the_address(cpu):
    cpu.gpr[3] = 0x1234_5000
    cpu.run("tlbie r3")
    assert cpu.effects == [("tlbie", [0x1234_5000])]


def test_external_control_needs_ear(cpu):
    cpu.gpr[3] = BASE
    cpu.run("eciwx r4,0,r3")
    assert cpu.taken == [(Interrupt.DSI, 0, BASE, 0x0010_0000, 0x100)]
    cpu.taken.clear()
    cpu.gpr[5] = 0xFFFF_FFFF
    cpu.run("mtear r5; mfear r6; ecowx r5,0,r3; eciwx r4,0,r3")
    assert cpu.taken == []
    assert (cpu.gpr[4], cpu.gpr[6]) == (0xFFFF_FFFF, 0x8000_003F)


# --- floating-point memory and status -------------------------------------------------------------


@pytest.mark.parametrize(
    ("single", "double"),
    [
        (0x0000_0000, 0x0000_0000_0000_0000),
        (0x8000_0000, 0x8000_0000_0000_0000),
        (0x3F80_0000, 0x3FF0_0000_0000_0000),
        (0x0000_0001, 0x36A0_0000_0000_0000),
        (0x807F_FFFF, 0xB80F_FFFF_C000_0000),
        (0x0080_0000, 0x3810_0000_0000_0000),
        (0x7F7F_FFFF, 0x47EF_FFFF_E000_0000),
        (0xFF80_0000, 0xFFF0_0000_0000_0000),
        (0x7F80_0001, 0x7FF0_0000_2000_0000),
        (0x7FC0_0000, 0x7FF8_0000_0000_0000),
    ],
)
def test_singles_convert_by_their_bits_both_ways(cpu, single, double):
    cpu.regs["msr"][0] = FP
    cpu.memory[:4] = single.to_bytes(4, "big")
    cpu.gpr[3] = BASE
    cpu.run("lfs f1,0(r3); stfs f1,4(r3)")
    assert cpu.regs["fpr"][1] == double
    assert cpu.memory[4:8] == single.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("text", "before", "after", "taken"),
    [
        ("mtfsb1 31", 0, 1, 0),
        ("mtfsb1 1", 0, 0, 0),
        ("mtfsb1 7", 0, 0xA100_0000, 0),
        ("mtfsb1 6", 0x0200_0000, 0x0200_0000, 0),
        ("mtfsb1 20", 0, 0, 0),
        ("mtfsb0 0", 0x8000_0000, 0, 0),
        ("mtfsb0 7", 0xA100_0000, 0x8000_0000, 0),
        ("mtfsb1 24", 0xA100_0000, 0xE100_0080, 1),
        ("mtfsfi 0,9", 0, 0x9000_0000, 0),
        ("mtfsfi 0,6", 0, 0, 0),
        ("mcrfs cr3,0", 0x9000_0000, 0, 0),
        ("mcrfs cr3,5", 0xA080_0700, 0xA080_0000, 0),
        ("mtfsf 0x0f,f1", 0x8000_0000, 0xA000_5678, 0),
    ],
)
def test_fpscr_writes(cpu, text, before, after, taken):
    cpu.regs["msr"][0] = FP | 0x800
    cpu.regs["fpscr"][0] = before
    cpu.regs["fpr"][1] = 0x1234_5678
    cpu.run(text)
    assert cpu.regs["fpscr"][0] == after
    assert [t[:2] for t in cpu.taken] == [(Interrupt.PROGRAM, 0x0010_0000)] * taken
