"""KeyLargo's GPIO cell."""

from __future__ import annotations

import random

import pytest

from gossamer.base.errors import ConfigError
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.gpio import NMI_PIN, PMU_PIN, Gpio
from gossamer.state.transfer import OURS
from tests.devices.captures import load_body, named, save_body


@pytest.fixture
def rig():
    lines = {PMU_PIN: IrqLine(), NMI_PIN: IrqLine()}
    return Gpio(Clock(), lines), lines


def test_active_pin_is_low_and_interrupts(rig):
    gpio, lines = rig
    assert gpio.read_gpio(9, 1) == 0x02
    gpio.input_changed(PMU_PIN, True)
    assert gpio.read_gpio(9, 1) & 0x02 == 0
    assert lines[PMU_PIN].level
    gpio.input_changed(PMU_PIN, False)
    assert gpio.read_gpio(9, 1) & 0x02
    assert not lines[PMU_PIN].level


def test_guest_cannot_drive_a_wired_pin_but_reads_back_an_output(rig):
    gpio, lines = rig
    gpio.write_gpio(9, 1, 0x04)
    assert not lines[PMU_PIN].level
    assert gpio.read_gpio(9, 1) == 0x06
    gpio.write_gpio(8 + 20, 1, 0x05)
    assert gpio.read_gpio(8 + 20, 1) == 0x07
    gpio.write_gpio(8 + 20, 1, 0x04)
    assert gpio.read_gpio(8 + 20, 1) == 0x04


def test_registers_after_reset_are_those_of_qemu(rig):
    gpio, _ = rig
    assert [gpio.read_gpio(n, 1) for n in range(0x30)] == [0] * 9 + [0x02] + [0] * 38


def test_switch_gives_one_edge(rig):
    gpio, lines = rig
    seen = []

    class Sink:
        def input_changed(self, pin, level):
            seen.append((pin, level))

        input_assigned = input_changed

    lines[NMI_PIN].connect(Sink(), 0x37)
    gpio.nmi()
    assert seen == [(0x37, True), (0x37, False)]
    gpio.resume()
    assert seen[2:] == [(0x37, False)]


def test_a_line_on_a_pin_without_interrupt_is_refused():
    with pytest.raises(ConfigError, match=r"gpio: pins \(1, 9\) can interrupt, got 3"):
        Gpio(Clock(), {3: IrqLine()})


def test_reset_keeps_what_inputs_are_driven_to(rig):
    gpio, lines = rig
    gpio.input_changed(PMU_PIN, True)
    gpio.write_gpio(8 + 20, 1, 0x05)
    gpio.reset()
    assert lines[PMU_PIN].level
    assert gpio.read_gpio(9, 1) == 0
    assert not gpio.read_gpio(8 + 20, 1) & 0x05


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "macio_gpio")
    assert len(found) >= 2
    for section in found:
        gpio = Gpio(Clock(), {PMU_PIN: IrqLine()})
        load_body(gpio, section)
        gpio.resume()
        assert save_body(gpio, OURS) == section.body, section


def test_random_accesses_leave_a_state_that_can_be_saved(rig):
    gpio, _ = rig
    region, random_ = gpio.region(), random.Random(2)
    for _ in range(10_000):
        offset, size = random_.randrange(0x30), random_.choice((1, 2, 4))
        if random_.random() < 0.5:
            region.load(offset, size)
        else:
            region.store(offset, random_.getrandbits(8 * size), size)
    assert len(save_body(gpio, OURS)) == 44
