"""Guests for `gossamer verify hops`: what they compute on their way, and what must come out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, Protocol

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, GossamerError

#: What selfcheck prints on every PowerPC (its README): big-endian, and little-endian.
INT, FP = "38c318a5", "6dd83f22bde24e82"
CHAIN: Final = {1: "34d4bdbe", 2: "00438077", 3: "05486108"}
LITTLE_INT: Final = "47f833d5"
LITTLE_CHAIN: Final = {1: "10570a8d", 2: "fde6ab43", 3: "222917ad"}
_LOOPS: Final = 0x80000
SLEPT: Final = 2.0
"""Of three seconds that a guest sleeps so many must pass at the least."""
_MULTIPLIER, _INCREMENT = 0x41C64E6D, 0x3039


class Station(Protocol):
    """Where a guest is at the moment: its serial console."""

    @property
    def output(self) -> bytearray: ...
    def type(self, text: bytes) -> None: ...
    def expect(self, text: bytes, seconds: float, start: int = 0) -> None: ...
    @property
    def seconds(self) -> float:
        """A clock that the guest's should go with: virtual time, or the host's."""


class Traveller(Protocol):
    """A guest on its way."""

    @property
    def memory(self) -> str:
        """For -m."""

    @property
    def options(self) -> tuple[str, ...]:
        """What it is booted with."""

    @property
    def station_options(self) -> tuple[str, ...]:
        """What a QEMU that takes it over is started with."""

    def start(self, at: Station) -> None:
        """Bring it up, from power on."""

    def leave(self, at: Station, hop: int) -> None:
        """Give it something to do just before hop `hop`."""

    def arrive(self, at: Station, hop: int) -> None:
        """See that what it was doing comes out right; GossamerError otherwise."""

    def end(self, at: Station) -> str:
        """The last word on what it computed; GossamerError when it is wrong."""


def traveller(
    name: str, kernel: Path | None, initrd: Path | None, console: str = "ttyPZ0"
) -> Traveller:
    """The guest called `name`; Linux speaks on `console`."""
    if name == "openbios":
        return OpenBios()
    if name == "linux":
        kernel = kernel or _given("GOSSAMER_LINUX_KERNEL")
        initrd = initrd or _given("GOSSAMER_LINUX_INITRD")
        if kernel is None or initrd is None:
            raise ConfigError("guest linux: give --kernel FILE and --initrd FILE")
        return Linux(kernel, initrd, console=console, little=_is_little(kernel))
    raise ConfigError(f"--guest: expected openbios or linux, got {name!r}")


def _is_little(kernel: Path) -> bool:
    """Whether an ELF file says that it is little-endian (EI_DATA); ConfigError if unreadable."""
    try:
        with kernel.open("rb") as file:
            return file.read(6)[5:] == b"\1"
    except OSError as fault:
        raise ConfigError(f"--kernel: {fault}") from None


def _given(name: str) -> Path | None:
    given = os.environ.get(name)
    return Path(given) if given else None


class OpenBios:
    """Firmware at its prompt: a Forth word is in the middle of its loop at every hop."""

    memory = "64"
    options = station_options = ("-prom-env", "auto-boot?=false")

    def __init__(self) -> None:
        self._hops = self._cut = 0

    def start(self, at: Station) -> None:
        at.expect(b"0 > ", 60.0)
        word = f": w {_LOOPS:x} 0 do {_MULTIPLIER:x} * {_INCREMENT:x} + loop u. ;\r"
        seen = len(at.output)
        at.type(word.encode())
        at.expect(b"ok", 20.0, seen)

    def leave(self, at: Station, hop: int) -> None:
        at.type(f"{hop:x} w\r".encode())

    def arrive(self, at: Station, hop: int) -> None:
        answer = f"{self.result(hop):x}  ok".encode()
        self._hops += 1
        self._cut += answer not in at.output
        at.expect(answer, 60.0)
        seen = len(at.output)
        at.type(b"2a 3 * .\r")
        at.expect(b"7e  ok", 20.0, seen)

    @staticmethod
    def result(seed: int) -> int:
        """What the word prints for `seed`."""
        for _ in range(_LOOPS):
            seed = (seed * _MULTIPLIER + _INCREMENT) & 0xFFFF_FFFF
        return seed

    def end(self, at: Station) -> str:
        return (
            f"{self._hops} loops ended with the right number, {self._cut} of them were cut in the "
            "middle; 2a 3 * is 7e"
        )


class Linux(Data, frozen=False):
    """Linux with two programs that check the machine, at a console that stays quiet."""

    kernel: Path
    initrd: Path
    memory: str = "256"
    station_options: tuple[str, ...] = ()
    console: str = "ttyPZ0"
    little: bool = False
    """Whether the kernel is little-endian."""

    @property
    def options(self) -> tuple[str, ...]:
        boot = ("-append", f"console={self.console}")
        return ("-kernel", str(self.kernel), "-initrd", str(self.initrd), *boot)

    def start(self, at: Station) -> None:
        at.expect(b"guest# ", 240.0)
        seen = len(at.output)
        at.type(b"selfcheck -m 1 > /tmp/s & ticks -g 100 > /tmp/t &\r")
        at.expect(b"guest# ", 20.0, seen + 40)

    def leave(self, at: Station, hop: int) -> None:
        """Both programs run all the time."""

    def arrive(self, at: Station, hop: int) -> None:
        seen = len(at.output)
        at.type(f"echo A$(({hop} * 7 + 1))Z\r".encode())
        at.expect(f"A{hop * 7 + 1}Z\r\n".encode(), 30.0, seen)

    def end(self, at: Station) -> str:
        seen = len(at.output)
        at.type(b"grep BAD /tmp/s|head -n 9; head -n 3 /tmp/s; tail -n 1 /tmp/s; echo E''1\r")
        at.expect(b"E1\r\n", 30.0, seen)
        text = bytes(at.output[seen:]).decode("latin-1")
        lines = re.findall(r"selfcheck i=(\d+) int=(\w+) fp=(\w+) \S+ chain=(\w+) (\w+)", text)
        last = int(lines[-1][0]) if lines else 0
        right, chains = (LITTLE_INT, LITTLE_CHAIN) if self.little else (INT, CHAIN)
        for number, whole, real, chain, verdict in lines:
            good = (whole, real, verdict) == (right, FP, "ok")
            if not good or chains.get(int(number), chain) != chain:
                raise GossamerError(f"selfcheck is wrong at iteration {number}: {text!r}")
        if not lines or "selfcheck BAD" in text:
            raise GossamerError(f"selfcheck found something bad, or nothing: {text!r}")
        seen = len(at.output)
        at.type(b"grep -c 't=' /tmp/t; grep -v 't=' /tmp/t | tail -n 60; echo E''2\r")
        at.expect(b"E2\r\n", 30.0, seen)
        text = bytes(at.output[seen:]).decode("latin-1")
        if "ticks BACK" in text or "ticks t=" in text:
            raise GossamerError(f"a clock of the guest ran back: {text!r}")
        count = re.search(r"^(\d+)\r$", text, re.MULTILINE)
        ticked = self._ticks_go_on(at, int(count[1]) if count else 0)
        gaps = [float(ms) for ms in re.findall(r"ticks GAP \w+ ([\d.]+)", text)]
        counted = f"{ticked} s of ticks"
        worst = f"{len(gaps)} gaps, the longest {max(gaps):.0f} ms" if gaps else "no gap"
        return f"selfcheck right in all {last} iterations; {counted}, {worst} above 100 ms"

    def _ticks_go_on(self, at: Station, before: int) -> int:
        """Seconds that `ticks` has counted; GossamerError when it stands still, or the clock races.

        A guest that prints right numbers while no timer interrupt comes is dead all the same.
        """
        seen, began = len(at.output), at.seconds
        at.type(b"sleep 3; grep -c 't=' /tmp/t; echo E''3\r")
        at.expect(b"E3\r\n", 60.0, seen)
        took = at.seconds - began
        found = re.search(rb"^(\d+)\r$", bytes(at.output[seen:]), re.MULTILINE)
        now = int(found[1]) if found else 0
        if not before or now <= before:
            raise GossamerError(f"ticks makes no progress: {before} s counted, 3 s later {now}")
        if took < SLEPT:
            raise GossamerError(f"the guest's clock races: 3 s of its time took {took:.1f} s")
        return now
