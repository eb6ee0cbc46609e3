"""A machine that will be loaded: what its load brings is not put into its RAM first."""

from __future__ import annotations

from pathlib import Path

from gossamer.devices.fwcfg import FwCfg
from gossamer.machines.build import build
from gossamer.machines.config import Config
from tests.machines.test_firmware import elf

MIB = 1 << 20


def test_machine_to_be_loaded_knows_where_its_kernel_is_and_has_an_empty_ram(
    tmp_path: Path,
) -> None:
    kernel, firmware = tmp_path / "kernel", tmp_path / "firmware"
    kernel.write_bytes(elf((0x10_0000, b"\x48\0\0\0", 0x1000)))
    firmware.write_bytes(b"\x48\0\0\0")
    config = Config(ram_size=64 * MIB, kernel=kernel, bios=str(firmware), nic=False)
    whole, empty = build(config), build(config, arrives=True)
    at = next(ra for ra in range(0, 64 * MIB, MIB) if whole.memory.read(ra, 4) == b"\x48\0\0\0")
    assert empty.memory.read(at, 4) == bytes(4)
    assert empty.hardware is config
    assert [p.title for p in empty.parts] == [p.title for p in whole.parts]
    chips = [m.part("fw_cfg") for m in (empty, whole)]
    assert all(isinstance(chip, FwCfg) for chip in chips)
    assert chips[0].entries == chips[1].entries
    empty.reset()
    assert empty.memory.read(at, 4) == b"\x48\0\0\0", "a reset loads it anew"
