"""What the Power Macs here have in common: boot ROM and firmware configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.devices.fwcfg import BASE, FwCfg, mac_entries, mac_files
from gossamer.machines import boot, builtin, builtin_pic, builtin_search, builtin_usb, firmware
from gossamer.machines.config import Config
from gossamer.machines.machine import Machine

#: Guests that need no firmware, by what -bios calls them: RAM from 0 on, for (machine, Hz of TB),
#: and where they begin.
BUILT_IN: Final[dict[str, tuple[Callable[[str, int], bytes], int]]] = {
    builtin.NAME: (builtin.picture, builtin.BASE),
    builtin_pic.NAME: (builtin_pic.picture, builtin.BASE),
    builtin_usb.NAME: (builtin_usb.picture, builtin.BASE),
    builtin_search.NAME: (builtin_search.picture, builtin_search.ENTRY),
}


def add_rom(m: Machine, name: str, base: int, size: int) -> None:
    """The boot ROM: the firmware of -bios, or a built-in guest."""
    config = m.config
    if config.bios in BUILT_IN:
        if config.bios == builtin_search.NAME and not m.cpu.searches_by_software:
            raise ConfigError(f"-bios {config.bios}: runs on the 603e, got {config.cpu}")
        if config.bios == builtin_usb.NAME and config.properties.get("via") != "pmu":
            raise ConfigError(f"-bios {config.bios}: runs on mac99,via=pmu, got {config.machine}")
        picture, entry = BUILT_IN[config.bios]
        ram = picture(config.machine, m.cpu.tb_hz)
        content = builtin.rom(config.machine, m.cpu.tb_hz, size, ram, entry)
    else:
        file = firmware.find_firmware(config.bios, config.firmware_folders)
        content = firmware.load_image(file, base, size)
    m.rom(name, size, content, at=base)


def add_fw_cfg(
    m: Machine,
    config: Config,
    *,
    machine_id: int,
    tb_hz: int,
    clock_hz: int,
    bus_hz: int,
    nvram_address: int | None = None,
    via: int | None = None,
) -> FwCfg:
    """The firmware configuration; what -kernel and -initrd name is put into RAM."""
    fw_cfg = m.add("fw_cfg", FwCfg(m.clock))
    m.map(fw_cfg.control, at=BASE)
    m.map(fw_cfg.data, at=BASE + 2)
    kernel = boot.load_kernel(m)
    m.at_reset.append(lambda: boot.load_kernel(m))
    width, height, depth = config.resolution
    for key, value in mac_entries(
        ram_size=config.ram_size,
        machine_id=machine_id,
        tbfreq=tb_hz,
        clockfreq=clock_hz,
        busfreq=bus_hz,
        nographic=not config.graphic,
        width=width,
        height=height,
        depth=depth,
        kernel=kernel,
        boot_device=config.boot or boot.default_device(config),
        uuid=boot.uuid_bytes(config),
        nvram_address=nvram_address,
        via=via,
    ).items():
        fw_cfg.add(key, value)
    driver = firmware.optional_file(firmware.VGA_DRIVER, config.firmware_folders)
    for name, content in mac_files(driver).items():
        fw_cfg.add_file(name, content)
    return fw_cfg
