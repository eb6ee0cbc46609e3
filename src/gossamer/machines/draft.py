"""What the options said so far; defaults are filled in when all have been seen (`options`)."""

from __future__ import annotations

from pathlib import Path

from gossamer.machines.block_options import Nodes
from gossamer.machines.chardev_options import Chardevs
from gossamer.machines.config import DEFAULT_MACHINE, Logging, Netdev, Vnc, Web
from gossamer.machines.device_options import Asked, Globals
from gossamer.machines.drives import DriveOptions


class Draft:
    """Options collected so far.  `set`: fields of `Config` by name."""

    def __init__(self) -> None:
        self.machine = DEFAULT_MACHINE
        self.set: dict[str, object] = {}
        self.properties: dict[str, str] = {}
        self.cpu: str | None = None
        self.accelerators: list[str] = []
        self.prom_env: list[str] = []
        self.fw_cfg: list[tuple[str, str | None, Path | None]] = []
        self.folders: list[Path] = []
        self.drives: list[DriveOptions] = []
        self.nodes = Nodes()
        self.devices: list[Asked] = []
        self.usb_devices: list[Asked] = []
        self.globals: Globals = {}
        self.nics: list[tuple[str, str]] = []
        self.chardevs = Chardevs()
        self.serials: list[str] = []
        self.monitors: list[str] = []
        self.vncs: list[Vnc] = []
        self.web: Web | None = None
        self.netdevs: list[Netdev] = []
        self.fd_sets: dict[int, int] = {}
        self.passed: list[tuple[int, int, str | None]] = []
        self.objects: list[tuple[str, str, dict[str, str]]] = []
        self.log = Logging()
        self.memory_backend = ""
        self.memory_backends: dict[str, int] = {}
        self.display_given = False
        self.defaults = True
