"""The configuration that a save file holds; the caller names the files that it opens."""

from __future__ import annotations

from pathlib import Path

from gossamer.base.data import replace
from gossamer.machines.config import Config
from gossamer.machines.options import parse
from gossamer.machines.stored import Files, restored, stored
from gossamer.migrate.container import open_container


def saved_config(path: Path | str, files: Files) -> Config:
    """How to build the machine of the save file at `path`.

    `files`: what to open, by slot (`machines.stored`), None for nothing; ConfigError names a slot
    that is missing.  A save of 0.1.0 has the command line of its machine instead of data.
    """
    with open_container(path, verify=False) as container:
        meta = container.meta
    if meta.hardware:
        return restored(meta.hardware, str(path), files)
    old = replace(parse(meta.options), version=meta.machine_version)
    return restored(stored(old), str(path), files)
