"""A disk goes back into an image below: what the images above it hold is put into it.

The guest runs meanwhile, and what it writes is copied once more.  When almost all is there the job
is ready: it waits for a word, copies the rest while the machine stands still, and lets the disk go
on in the base.  Given up before, the disk stays as it is: what the base has got by then is what the
images above it hold anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.base.units import NS_PER_S
from gossamer.block import Image, Qcow2Image, open_image, stand_by
from gossamer.block.open import open_above
from gossamer.control.disks import Disk
from gossamer.control.jobs import CANCEL, COMPLETE, Job
from gossamer.control.overlays import go_on_in
from gossamer.control.steps import InThread, Steps, Wait
from gossamer.control.vm import Vm
from gossamer.core import host

GRANULE: Final = 1 << 20
"""Bytes that are copied at a time, and noted as written."""
_FEW: Final = 16
"""So many granules may be left when the job is ready: some tens of ms of standing still."""
_LOOK_NS: Final = 50_000_000


def chain(image: Image) -> list[Image]:
    """The image and those below it."""
    found = [image]
    while isinstance(found[-1], Qcow2Image) and found[-1].backing is not None:
        found.append(found[-1].backing)
    return found


def held(layers: Sequence[Qcow2Image], offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
    """What of a range any of the layers (uppermost first) holds: start, length, whether zeros."""
    if not layers or length <= 0:
        return
    at = offset
    for start, size, zero in layers[0].held(offset, length):
        yield from held(layers[1:], at, start - at)
        yield start, size, zero
        at = start + size
    yield from held(layers[1:], at, offset + length - at)


class Commit:
    """One of them, from when the images have been opened for it; ConfigError where it cannot be."""

    def __init__(self, vm: Vm, disk: Disk, base: Path | None) -> None:
        self.vm, self.disk = vm, disk
        images = chain(disk.image)
        if vm.disks.lent:
            raise ConfigError(f"{disk.name}: is not open: the machine has not run yet")
        if len(images) < 2 or disk.image.read_only:
            raise ConfigError(f"{disk.name}: has no image below it, or is read-only")
        if vm.history is not None:
            raise ConfigError(f"{disk.name}: the timeline goes back to the images as they are")
        vm.disks.check_free()
        below = [one for one in images[1:] if base is None or one.path.samefile(base)]
        if not below:
            raise ConfigError(f"{base}: is not below {disk.name}")
        found = below[-1]
        if found.size != disk.image.size:
            raise ConfigError(
                f"{found.path}: has {found.size} bytes, {disk.name} has {disk.image.size}"
            )
        self.path, self.format = found.path, found.format
        self._open()
        self.traffic = vm.disks.traffic[disk.index]
        self.traffic.noted = set()
        vm.disks.taken[disk.index] = disk.name

    def _open(self) -> None:
        """The same chain again, with a base that can be written."""
        disk, above = self.disk, self.disk.image.path
        disk.image.close()
        try:
            base = open_image(self.path, format=self.format)
            try:
                top = open_above(above, base)
            except BaseException:
                base.close()
                raise
        except BaseException:
            disk.image = disk.reopen()
            self.vm.plug_disks()
            raise
        self.base, disk.image = base, top
        layers = [one for one in chain(top) if one is not base]
        self.layers = [one for one in layers if isinstance(one, Qcow2Image)]
        self.vm.plug_disks()

    # --- the copy -----------------------------------------------------------------------------

    def steps(self, job: Job) -> Steps[None]:
        """All of it; how it ends without a fault is the `wish` of the job."""
        try:
            yield from self._copying(job)
            if job.wish != CANCEL:
                job.ready()
            while not job.wish:
                if self._noted:
                    self._copy(self._noted.pop())
                yield from self._pause(_LOOK_NS if not self._noted else 0)
            if job.wish == COMPLETE:
                with self.vm.standing("committing"):
                    while self._noted:
                        self._copy(self._noted.pop())
                    self._pivot()
        finally:
            self.traffic.noted = None
            self.vm.disks.taken.pop(self.disk.index, None)

    @property
    def _noted(self) -> set[int]:
        assert self.traffic.noted is not None
        return self.traffic.noted

    def _copying(self, job: Job) -> Steps[None]:
        size, start, copied = self.disk.image.size, host.monotonic_ns(), 0
        granules = -(-size // GRANULE)
        for granule in range(granules):
            done = self._copy(granule)
            self._noted.discard(granule)
            copied += done
            job.progress = min((granule + 1) * GRANULE, size), size
            if done or granule % 256 == 0:
                behind = copied * NS_PER_S // job.speed + start if job.speed else 0
                yield from self._pause(max(0, behind - host.monotonic_ns()))
            if job.wish == CANCEL:
                return
        while len(self._noted) > _FEW and not job.wish:
            self._copy(self._noted.pop())
            yield from self._pause(0)
        if (ahead := self.base.sync_ahead()) is not None:
            yield InThread(ahead)

    def _pause(self, ns: int) -> Steps[None]:
        yield Wait(until_ns=host.monotonic_ns() + ns if ns else 0)
        if self.vm.ended:
            raise HostError("given up: the emulator ends")

    def _copy(self, granule: int) -> int:
        """Bring a granule into the base; bytes that were copied."""
        image, base, done = self.disk.image, self.base, 0
        start = granule * GRANULE
        for at, length, zero in held(self.layers, start, min(GRANULE, image.size - start)):
            if zero:
                base.zero(at, length)
            else:
                base.write(at, image.read(at, length))
            done += length
        return done

    # --- the end ------------------------------------------------------------------------------

    def _pivot(self) -> None:
        """The disk goes on in the base, which holds all of it."""
        vm, disk = self.vm, self.disk
        above, name = disk.image, disk.name
        above.flush()
        self.base.flush()
        self.layers[-1].backing = None  # the base is not theirs any more
        reopen = partial(open_image, self.path, format=self.format)
        node = next((n for n, p in vm.disks.below.items() if p.samefile(self.path)), "")
        disk.image, disk.reopen = self.base, reopen
        vm.plug_disks()
        above.abandon()
        if node:
            del vm.disks.below[node]
            disk.name = node
            vm.media.nodes[name] = above.path, above.format, stand_by(above.path, above.format)
        go_on_in(vm, disk, self.path, self.format)
