"""From a configuration to a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.machines.config import Config
from gossamer.machines.drives_attach import place_drives
from gossamer.machines.versions import set_compat

if TYPE_CHECKING:
    from gossamer.machines.machine import Machine


def compose(config: Config) -> Machine:
    """The composition; what only other machines need is not imported."""
    if config.machine == "bare":
        from gossamer.machines.bare import bare

        return bare(config)
    if config.machine == "g3beige":
        from gossamer.machines.g3beige import g3beige

        return g3beige(config)
    from gossamer.machines.mac99 import mac99

    assert config.machine == "mac99", config.machine
    return mac99(config)


def build(config: Config) -> Machine:
    """The machine that `config` describes, at power on."""
    machine = compose(config)
    place_drives(machine)
    if config.devices:
        from gossamer.machines.devices_attach import add_devices

        add_devices(machine)
    set_compat(machine)
    return machine
