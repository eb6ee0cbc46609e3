"""Discs on their way into drives: trays, and images that a client has opened by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.base.late import LateModule
from gossamer.control.disks import Disk
from gossamer.control.events import TrayMoved
from gossamer.control.runner import Runner
from gossamer.machines import drives_attach
from gossamer.machines.drives import usual_name
from gossamer.machines.drives_attach import TrayDrive

if TYPE_CHECKING:
    from gossamer import block
else:  # a machine without a disk needs none of it
    block = LateModule(lambda: import_module("gossamer.block"))

MOST_NODES: Final = 64


class Media:
    """Trays and named images of one machine's CD drives."""

    def __init__(self, vm: Runner) -> None:
        self.vm = vm
        self.nodes: dict[str, tuple[Path, str | None, block.Image]] = {}
        self.files: dict[str, Path] = dict(vm.config.file_nodes)
        self._placed: dict[str, tuple[Path, str | None]] = {}

    # --- named images -------------------------------------------------------------------------

    def add(self, name: str, path: Path, format: str | None) -> None:
        """Open an image for reading, to be put into a drive by its name."""
        self._check_new(name)
        self.nodes[name] = path, format, block.open_image(path, format=format, read_only=True)

    def add_writable(self, name: str, path: Path, format: str) -> None:
        """Note an image that a disk may go on in (`control.overlays`); it is not opened yet."""
        self._check_new(name)
        self.nodes[name] = path, format, block.stand_by(path, format)

    def add_file(self, name: str, path: Path) -> None:
        """Note a file that an image is in."""
        self._check_new(name)
        if not path.exists():
            raise HostError(f"{path}: cannot be opened: No such file or directory")
        self.files[name] = path

    def _check_new(self, name: str) -> None:
        taken = {*self.nodes, *self.files, *(disk.name for disk in self.vm.disks)}
        if name in taken:
            raise ConfigError(f"Duplicate nodes with node-name='{name}'")
        if len(self.nodes) + len(self.files) >= MOST_NODES:
            raise ConfigError(f"{MOST_NODES} images are open already: blockdev-del comes first")

    def remove(self, name: str) -> None:
        """Close an image that add has opened."""
        if name in self.files:
            if any(self.files[name] == one for one in self._used()):
                raise ConfigError(f"Node {name} is in use")
            del self.files[name]
            return
        if name in self.vm.disks.below or any(name == disk.name for disk in self.vm.disks):
            raise ConfigError(f"Node {name} is in use")
        if name not in self.nodes:
            raise ConfigError(f"Failed to find node with node-name='{name}'")
        self.nodes.pop(name)[2].close()

    def _used(self) -> Iterator[Path]:
        """The files of disks, with those below them, and of named images."""
        for disk in self.vm.disks:
            image: block.Image | None = disk.image
            while image is not None:
                yield image.path
                image = image.backing if isinstance(image, block.Qcow2Image) else None
        for path, _, _ in self.nodes.values():
            yield path

    # --- trays --------------------------------------------------------------------------------

    def find(self, device: str | None, id_: str | None) -> tuple[int, TrayDrive]:
        """The place of a CD drive by its name or by the id that -device gave it."""
        if (device is None) == (id_ is None):
            raise ConfigError("Need exactly one of 'device' and 'id'")
        machine, name = self.vm.machine, device or id_ or ""
        if id_ is not None:
            for index in drives_attach.drive_kinds(machine):
                options = machine.hardware.drive(index)
                if options is not None and options.device == id_:
                    name = options.name
        index, drive = self.vm.disks.find(machine, name)
        found = drives_attach.tray_of(drive)
        if found is None:
            raise ConfigError(f"Device '{name}' is not removable")
        return index, found

    def open_tray(self, place: tuple[int, TrayDrive], *, force: bool) -> None:
        """Open it; a guest that has locked it is asked, or (`force`) overruled."""
        index, drive = place
        if drive.tray_open:
            return
        if not drives_attach.request_eject(drive) and not force:
            raise ConfigError(
                f"Device '{self._id(index)}' is locked and force was not specified, wait for tray "
                "to open and try again"
            )
        drives_attach.open_tray(drive)
        self._moved(index, is_open=True)
        self.vm.broken("a tray moved")

    def close_tray(self, place: tuple[int, TrayDrive]) -> None:
        index, drive = place
        if drive.tray_open:
            disk = self.vm.disks.at.get(index)
            drives_attach.change_media(drive, disk.image if disk else None)
            self._moved(index, is_open=False)
            self.vm.broken("a disc was changed")

    def take_out(self, place: tuple[int, TrayDrive]) -> None:
        """Take the disc out of an open tray."""
        index, drive = place
        if not drive.tray_open:
            raise ConfigError("Tray of the device is not open")
        disk = self.vm.disks.at.pop(index, None)
        drives_attach.take_out(drive)
        self.vm.broken("a disc was changed")
        if disk is None:
            return
        if disk.name in self._placed:  # it keeps its name, for the next drive or blockdev-del
            self.nodes[disk.name] = (*self._placed.pop(disk.name), disk.image)
        else:
            disk.image.close()

    def put_in(self, place: tuple[int, TrayDrive], node: str) -> None:
        """Put a named image into an open, empty tray; it belongs to the drive then."""
        index, drive = place
        if not drive.tray_open:
            raise ConfigError("Tray of the device is not open")
        if index in self.vm.disks.at:
            raise ConfigError(f"There already is a medium in device '{self._id(index)}'")
        if node not in self.nodes:
            raise ConfigError(f"Failed to find node with node-name='{node}'")
        if isinstance(self.nodes[node][2], block.StandbyImage):
            raise ConfigError(f"{node}: is writable: only discs go into this drive")
        path, format, image = self.nodes.pop(node)
        self._placed[node] = path, format
        reopen = partial(block.open_image, path, format=format, read_only=True)
        self.vm.disks.at[index] = Disk(index, image, node, reopen)

    def change(
        self, place: tuple[int, TrayDrive], path: Path, format: str | None, *, force: bool
    ) -> None:
        """Open, take out, put in, close."""
        index, _ = place
        image = block.open_image(path, format=format, read_only=True)
        try:
            self.open_tray(place, force=force)
        except BaseException:
            image.close()
            raise
        self.take_out(place)
        reopen = partial(block.open_image, path, format=format, read_only=True)
        self.vm.disks.at[index] = Disk(index, image, self._name(index), reopen)
        self.close_tray(place)

    def close(self) -> None:
        """Let go of the images that are in no drive."""
        while self.nodes:
            self.nodes.popitem()[1][2].close()

    def _name(self, index: int) -> str:
        options = self.vm.machine.hardware.drive(index)
        return options.name if options else usual_name(index, "cdrom")

    def _id(self, index: int) -> str:
        options = self.vm.machine.hardware.drive(index)
        return (options.device if options else "") or self._name(index)

    def _moved(self, index: int, *, is_open: bool) -> None:
        options = self.vm.machine.hardware.drive(index)
        named = options.device if options else ""
        self.vm.events.report(TrayMoved("" if named else self._name(index), named, is_open))
