"""Linux as a guest of `verify cuts`: what it is made to do, and what happens to it meanwhile.

`linux` begins at the prompt: timers and arithmetic with keys and pointer coming in, a disk written
and read, a CD read, taken out and another read, signals.  `linux-boot` begins at power on: the
firmware, the boot, a reboot that the reset button breaks off, and the boot again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gossamer.base.units import MiB
from gossamer.verify.cuts.track import Input

BOOT: Final = "linux-boot"
NAMES: Final = ("linux", BOOT)
PROMPT: Final = "guest# "
IMAGES: Final = {"disk": 4 * MiB, "disc": 1 * MiB, "other": 1 * MiB}
_READ: Final = "dd if=/dev/sr0 bs=2048 count=100 2>&1 | md5sum"
_DISK: Final = "/dev/sda bs=4k count"
#: On the board without disks, keys and pictures.
BOARD: Final = "ref405ep"
_DO_ON_BOARD: Final = (
    "ticks -n 2 -g 60 -r; selfcheck -n 1 -m 1",
    "dd if=/dev/urandom bs=4k count=20 2>&1 | md5sum | wc -c; dmesg | wc -l",
    "trap 'echo usr' USR1; for i in 1 2 3; do sleep 5 & kill $!; kill -USR1 $$; done; wait $!",
)
#: With a virtio disk and a virtio card.
SERVER: Final = "pseries"
_VIRTIO_DISK: Final = "/dev/vda bs=4k count"
_DO_ON_SERVER: Final = (
    "ticks -n 2 -g 60 -r; selfcheck -n 1 -m 1",
    f"dd if=/dev/urandom of={_VIRTIO_DISK}=30 conv=fsync; dd if={_VIRTIO_DISK}=40 | md5sum",
    "mke2fs /dev/vda | wc -l; mount /dev/vda /mnt; dmesg > /mnt/a; umount /mnt",
    "ifconfig eth0 10.0.2.15 up",
    "for n in 1 2 3 4 5 6; do sleep 0.01; ifconfig eth0 | md5sum; done",
    *_DO_ON_BOARD[2:],
)
#: Who has 10.0.2.15?  A card whose driver is up is asked, and answers.
_ASKED: Final = bytes.fromhex(
    "ffffffffffff 525400123402 0806 0001 0800 06 04 0001525400123402 0a000202 000000000000 0a00020f"
).ljust(60, b"\0")
_DO: Final = (
    "(cat /dev/input/event* | md5sum) & ticks -n 2 -g 60 -r; selfcheck -n 1 -m 1",
    f"dd if=/dev/urandom of={_DISK}=30 conv=fsync 2>&1; dd if={_DISK}=40 2>&1 | md5sum",
    _READ,
    f"for i in 1 2 3; do {_READ}; done",
    "trap 'echo usr' USR1; for i in 1 2 3; do sleep 5 & kill $!; kill -USR1 $$; done; wait $!",
)


def _work(commands: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What is waited for, and what is typed then: each command says when it has ended."""
    return (
        *(
            (f"step{n}\r\n" if n else PROMPT, f"{command}; echo ste''p{n + 1}\r")
            for n, command in enumerate(commands)
        ),
        (f"step{len(commands)}\r\n", ""),
    )


WORK: Final = _work(_DO)
WORK_ON_BOARD: Final = _work(_DO_ON_BOARD)
WORK_ON_SERVER: Final = _work(_DO_ON_SERVER)
ASKED: Final = {
    4: tuple(Input(2_000_000 + 3_000_000 * n, 0, "frame", _ASKED.hex()) for n in range(8))
}
BOOTS: Final = ((PROMPT, "reboot -f\r"), (PROMPT, ""))
BOOT_EVENTS: Final = {0: (Input(300_000_000, 0, "reset"),)}
_A, _RETURN = 0x00, 0x24


def files(folder: Path, kernel: Path, initrd: Path | None, cdrom: Path | None) -> tuple[str, ...]:
    """Options for its files; the images that it needs are made in `folder`."""
    rng = random.Random("linux")  # noqa: S311 - content of images
    for name, size in IMAGES.items():
        (folder / name).write_bytes(rng.randbytes(4096) * (size // 4096))
    disk = f"file={folder / 'disk'},format=raw,index=0,media=disk,snapshot=on"
    return (
        *("-kernel", str(kernel), "-append", "console=ttyPZ0"),
        *(() if initrd is None else ("-initrd", str(initrd))),
        *("-drive", disk, "-cdrom", str(cdrom or folder / "disc")),
    )


def board_files(kernel: Path, initrd: Path | None) -> tuple[str, ...]:
    """The same for the board."""
    disk = () if initrd is None else ("-initrd", str(initrd))
    return ("-kernel", str(kernel), "-append", "console=ttyS0", *disk)


def server_files(folder: Path, kernel: Path, initrd: Path | None) -> tuple[str, ...]:
    """The same for the server, with a disk that is made in `folder`.

    Display and USB are there, too: a kernel that has drivers for them uses them.
    """
    disk = folder / "disk"
    disk.write_bytes(random.Random("linux").randbytes(4096) * 1024)  # noqa: S311 - content of an image
    return (
        *("-kernel", str(kernel), "-append", "console=hvc0"),
        *(() if initrd is None else ("-initrd", str(initrd))),
        *("-drive", f"if=virtio,file={disk},format=raw,snapshot=on", "-device", "virtio-net-pci"),
    )


def work_events(folder: Path) -> Mapping[int, tuple[Input, ...]]:
    """By line of `WORK`: keys and movement while timers run; another disc."""
    typed = [
        Input(at, key << 1 | down, "key")
        for n, key in enumerate((_A, _RETURN, _A))
        for at, down in ((4_000_000 + 3_000_000 * n, 1), (5_000_000 + 3_000_000 * n, 0))
    ]
    moved = [
        Input(4_500_000 + 2_500_000 * n, (0x80 + 9) | (0x80 - 5) << 8 | (n & 1) << 16, "move")
        for n in range(5)
    ]
    change = Input(20_000_000, 0, "change", str(folder / "other"))
    return {0: tuple(sorted(typed + moved)), 2: (change,)}
