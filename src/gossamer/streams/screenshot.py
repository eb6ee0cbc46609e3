"""The picture that a saved machine shows, without starting it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Final

import numpy as np

from gossamer.base.errors import ConfigError
from gossamer.control.picture import Picture
from gossamer.devices.vga.render import render
from gossamer.devices.vga.shown import Shown
from gossamer.migrate.framing import Section
from gossamer.migrate.pages import RamLoader, mapped_pages
from gossamer.migrate.ram import Block, BlockList, Record, Run
from gossamer.migrate.value_tree import Leaf, Struct
from gossamer.streams import layouts
from gossamer.streams.open import Input, read_stream
from gossamer.streams.patient import Patient, integer, leaf

MOST: Final = 256 << 20
"""Bytes of video memory."""
_LENGTHS: Final = {"sr": 8, "gr": 16, "cr": 256, "ar": 21, "palette": 768, "vbe_regs": 10}
_NUMBERS: Final = ("ar_index", "vbe_line_offset", "vbe_start_addr")


class _Video:
    """The video memory of a stream, as its records come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.block: Block | None = None
        self.memory = np.zeros(0, np.uint8)
        self._load: RamLoader | None = None

    def __call__(self, _section: Section, record: Record) -> None:
        if isinstance(record, BlockList):
            for block in record.blocks:
                if block.name.endswith("vga.vram"):
                    self._begin(block)
        elif isinstance(record, Run) and self._load and record.block.name == self.block_name:
            self._load(record)

    @property
    def block_name(self) -> str:
        return "" if self.block is None else self.block.name

    def _begin(self, block: Block) -> None:
        if not 0 < block.length <= MOST or block.length % 4096:
            raise ConfigError(
                f"{self.name}: {block.name}: expected up to {MOST} bytes, got {block.length}"
            )
        self.block, self.memory = block, np.zeros(block.length, np.uint8)
        self._load = RamLoader({block.name: self.memory})


def picture(given: Input, machine: str | None = None) -> Picture:
    """What the display of the machine in a stream shows; ConfigError where there is none."""
    video = _Video(given.name)
    stream = read_stream(given, on_ram=video, schema=lambda c: layouts.for_machine(c, machine))
    if video.block is None:
        raise ConfigError(f"{given.name}: the machine in it has no display")
    if video.block.mapped is not None:
        loader = RamLoader({video.block.name: video.memory})
        for run in mapped_pages(stream.file, video.block):
            loader(run)
    return Picture(*render(_registers(Patient.of(stream, machine), given.name), video.memory))


def _registers(patient: Patient, name: str) -> Shown:
    found = next((tree for _, tree in patient.named("vga") if leaf(tree, "palette")), None)
    found = found or next(
        (tree for _, tree in patient.named("vga-common") if leaf(tree, "palette")), None
    )
    if found is None:
        raise ConfigError(f"{name}: its description has no registers of a display: give --machine")
    values: dict[str, object] = {"big_endian_fb": _big_endian(found)}
    for key, length in _LENGTHS.items():
        value = getattr(leaf(found, key), "value", None)
        if not isinstance(value, bytes | tuple) or len(value) != length:
            raise ConfigError(f"{name}: vga.{key}: expected {length} values, got {value!r:.40}")
        values[key] = value
    for key in _NUMBERS:
        number = integer(found, key)
        if number is None:
            raise ConfigError(f"{name}: vga.{key}: expected a number")
        values[key] = number
    return Shown.of(SimpleNamespace(**values))


def _big_endian(vga: Struct) -> bool:
    """The byte order, which is sent only where it is not the usual one."""
    for sub in vga.subsections:
        for member in sub.members:
            if isinstance(member, Leaf) and member.name == "big_endian_fb":
                return bool(member.value)
    return True
