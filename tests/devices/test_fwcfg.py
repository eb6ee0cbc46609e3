"""The firmware configuration device and what the two machines put into it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.base.wire import WireWriter
from gossamer.core.clock import Clock
from gossamer.core.memory import AddressMap, Arena
from gossamer.devices.fwcfg import BASE, FwCfg, Kernel, mac_entries, mac_files
from gossamer.state.describe import describe
from gossamer.state.transfer import save
from tests.devices.captures import QEMU, load_body, named, save_body
from tests.devices.qtest import Qtest

MHZ = 1_000_000


def machine(**kw: object) -> tuple[AddressMap, FwCfg]:
    fw = FwCfg(Clock())
    for key, value in mac_entries(
        **{"ram_size": 128 << 20, "machine_id": 2, "tbfreq": 16_600_000, "busfreq": 66 * MHZ,
           "clockfreq": 266 * MHZ} | kw
    ).items():  # fmt: skip
        fw.add(key, value)
    for name, content in mac_files().items():
        fw.add_file(name, content)
    ra = AddressMap(Arena(4096))
    ra.map(fw.control, BASE)
    ra.map(fw.data, BASE + 2)
    return ra, fw


def entry(ra, key: int, n: int) -> bytes:
    ra.store(BASE, key, 2)
    return bytes(ra.load(BASE + 2, 1) for _ in range(n))


def test_signature_and_reading_past_the_end():
    ra, fw = machine()
    assert entry(ra, 0, 6) == b"QEMU\0\0"
    assert fw.cur_offset == 4
    assert entry(ra, 0x4000, 4) == b"QEMU"


def test_selector_takes_half_words_only_and_data_cannot_be_written():
    ra, _ = machine()
    ra.store(BASE, 0, 2)
    ra.store(BASE, 5, 1)
    ra.store(BASE + 2, 0x55, 1)
    assert bytes(ra.load(BASE + 2, 1) for _ in range(4)) == b"QEMU"
    assert ra.load(BASE, 2) == 0


def test_unknown_keys_give_zeros():
    ra, fw = machine()
    assert entry(ra, 0x999, 4) == bytes(4)
    assert fw.cur_entry == 0xFFFF
    assert entry(ra, 0x3F, 4) == bytes(4)
    assert fw.cur_entry == 0x3F


def test_files_are_listed_in_order_of_their_names():
    ra, fw = machine()
    fw.add_file("ndrv/qemu_vga.ndrv", b"Joy!")
    listing = entry(ra, 0x19, 4 + 4 * 64)
    assert listing[:4] == (4).to_bytes(4, "big")
    last = listing[4 + 3 * 64 :]
    assert last[:8] == bytes.fromhex("00000004 0023 0000")
    assert last[8:].rstrip(b"\0") == b"ndrv/qemu_vga.ndrv"
    assert entry(ra, 0x23, 4) == b"Joy!"
    with pytest.raises(ConfigError, match="no room for the file"):
        fw.add_file("x" * 56, b"")


def test_kernel_decides_the_boot_device():
    ra, _ = machine(kernel=Kernel(0x1000000, 0x7EF0AC, 0x18F1000, 0x18F0000, 3000))
    assert entry(ra, 7, 4) == b"\0\0\0\x01"
    assert entry(ra, 0xC, 2) == b"m\0"


@pytest.mark.parametrize(
    ("name", "options", "given"),
    [
        ("g3beige", ("-m", "128"), {"nographic": False}),
        ("g3beige", ("-m", "256", "-nographic", "-g", "640x480x8"),
         {"ram_size": 256 << 20, "width": 640, "height": 480, "depth": 8}),
        ("mac99,via=pmu", ("-m", "128", "-boot", "d"),
         {"nographic": False, "machine_id": 1, "tbfreq": 100 * MHZ, "busfreq": 100 * MHZ,
          "clockfreq": 900 * MHZ, "nvram_address": 0xFFF04000, "via": 1, "boot_device": "d"}),
    ],
)  # fmt: skip
def test_entries_are_those_of_qemu(qemu: Path, name: str, options: tuple[str, ...], given: dict):
    ra, _ = machine(**given)
    with Qtest(qemu, "-M", name, *options) as real:
        for key in (*range(0x40), *range(0x8000, 0x8010)):
            assert entry(ra, key, 24) == entry(real, key, 24), hex(key)
        assert entry(ra, 0x19, 300) == entry(real, 0x19, 300)


def test_random_accesses_never_raise_and_always_save():
    ra, fw = machine()
    rnd = random.Random(5)
    for _ in range(10_000):
        size = rnd.choice([1, 2, 4])
        if rnd.random() < 0.5:
            ra.load(BASE + rnd.randrange(3), size)
        else:
            ra.store(BASE + rnd.randrange(3), rnd.getrandbits(8 * size), size)
    save(fw, WireWriter())


def test_capture_sections_load_and_save_byte_for_byte(shared: Path):
    found = named(shared, "fw_cfg")
    assert len(found) >= 10
    for section in found:
        _, fw = machine()
        load_body(fw, section)
        assert save_body(fw) == section.body, section
        ours = describe(fw, QEMU)
        assert ours == {key: section.description[key] for key in ours}, section
