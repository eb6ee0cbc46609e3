"""Each declared field comes through a save and a load by itself.

It gets another value while all others are as at power on.  A `needed` that forgets a field of its
subsection, or an alarm that the load arms anew, does not show in cuts: what a guest does makes
several fields differ at once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from gossamer.base.errors import GossamerError
from gossamer.control.vm import Vm
from gossamer.machines.guests import watcher
from gossamer.machines.options import parse
from gossamer.verify.cuts.drop import Field, all_fields, configuration, excuse_file, excuses

#: Fields that mean nothing while another one is as at power on, beside those that `--drop` excuses.
IDLE = {
    "macio/dbdma.channels[*].step": "the channel does nothing (stage)",
    "macio/escc.chn[*].tx_shift": "nothing is being sent",
    "macio/escc.chn[*].rx_fifo": "nothing is in it (rx_count)",
    "macio/escc.chn[*].rx_errors": "nothing is in it (rx_count)",
    "macio/openpic.timers[*].load_time": "the timer does not run",
    "macio/openpic.timer_sources[*].destmask": "it follows idr",
    "macio/openpic.timer_sources[*].last_cpu": "there is one CPU",
    "macio/escc.chn[*].ext_status": "no change is latched (ext_pending)",
    "macio/pmu.adb_timer": "nothing is on ADB (adb_phase)",
    "macio/pmu.adb_packet_size": "nothing is on ADB (adb_phase)",
    "macio/pmu.adb_packet": "nothing is on ADB (adb_phase)",
    "pci/usb/keyboard.dev.reply": "no control transfer is under way (setup_state)",
    "pci/usb/mouse.dev.reply": "no control transfer is under way (setup_state)",
}

#: Of an IDE drive, likewise: its command's progress, and what IDENTIFY made.
DRIVE_IDLE = {
    "identify_data": "the drive was not identified (identify_set)",
    **dict.fromkeys(
        (
            "cur_io_buffer_len", "cur_io_buffer_offset", "elementary_transfer_size",
            "end_transfer_fn_idx", "io_buffer", "left", "op", "packet_transfer_size", "position",
            "req_nb_sectors", "staged", "timer", "unit_bytes",
        ),
        "no command is under way (stage)",
    ),
}  # fmt: skip
IDLE |= {
    f"macio/ide{cell}.bus.ifs[*].{name}": why
    for cell in range(2)
    for name, why in DRIVE_IDLE.items()
}


def fields(vm: Vm) -> Iterator[Field]:
    """Of an array of objects those of the first."""
    seen = set()
    for field in all_fields(vm.machine):
        if field.declared not in seen and field.probes(vm.machine):
            seen.add(field.declared)
            yield field


def carried(vm: Vm, field: Field) -> bool:
    """Whether a value of `field` alone comes through a save and a load."""
    before = field.read(vm.machine)
    for value in field.probes(vm.machine):
        field.write(vm.machine, value)
        stream = vm.save_bytes()
        field.write(vm.machine, before)
        other = Vm(vm.config)
        try:
            other.load_bytes(stream)
        except GossamerError:
            continue
        if field.read(other.machine) == value:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["g3beige", "mac99", "mac99,via=pmu", "mac99,via=pmu-adb"])
def test_each_field_comes_through_alone(machine: str) -> None:
    quiet = ("-nographic", "-serial", "null", "-rtc", "base=2001-09-09", "-icount", "5,sleep=off")
    vm = Vm(parse(["-M", machine, "-m", "8", *quiet, "-bios", watcher.NAME]))
    found = {field.declared: field for field in fields(vm)}
    assert len(found) > 200
    lost = set()
    for n, (name, field) in enumerate(found.items()):
        if not n % 8:
            gc.collect()  # the machines of the fields before: some hundred MB
        if not carried(vm, field):
            lost.add(name)
    excused = excuses(excuse_file(), configuration(vm.config)).keys()
    assert lost - excused == (found.keys() & IDLE.keys()) - excused
