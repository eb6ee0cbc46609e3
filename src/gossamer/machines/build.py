"""From a configuration to a machine."""

from __future__ import annotations

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError
from gossamer.machines import registry
from gossamer.machines.config import Hardware
from gossamer.machines.drives_attach import place_drives
from gossamer.machines.machine import Machine
from gossamer.machines.rates import set_rates
from gossamer.state.declare import Compat


def build(hardware: Hardware, *, arrives: bool = False) -> Machine:
    """The machine that `hardware` describes, at power on.

    `arrives`: it is loaded before it runs, memory included; a kernel is not put there first.
    """
    made = replace(hardware, arrives=True) if arrives else hardware
    machine = registry.find(hardware.machine).compose(made)
    if arrives:
        machine.hardware = hardware
    place_drives(machine)
    set_rates(machine)
    if hardware.devices:
        from gossamer.machines.devices_attach import add_devices

        add_devices(machine)
    if any(drive.bootindex >= 0 for drive in hardware.drives) or machine.boot_indices:
        from gossamer.machines.boot_order import set_boot_order

        set_boot_order(machine)
    machine.complete()
    set_compat(machine)
    return machine


def set_compat(machine: Machine) -> None:
    """Set the compat switches of a machine newly made, as its version has them."""
    switches = machine.version.switches
    for part in machine.parts:
        chip = part.device
        for name, declared in chip.declared.items():
            if isinstance(declared, Compat) and (chip.vmsd, name) in switches:
                setattr(chip, name, switches[chip.vmsd, name])
    cpu = machine.cpu
    if cpu.searches_by_software and not cpu.has_loaded_tlbs:
        newest = f"{machine.kind.name}-{machine.kind.newest}"
        raise ConfigError(f"{machine.hardware.full_name} has no CPU {cpu.model.name}; {newest} has")
