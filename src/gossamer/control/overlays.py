"""External snapshots: a disk goes on in a new qcow2 image, above the one that it had.

What it had stays as it is from then on.  Several disks go on together or none does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from gossamer.base.data import Data, replace
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.block import Image, OverlayImage, Qcow2Image, create_over, open_image
from gossamer.control.disks import Disk
from gossamer.control.runner import Runner

FORMAT: Final = "qcow2"


class Above(Data):
    """Disk `disk` goes on in `path`; `made`: the file is made for that.  `name`: its node."""

    disk: Disk
    path: Path
    made: bool
    name: str


def check(vm: Runner, above: Above) -> None:
    """ConfigError where the disk cannot go on in that image."""
    disk, image = above.disk, above.disk.image
    if image.read_only or isinstance(image, OverlayImage):
        what = "read-only" if image.read_only else "opened with snapshot=on"
        raise ConfigError(f"{disk.name}: is {what}: it needs no image above it")
    vm.disks.check_free()
    if vm.disks.lent:
        raise ConfigError(f"{disk.name}: is not open: the machine has not run yet")
    if above.made and above.path.exists():
        raise ConfigError(f"{above.path}: is there already; mode=existing takes it")


def go_on(vm: Runner, all_: Sequence[Above]) -> None:
    """Put each disk's new image above the one that it has; on an error all stay as they were."""
    for one in all_:
        check(vm, one)
    if len({id(one.disk) for one in all_}) < len(all_):
        raise ConfigError("a disk is named twice")
    for one in all_:
        one.disk.image.flush()
    made: list[Path] = []
    done: list[tuple[Disk, Disk]] = []
    try:
        for one in all_:
            if one.made:
                image = one.disk.image
                made.append(one.path)
                create_over(one.path, image.size, str(image.path.absolute()), image.format)
            before = replace(one.disk)
            done.append((one.disk, before))
            _switch(one)
    except BaseException:
        for disk, before in reversed(done):
            _switch_back(disk, before)
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()
        vm.plug_disks()
        raise
    vm.plug_disks()
    for (disk, before), one in zip(done, all_, strict=True):
        if disk.name != before.name:
            vm.disks.below[before.name] = before.image.path
        go_on_in(vm, one.disk, one.path, FORMAT)


def _switch(one: Above) -> None:
    """Close what the disk has and open what is above it, which opens it again for reading."""
    disk, size, before = one.disk, one.disk.image.size, one.disk.image.path
    disk.image.close()
    reopen = partial(open_image, one.path, format=FORMAT)
    image: Image = reopen()
    try:
        _check_above(one, image, size, before)
    except BaseException:
        image.close()
        raise
    disk.image, disk.reopen, disk.name = image, reopen, one.name or disk.name


def _check_above(one: Above, image: Image, size: int, before: Path) -> None:
    if image.size != size:
        raise ConfigError(f"{one.path}: has {image.size} bytes, {one.disk.name} has {size}")
    below = image.backing if isinstance(image, Qcow2Image) else None
    if below is None or not below.path.samefile(before):
        got = "none" if below is None else str(below.path)
        raise ConfigError(f"{one.path}: its backing file: expected {before}, got {got}")


def _switch_back(disk: Disk, before: Disk) -> None:
    if disk.image is not before.image:
        with contextlib.suppress(GossamerError):
            disk.image.close()
    disk.image, disk.reopen, disk.name = before.reopen(), before.reopen, before.name


def go_on_in(vm: Runner, disk: Disk, path: Path, format: str) -> None:
    """The configuration names the image that the disk has now."""
    drives = tuple(
        replace(d, file=path, format=format) if d.index == disk.index else d
        for d in vm.config.drives
    )
    vm.config = replace(vm.config, drives=drives)
    vm.machine.hardware = replace(vm.machine.hardware, drives=drives)
    vm.disks.config = vm.config
