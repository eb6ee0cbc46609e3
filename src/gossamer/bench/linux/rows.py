"""What is measured in the guest: one row a figure.

A `Row` runs a command in the guest's shell and makes a figure of it; `FIGURES` of the guest's own
`bench` come by themselves, as many as it prints.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data

MEGABYTES: Final = 100
"""What the sequential disk rows move."""
CD_MEGABYTES: Final = 24
RANDOM: Final = 1000
"""Accesses of 4 KiB in the random disk rows."""
IDLE_S: Final = 10
_DROP: Final = "sync; echo 3 >/proc/sys/vm/drop_caches"
_LINE: Final = "0123456789" * 10


class Row(Data):
    """A figure: seconds of a command (less is better) unless `kind` says otherwise.

    `kind`: "time", "idle" (percent of a host CPU).  `first` is run before, untimed; `expects` must
    be in what the command prints; `needs`: "disks", "programs" or "screen".
    """

    name: str
    command: str
    kind: str = "time"
    first: str = ""
    expects: str = ""
    needs: str = ""

    @property
    def unit(self) -> str:
        return "%" if self.kind == "idle" else "s"


def _lua(text: str) -> str:
    return f"/prog/lua -e '{text}'"


def _random_read(disk: str) -> str:
    return _lua(
        f'f=io.open("{disk}","rb") f:setvbuf("no") for i=1,{RANDOM} do '
        f'f:seek("set",i*7919%{MEGABYTES * 256}*4096) assert(#f:read(4096)==4096) end'
    )


def _random_write(disk: str) -> str:
    return (
        _lua(
            f's=("x"):rep(4096) f=io.open("{disk}","r+b") for i=1,{RANDOM} do '
            f'f:seek("set",i*7919%{MEGABYTES * 256}*4096) f:write(s) end f:close()'
        )
        + "; sync"
    )


def _disk(name: str, disk: str) -> tuple[Row, ...]:
    count = f"bs=1M count={MEGABYTES}"
    return (
        Row(f"{name}.read", f"dd if={disk} of=/dev/null {count}", first=_DROP, needs="disks"),
        Row(
            f"{name}.write",
            f"dd if=/dev/zero of={disk} {count} conv=fsync",
            first=_DROP,
            needs="disks",
        ),
        Row(f"{name}.read4k", _random_read(disk), first=_DROP, needs="programs"),
        Row(f"{name}.write4k", _random_write(disk), first=_DROP, needs="programs"),
    )


def _lines(count: int, where: str = "") -> str:
    return f"i=0; while [ $i -lt {count} ]; do echo {_LINE}; i=$((i+1)); done{where}"


ROWS: Final = (
    *_disk("raw", "/dev/sda"),
    *_disk("qcow2", "/dev/sdb"),
    Row(
        "cd.read",
        f"dd if=/dev/sr0 of=/dev/null bs=64k count={CD_MEGABYTES * 16}",
        first=_DROP,
        needs="disks",
    ),
    Row("console.text", _lines(300)),
    Row("screen.scroll", _lines(1000, " >/dev/tty1"), needs="screen"),
    Row("idle", f"sleep {IDLE_S}", kind="idle"),
    Row("lua.work", "/prog/lua /prog/work.lua", expects="915794502", needs="programs"),
    Row("lua.gen", "/prog/lua /prog/gen.lua >/tmp/t", needs="programs"),
    *(
        Row(
            f"zstd.{level}",
            f"/prog/zstd -q -{level} -c /tmp/t | md5sum",
            first="[ -f /tmp/t ] || /prog/lua /prog/gen.lua >/tmp/t",
            expects=digest,
            needs="programs",
        )
        for level, digest in (
            (1, "c416f848a3029004e5ce10aa4022bdc1"),
            (9, "9d6914c3399cbd0652ebbfc42bb16367"),
        )
    ),
)
#: The guest's own tests, by the word that `bench` takes; what each prints are rates.
FIGURES: Final = ("mips", "int", "dhry", "fp", "linpack", "mem", "altivec", "syscall", "fork")
#: Measured while the guest boots.
BOOT: Final = ("boot", "memory.resident")
