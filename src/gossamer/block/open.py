"""Opening and creating images by name."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Final

from gossamer.block import journal
from gossamer.block.errors import ImageError
from gossamer.block.folder import open_folder
from gossamer.block.hostfile import HostFile
from gossamer.block.image import Image
from gossamer.block.overlay import OverlayImage
from gossamer.block.probe import check_format, probe
from gossamer.block.qcow2 import Qcow2Image
from gossamer.block.qcow2 import header as headers
from gossamer.block.qcow2.bounds import check_bounds
from gossamer.block.qcow2.create import write_empty
from gossamer.block.raw import RawDisk, RawFile
from gossamer.block.undo import check_not_going_back

_MAX_CHAIN: Final = 200
_PROTOCOL: Final = re.compile(r"^[^/]*:")
Identity = tuple[int, int]


def open_image(
    path: Path | str,
    *,
    format: str | None = None,
    read_only: bool = False,
    snapshot: bool = False,
    force_share: bool = False,
) -> Image:
    """Open a disk image.

    Args:
        path: The file (or block device), or a folder, which is a disc then (`block.folder`).
        format: ``raw`` or ``qcow2``; None looks at the first bytes.
        read_only: The guest cannot write.
        snapshot: The guest can write, the file never changes (QEMU's ``-snapshot``).
        force_share: Only with `read_only`: without a lock, beside one who writes (`qemu-img -U`).
            Snapshots are right there as long as they are not deleted; the disk itself may not be.

    A writable qcow2 image keeps its state in internal snapshots (`Qcow2Image`), a writable raw
    one (`RawDisk`) in an undo log beside it; with `snapshot` it is in an `OverlayImage`.
    """
    if read_only and format in (None, "raw") and Path(path).is_dir():
        return open_folder(Path(path))
    assert read_only or not force_share, path
    file = HostFile(path, read_only=read_only or snapshot, lock=not force_share)
    try:
        found = format or probe(file)
        check_format(file.path, found)
        image = _open(file, found, (), probed=format is None)
    except BaseException:
        file.close()
        raise
    return OverlayImage(image) if snapshot else image


def open_above(path: Path | str, base: Image, *, read_only: bool = False) -> Qcow2Image:
    """Open the qcow2 image at `path`, whose chain of backing files comes to `base`, which is open.

    Closing it closes `base`, unless it was taken out of the chain.
    """
    file = HostFile(path, read_only=read_only)
    try:
        check_format(file.path, "qcow2")
        image = _open(file, "qcow2", (), probed=False, base=base)
    except BaseException:
        file.close()
        raise
    assert isinstance(image, Qcow2Image)
    return image


def _open(
    file: HostFile,
    found: str,
    above: tuple[Identity, ...],
    *,
    probed: bool,
    base: Image | None = None,
) -> Image:
    if found == "raw":
        journal.recover(file)
        if not file.read_only:
            return RawDisk(file, probed=probed)
        check_not_going_back(file.path)
        return RawFile(file, probed=probed)
    header = headers.parse(file)
    if not file.read_only:
        _check_writable(file, header)
    check_bounds(file, header)
    backing = None
    if header.backing_name:
        backing = _open_backing(file, header, (*above, file.identity), base)
    try:
        image = Qcow2Image(file, header, backing)
        image.audit()
        return image
    except BaseException:
        if backing is not None and backing is not base:
            backing.close()
        raise


def _check_writable(file: HostFile, header: headers.Header) -> None:
    if header.incompatible & headers.CORRUPT:
        message = "marked as corrupt; repair it with qemu-img check -r all, or open it read-only"
        raise ImageError(file.path, message, errno.EIO)
    if header.bitmaps:
        message = (
            f"has {header.bitmaps} persistent bitmaps, which writing would invalidate; remove "
            "them with qemu-img bitmap --remove, or open it read-only"
        )
        raise ImageError(file.path, message, errno.ENOTSUP)


def _open_backing(
    file: HostFile, header: headers.Header, above: tuple[Identity, ...], base: Image | None
) -> Image:
    path = backing_path(file.path, header.backing_name)
    if _identity(path) in above or len(above) > _MAX_CHAIN:
        message = f"its chain of backing files comes back to {path}"
        raise ImageError(file.path, message, errno.ELOOP)
    if base is not None and path.exists() and path.samefile(base.path):
        return base
    try:
        below = HostFile(path, read_only=True)
    except ImageError as error:
        raise ImageError(file.path, f"backing file {error}", error.errno) from None
    try:
        found = header.backing_format or probe(below)
        check_format(path, found)
        return _open(below, found, above, probed=not header.backing_format, base=base)
    except BaseException:
        below.close()
        raise


def _identity(path: Path) -> Identity | None:
    """Of a file that may be open already, so that our own locks are not in the way."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def backing_of(path: Path) -> Path | None:
    """The backing file that the qcow2 image at `path` names; None where it names none."""
    file = HostFile(path, read_only=True, lock=False)
    try:
        header = headers.parse(file)
    finally:
        file.close()
    return backing_path(path, header.backing_name) if header.backing_name else None


def backing_path(path: Path, name: str) -> Path:
    """Where a backing file is: beside the image that names it, unless its name is absolute."""
    if name.startswith("file:"):
        name = name.removeprefix("file:")
    elif _PROTOCOL.match(name):
        protocol = name.partition(":")[0]
        message = f"its backing file {name[:80]!r} needs protocol {protocol!r}, only files work"
        raise ImageError(path, message, errno.ENOTSUP)
    return path.parent / name


def create_over(
    path: Path, size: int, backing: str, backing_format: str, *, cluster_size: int = 65536
) -> None:
    """Make an empty qcow2 image of `size` bytes above an image that may be open.

    A file that exists is taken when it is empty, as one that was made for this; else refused.
    """
    file = HostFile(path, read_only=False) if path.exists() else _made(path)
    try:
        if file.size:
            raise ImageError(path, "is not empty", errno.EEXIST)
        write_empty(file, size, backing=(backing, backing_format), cluster_size=cluster_size)
    except BaseException:
        file.close()
        raise
    file.close()


def _made(path: Path) -> HostFile:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    except OSError as error:
        raise ImageError.of(path, "create", error) from None
    return HostFile(path, read_only=False)


def create(
    path: Path | str,
    format: str,
    size: int | None,
    backing: str | None = None,
    cluster_size: int = 65536,
    *,
    backing_format: str | None = None,
    refcount_bits: int = 16,
    version: int = 3,
) -> None:
    """Make an empty image; a file that exists is refused.

    `size` (bytes, rounded up to whole sectors) may be None when there is a `backing` file, whose
    name is taken relative to the new image's folder.  `version` and `refcount_bits` are qcow2's.
    """
    path = Path(path)
    check_format(path, format)
    if backing is not None:
        if format != "qcow2":
            raise ImageError(path, f"{format} has no backing files, qcow2 has", errno.EINVAL)
        below = open_image(backing_path(path, backing), format=backing_format, read_only=True)
        backing_format = below.format
        size = below.size if size is None else size
        below.close()
    if size is None or size < 0:
        raise ImageError(path, f"size {size}, expected a number of bytes", errno.EINVAL)
    size = -(-size // 512) * 512
    file = _made(path)
    try:
        if format == "raw":
            file.resize(size)
        else:
            write_empty(
                file,
                size,
                cluster_size=cluster_size,
                version=version,
                refcount_bits=refcount_bits,
                backing=(backing, backing_format or "raw") if backing is not None else None,
            )
    except BaseException:
        path.unlink()
        raise
    finally:
        file.close()
