"""What the Power Macs here have in common: boot ROM and firmware configuration."""

from __future__ import annotations

from gossamer.base.data import replace
from gossamer.devices.fwcfg import BASE, BOOT_DEVICE, PPC_TBFREQ, FwCfg, mac_entries, mac_files
from gossamer.machines import boot, firmware
from gossamer.machines.machine import Machine


def add_rom(m: Machine, name: str, base: int, size: int) -> None:
    """The boot ROM: the firmware of -bios, or a built-in guest."""
    bios = m.hardware.bios
    found = None
    if bios == firmware.SAVED:
        found = firmware.Segment(base, b"")
    elif bios is not None and bios.startswith(firmware.BUILT_IN):
        from gossamer.machines.guests import catalogue

        content = catalogue.rom(m, bios, size)
        found = None if content is None else firmware.Segment(base, content)
    if found is None:
        file = firmware.find_firmware(bios, m.hardware.firmware_folders)
        found = firmware.load_image(file, base, size)
    m.rom(name, size, found.data, at=base, start=found.ra - base)


def add_fw_cfg(
    m: Machine,
    *,
    machine_id: int,
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
    hardware = m.hardware
    width, height, depth = hardware.resolution
    for key, value in mac_entries(
        ram_size=hardware.ram_size,
        machine_id=machine_id,
        tbfreq=m.cpu.tb_hz,
        clockfreq=clock_hz,
        busfreq=bus_hz,
        nographic=not hardware.graphic,
        width=width,
        height=height,
        depth=depth,
        kernel=kernel,
        boot_device=hardware.boot_once or hardware.boot or boot.default_device(hardware),
        uuid=boot.uuid_bytes(hardware),
        nvram_address=nvram_address,
        via=via,
    ).items():
        fw_cfg.add(key, value)
    fw_cfg.add_live(PPC_TBFREQ, lambda: m.cpu.tb_hz)
    m.boot_from = lambda device: fw_cfg.add(BOOT_DEVICE, ord(device[0]).to_bytes(2, "little"))
    if hardware.boot_once and kernel is None:
        m.booted = lambda: _boot_again(m)
        m.at_reset.append(m.booted)
    for name, text, path in hardware.fw_cfg:
        content = (
            firmware.read_file(path, what="file of -fw_cfg") if path else (text or "").encode()
        )
        fw_cfg.add_file(name, content)
    driver = firmware.optional_file(firmware.VGA_DRIVER, hardware.firmware_folders)
    for name, content in mac_files(driver).items():
        fw_cfg.add_file(name, content)
    return fw_cfg


def _boot_again(m: Machine) -> None:
    """What -boot once= says is over."""
    m.hardware = replace(m.hardware, boot_once="")
    assert m.boot_from is not None
    m.boot_from(m.hardware.boot or boot.default_device(m.hardware))
