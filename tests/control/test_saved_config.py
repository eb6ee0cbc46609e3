"""A save says what machine it is of, as data, and opens no file that its loader did not name."""

from __future__ import annotations

import copy
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control.vm import Vm
from gossamer.machines.config import Hardware
from gossamer.machines.firmware import SAVED
from gossamer.machines.options import parse
from gossamer.machines.stored import host_files, restored, stored

OLD: Final = Path(__file__).parent / "saves" / "g3beige-0.1.0.gossamer"
"""Written by 0.1.0: g3beige-1.0 after 1,000,000 instructions, with a raw disk of 1 MiB of zeros."""
OLD_HASH: Final = 0x519C7B3E3F8C1C99
SMALL: Final = ("-m", "4", "-serial", "null", "-icount", "5,sleep=off")
LINES: Final = (
    "-M bare",
    "-M bare -kernel k",
    "-M g3beige-1.0 -bios builtin -nodefaults -boot d -uuid 12345678-1234-1234-1234-1234567890ab",
    "-M g3beige -bios rom.bin -kernel k -initrd i -append x -cdrom c.iso -g 640x480x8 -name mac",
    "-M mac99,via=pmu -hda a.qcow2 -hdc b -snapshot -prom-env a=b -nographic",
    "-M mac99 -cpu g3 -usb -device usb-tablet,id=t,port=2,serial=s -device usb-kbd",
    "-M mac99 -vga none -device VGA,vgamem_mb=32,edid=off,addr=0x1f.0 -nic none",
    "-M g3beige -nic model=sungem,mac=52:54:00:00:00:07 -nic model=ne2k_pci,addr=9",
    "-M g3beige -drive if=none,id=d,file=f,format=raw,readonly=on,rerror=stop "
    "-device ide-cd,drive=d,unit=1,wwn=0x5000c50015ea71ab,ver=9 -global ide-hd.serial=x",
    "-M bare -device loader,file=a,addr=0x100 -device loader,addr=0x4000,data=7,data-len=4",
    "-M g3beige -global VGA.vgamem_mb=4 -global ne2k_pci.mac=52:54:00:00:00:08",
)


@pytest.mark.parametrize("line", LINES)
def test_what_is_stored_is_restored(line: str) -> None:
    config = parse([*SMALL, *line.split()])
    again = restored(stored(config), "x", host_files(config))
    for field in fields(Hardware):
        mine, got = getattr(config, field.name), getattr(again, field.name)
        if field.name == "bios" and not (mine or "").startswith("builtin"):
            assert got == (None if config.machine == "bare" else SAVED)
        elif field.name in ("devices", "nics"):
            plain = [[(d.driver, d.values, d.id, d.bus) for d in of] for of in (got, mine)]
            assert plain[0] == plain[1]
        else:
            assert got == mine, field.name
    assert (again.icount, again.icount_sleep, again.name) == (5, False, config.name)


def test_save_of_0_1_0_loads(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(bytes(1 << 20))
    vm = Vm.load(OLD, files={"drive0": tmp_path / "d"})
    assert (vm.state_hash(), vm.instructions) == (OLD_HASH, 1_000_000)
    assert (vm.config.full_name, vm.name, vm.config.boot) == ("g3beige-1.0", "old", "d")
    vm.close()
    with pytest.raises(ConfigError, match=r"had drive0 \(disk.img\); a save opens no file by its"):
        Vm.load(OLD)


def test_case_22_save_opens_no_file_by_itself(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(1 << 20))
    vm = Vm(parse([*SMALL, "-M", "g3beige", "-bios", "builtin", "-hda", str(secret)]))
    vm.save(tmp_path / "s")
    before = vm.state_hash()
    vm.close()
    with pytest.raises(ConfigError, match=r"drive0 \(.*secret\).*name each in files, or None"):
        Vm.load(tmp_path / "s")
    with pytest.raises(ConfigError, match=r"unknown .*file 'drive1'"):
        Vm.load(tmp_path / "s", files={"drive0": None, "drive1": secret})
    secret.rename(tmp_path / "elsewhere")
    again = Vm.load(tmp_path / "s", files={"drive0": tmp_path / "elsewhere"})
    assert again.state_hash() == before
    again.close()


def test_kernel_that_is_not_named_is_only_missed_by_a_reset(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(bytes.fromhex("60000000") * 64)
    vm = Vm(parse([*SMALL, "-M", "bare", "-kernel", str(tmp_path / "k")]))
    vm.step(10)
    vm.save(tmp_path / "s")
    for kernel in (None, tmp_path / "k"):
        again = Vm.load(tmp_path / "s", files={"kernel": kernel})
        assert again.state_hash() == vm.state_hash()


WRONG: Final[dict[str, tuple[str, Any, str]]] = {
    "machine": ("machine", "quadra", "unknown machine 'quadra'"),
    "machine's type": ("machine", 7, "machine: expected str, got 7"),
    "version": ("version", "9.9", "unknown version of g3beige '9.9'"),
    "RAM": ("ram", 1 << 50, "ram: expected 0 to"),
    "odd RAM": ("ram", (4 << 20) + 1, "RAM must be a multiple of 64 KiB"),
    "CPU": ("cpu", "68040", "unknown CPU for g3beige '68040'"),
    "property": ("properties", {"via": "pmu"}, "property 'via'"),
    "firmware": ("firmware", "/etc/passwd", "firmware: expected a guest of gossamer's own"),
    "display": ("vga", "cirrus", "unknown display adapter"),
    "drive's place": ("drives", [{"index": 9, "media": "disk", "rerror": "stop",
                                  "werror": "stop"}], "index 9"),
    "drive": ("drives", ["hda"], "drive: expected an object, got 'hda'"),
    "device": ("devices", [{"driver": "virtio"}], "driver 'virtio'"),
    "device's value": ("devices", [{"driver": "VGA", "values": {"vgamem_mb": "-1"}}], "VGA.vgamem"),
    "too many devices": ("devices", [{}] * 65, "devices: expected at most 64 entries"),
    "globals": ("defaults", {"VGA": {"addr": "zz"}}, "VGA.addr must be slot"),
    "UUID": ("uuid", "1", "uuid: expected 8-4-4-4-12 hexadecimal digits"),
    "rate": ("icount", 99, "icount: expected 0 to 10"),
    "switch": ("nic", 1, "nic: expected bool, got 1"),
    "prom_env": ("prom_env", ["x"], "prom_env: expected name=value"),
    "resolution": ("resolution", [1, 2], "resolution: expected width, height, depth"),
    "NUL": ("append", "a\0b", "append: expected at most"),
    "slots": ("files", {"drive0": 5}, "files: expected texts"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_crafted_data_is_refused_in_a_line(what: str) -> None:
    data = copy.deepcopy(stored(parse([*SMALL, "-M", "g3beige", "-bios", "builtin"])))
    key, value, message = WRONG[what]
    data[key] = value
    with pytest.raises(ConfigError) as caught:
        restored(data, "s", {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
