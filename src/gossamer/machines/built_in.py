"""Guests of our own that need no firmware, by what -bios calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines import builtin, builtin_pic, builtin_search, builtin_usb
from gossamer.machines.machine import Machine

#: What is in RAM from 0 on, for (machine, Hz of TB), and where it begins.
BUILT_IN: Final[dict[str, tuple[Callable[[str, int], bytes], int]]] = {
    builtin.NAME: (builtin.picture, builtin.BASE),
    builtin_pic.NAME: (builtin_pic.picture, builtin.BASE),
    builtin_usb.NAME: (builtin_usb.picture, builtin.BASE),
    builtin_search.NAME: (builtin_search.picture, builtin_search.ENTRY),
}


def rom(m: Machine, bios: str, size: int) -> bytes | None:
    """The boot ROM with the guest called `bios`; None when none is."""
    if bios not in BUILT_IN:
        return None
    config = m.hardware
    if bios == builtin_search.NAME and not m.cpu.searches_by_software:
        raise ConfigError(f"-bios {bios}: runs on the 603e, got {config.cpu}")
    if bios == builtin_usb.NAME and config.properties.get("via") != "pmu":
        raise ConfigError(f"-bios {bios}: runs on mac99,via=pmu, got {config.machine}")
    picture, entry = BUILT_IN[bios]
    ram = picture(config.machine, m.cpu.tb_hz)
    return builtin.rom(config.machine, m.cpu.tb_hz, size, ram, entry)
