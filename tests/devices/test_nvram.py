"""NVRAM: stride, battery, the wire."""

from __future__ import annotations

import pytest

from gossamer.base.errors import ConfigError
from gossamer.core.clock import Clock
from gossamer.devices.nvram import SIZE, MacioNvram
from tests.devices.captures import load_body, named, save_body


def test_bytes_are_a_stride_apart_and_alias_in_between():
    nvram = MacioNvram(Clock(), b"\x70\xd9\x00\xc1")
    region = nvram.region()
    assert region.size == 0x20000
    assert [region.load(n * 8, 1) for n in range(8)] == [0x70, 0x70, 0xD9, 0xD9, 0, 0, 0xC1, 0xC1]
    region.store(0x1FFF0, 0x5A, 1)
    assert nvram.data[SIZE - 1] == 0x5A


def test_writes_are_reported_once_and_survive_a_reset():
    nvram = MacioNvram(Clock())
    written = []
    nvram.written = lambda at, value: written.append((at, value))
    nvram.region().store(0x20, 7, 1)
    nvram.region().store(0x20, 7, 1)
    nvram.reset()
    assert written == [(2, 7)]
    assert nvram.data[2] == 7


def test_content_that_is_too_long_is_refused():
    with pytest.raises(ConfigError, match="content must be at most 8192 bytes, got 8193"):
        MacioNvram(Clock(), bytes(8193))


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    for section in named(shared, "macio_nvram"):
        nvram = MacioNvram(Clock())
        load_body(nvram, section)
        assert save_body(nvram) == section.body, section
