"""Guests of our own that need no firmware, by what -bios calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.guests import hostile, pic, screen, search, usb, watcher
from gossamer.machines.machine import Machine

#: What is in RAM from 0 on, for (machine, Hz of TB), and where it begins.
BUILT_IN: Final[dict[str, tuple[Callable[[str, int], bytes], int]]] = {
    watcher.NAME: (watcher.picture, watcher.BASE),
    pic.NAME: (pic.picture, watcher.BASE),
    usb.NAME: (usb.picture, watcher.BASE),
    screen.NAME: (screen.picture, watcher.BASE),
    search.NAME: (search.picture, search.ENTRY),
}


def rom(m: Machine, bios: str, size: int) -> bytes | None:
    """The boot ROM with the guest called `bios`; None when none is."""
    if bios == hostile.NAME:
        return hostile.rom(m.hardware.machine, m.cpu.tb_hz, size)
    if bios not in BUILT_IN:
        return None
    config = m.hardware
    if bios == search.NAME and not m.cpu.searches_by_software:
        raise ConfigError(f"-bios {bios}: runs on the 603e, got {config.cpu}")
    if bios == usb.NAME and config.properties.get("via") != "pmu":
        raise ConfigError(f"-bios {bios}: runs on mac99,via=pmu, got {config.machine}")
    picture, entry = BUILT_IN[bios]
    ram = picture(config.machine, m.cpu.tb_hz)
    return watcher.rom(config.machine, m.cpu.tb_hz, size, ram, entry)
