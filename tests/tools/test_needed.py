"""A subsection is sent whenever one of its fields says something: `needed` forgets none of them.

Each field of a subsection gets another value while all others are as at power on; a load must find
it again.  Cuts do not show this: what a guest does makes several fields differ at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gossamer.base.errors import GossamerError
from gossamer.control.vm import Vm
from gossamer.machines import builtin
from gossamer.machines.options import parse
from gossamer.state.declare import State
from gossamer.tools.verify_cuts_drop import Field, attribute_field
from gossamer.tools.verify_cuts_fields import objects

#: Fields that mean nothing while another one of the same subsection is as at power on.
IDLE = {
    "macio/dbdma.channels[*].step": "the channel does nothing (stage)",
    "macio/escc.chn[*].tx_shift": "nothing is being sent",
    "macio/escc.chn[*].rx_fifo": "nothing is in it (rx_count)",
    "macio/escc.chn[*].rx_errors": "nothing is in it (rx_count)",
    "macio/escc.chn[*].ext_status": "no change is latched (ext_pending)",
    "macio/ide0.bus.retry_sector_num": "no request is to be repeated",
    "macio/ide0.bus.retry_nsector": "no request is to be repeated",
    "macio/ide0.bus.retry_unit": "no request is to be repeated",
    "macio/ide1.bus.retry_sector_num": "no request is to be repeated",
    "macio/ide1.bus.retry_nsector": "no request is to be repeated",
    "macio/ide1.bus.retry_unit": "no request is to be repeated",
    "macio/pmu.adb_timer": "nothing is on ADB (adb_phase)",
    "macio/pmu.adb_packet_size": "nothing is on ADB (adb_phase)",
    "macio/pmu.adb_packet": "nothing is on ADB (adb_phase)",
    "pci/usb/keyboard.last_report": "no idle time is set",
    "pci/usb/mouse.last_report": "no idle time is set",
    "pci/usb/keyboard.dev.reply": "no control transfer is under way (setup_state)",
    "pci/usb/mouse.dev.reply": "no control transfer is under way (setup_state)",
}
#: The same on a PMU that has no ADB.
WITHOUT_ADB = {"macio/pmu.adb_reply_size", "macio/pmu.adb_reply"}


def fields(vm: Vm) -> Iterator[Field]:
    """Those of subsections; of an array of objects those of the first."""
    seen = set()
    for path, owner in objects(vm.machine):
        for declared in owner.declared.values():
            if isinstance(declared, State) and declared.within is not None:
                field = attribute_field(path, declared)
                if field.declared not in seen:
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


@pytest.mark.parametrize(
    "machine",
    [
        "g3beige",
        pytest.param("mac99", marks=pytest.mark.slow),
        "mac99,via=pmu",
        pytest.param("mac99,via=pmu-adb", marks=pytest.mark.slow),
    ],
)
def test_each_field_of_a_subsection_makes_it_needed(machine: str) -> None:
    quiet = ("-nographic", "-serial", "null", "-rtc", "base=2001-09-09", "-icount", "5,sleep=off")
    vm = Vm(parse(["-M", machine, "-m", "8", *quiet, "-bios", builtin.NAME]))
    found = list(fields(vm))
    assert len(found) > 30
    lost = {field.declared for field in found if not carried(vm, field)}
    known = IDLE.keys() | (WITHOUT_ADB if machine == "mac99,via=pmu" else set())
    assert lost == {field.declared for field in found} & known
