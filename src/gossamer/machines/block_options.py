"""-blockdev: nodes of images, which a drive of -device names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.machines.config import unknown
from gossamer.machines.drives import FORMATS, DriveOptions, host_path
from gossamer.machines.values import choice, identifier, keyval, on_off

_OPTION: Final = "-blockdev"
_FILE: Final = ("file",)
#: About the host's cache and holes in files: nothing that a guest can see.
_WITHOUT_EFFECT: Final = (
    "cache.direct", "cache.no-flush", "discard", "detect-zeroes", "aio", "locking",
    "auto-read-only", "pr-manager", "x-check-cache-dropped",
)  # fmt: skip
_KNOWN: Final = ("driver", "node-name", "read-only", "file", "filename", "backing", "force-share")


class Nodes:
    """The nodes in the order they were given; a node names one that came before."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, bool]] = {}
        self._formats: dict[str, DriveOptions] = {}
        #: Nodes that are backing files, by name.
        self.below: dict[str, Path] = {}

    def add(self, text: str) -> None:
        """The value of -blockdev, JSON or key=value."""
        given = keyval(_OPTION, text, first="driver")
        name = identifier(f"{_OPTION}: node-name", given.get("node-name", ""))
        if name in self._files or name in self._formats:
            raise ConfigError(f"{_OPTION}: node-name={name} is given twice")
        driver = given.get("driver", "")
        choice(f"{_OPTION}: driver", driver, (*_FILE, *FORMATS))
        nested = {k.removeprefix("file."): v for k, v in given.items() if k.startswith("file.")}
        for key in given:
            if key not in _KNOWN and key not in _WITHOUT_EFFECT and not key.startswith("file."):
                raise unknown(f"property of {_OPTION} {driver}", key, _KNOWN)
        readonly = on_off(f"{_OPTION}: read-only", given.get("read-only", "off"))
        if given.get("force-share", "off") == "on":
            raise ConfigError(f"{_OPTION}: force-share: an image belongs to one machine")
        if driver in _FILE:
            self._files[name] = _filename(given), readonly
            return
        file, below = self._below(name, given, nested)
        if given.get("backing"):
            self._check_backing(name, host_path(_OPTION, file), given["backing"])
        self._formats[name] = DriveOptions(
            option=f"{_OPTION} {name}",
            file=host_path(_OPTION, file),
            format=driver,
            readonly=readonly or below,
            name=name,
            interface="none",
        )

    def file_nodes(self) -> tuple[tuple[str, Path], ...]:
        """The nodes of files."""
        return tuple((name, host_path(_OPTION, path)) for name, (path, _) in self._files.items())

    def _check_backing(self, name: str, path: Path, backing: str) -> None:
        """The node below is of the file that the image names."""
        from gossamer.block.open import backing_of  # noqa: PLC0415 - most runs need none

        if backing not in self._formats:
            raise unknown(f"node for {_OPTION} {name}: backing", backing, self._formats)
        there = self._formats[backing].file
        assert there is not None
        try:
            found = backing_of(path)
            same = found is not None and found.samefile(there)
        except OSError as fault:
            raise HostError(f"{_OPTION} {name}: {fault.filename}: {fault.strerror}") from None
        if not same:
            raise ConfigError(
                f"{_OPTION} {name}: backing: expected the file that the image names "
                f"({found or 'none'}), got {there}"
            )
        self.below[backing] = there

    def _below(
        self, name: str, given: Mapping[str, str], nested: Mapping[str, str]
    ) -> tuple[str, bool]:
        """The file under a format, named or in the same object."""
        if nested:
            choice(f"{_OPTION}: file.driver", nested.get("driver", "file"), _FILE)
            readonly = on_off(f"{_OPTION}: file.read-only", nested.get("read-only", "off"))
            return _filename(nested), readonly
        file = given.get("file", "")
        if file not in self._files:
            raise unknown(f"node for {_OPTION} {name}: file", file, self._files)
        return self._files[file]

    def find(self, name: str) -> DriveOptions | None:
        """What a device with drive=`name` gets; a file that no format stands on is raw."""
        if name in self._files:
            file, readonly = self._files[name]
            path: Path = host_path(_OPTION, file)
            return DriveOptions(
                f"{_OPTION} {name}", path, None, "disk", "raw", readonly, name=name,
                interface="none",
            )  # fmt: skip
        return self._formats.get(name)


def _filename(given: Mapping[str, str]) -> str:
    if not given.get("filename"):
        raise ConfigError(f"{_OPTION}: file: needs filename=")
    return given["filename"]
