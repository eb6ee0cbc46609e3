"""The server of QEMU's qtest protocol: device tests read and write real addresses and step time.

A request is a line, its answer one that begins with ``OK`` or ``FAIL``.  With `-accel qtest` the
CPU stands and only `clock_step` and `clock_set` move virtual time; with another accelerator the
guest runs, and the clock's words are refused.  Source: QEMU 7.2's docs/devel/testing (qtest), and
what its server answers.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer.base.errors import GossamerError, HostError
from gossamer.control.vm import Vm
from gossamer.core.clock import NEVER
from gossamer.core.device import Device
from gossamer.devices.pci import PciBus
from gossamer.front.chardev import Chardev
from gossamer.front.qtest_irq import tap_inputs, tap_outputs

#: Bytes of a request line, and of one transfer.
LONGEST: Final = 4 << 20
#: Timers that one request may let fire.
MOST_TIMERS: Final = 10_000_000
_SIZES: Final = {"b": 1, "w": 2, "l": 4, "q": 8}
_PORTS: Final = {"b": 1, "w": 2, "l": 4}


class RequestError(Exception):
    """A request that cannot be done; the message follows ``FAIL``."""


def _number(text: str) -> int:
    """As C's strtoull with base 0 takes it: 0x, 0 for octal, decimal."""
    try:
        octal = len(text) > 1 and text[0] == "0" and text[1:].isdigit()
        return int(text, 8 if octal else 0)
    except ValueError:
        raise RequestError(f"expected a number, got {text!r}") from None


class RequestLog:
    """A file that is given each line of a conversation."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("w", buffering=1, encoding="latin-1", errors="replace")
        except OSError as fault:
            raise HostError(f"-qtest-log: {path}: {fault.strerror}") from None

    def __call__(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the machine
            self._file.write(line + "\n")

    def close(self) -> None:
        self._file.close()


class QtestServer:
    """Serves a machine on `device`.

    `steps_clock`: virtual time is this server's.  `log` gets each line with its direction.
    """

    def __init__(
        self,
        vm: Vm,
        device: Chardev,
        *,
        steps_clock: bool,
        log: RequestLog | None = None,
    ) -> None:
        self.vm, self.device = vm, device
        self._steps_clock, self._record = steps_clock, log
        self._log: Callable[[str], None] = log or (lambda line: None)
        self._line = bytearray()
        device.receive = self._feed

        self._tapped: Device | None = None

    def close(self) -> None:
        if self._record is not None:
            self._record.close()

    def _feed(self, data: bytes) -> None:
        for part in data.splitlines(keepends=True):
            if len(self._line) <= LONGEST:
                self._line += part
            if part.endswith(b"\n"):
                line, self._line = self._line, bytearray()
                self._do(line.decode("latin-1").strip())

    def _do(self, line: str) -> None:
        if not line:
            return
        self._log(f"[R] {line}")
        if len(line) > LONGEST:
            self._answer(f"FAIL a request of more than {LONGEST} bytes")
            return
        words = line.split()
        action = _ACTIONS.get(words[0])
        try:
            if action is None:
                raise RequestError(f"Unknown command '{words[0]}'")
            value = action(self, words[1:])
        except (RequestError, GossamerError) as fault:
            self._answer(f"FAIL {fault}")
        except (ValueError, IndexError):
            self._answer(f"FAIL malformed request {line[:60]!r}")
        else:
            self._answer(f"OK {value}".rstrip())

    def _answer(self, text: str) -> None:
        self._log(f"[S] {text}")
        self.device.write(text.encode("latin-1", "replace") + b"\n")

    # --- memory -------------------------------------------------------------------------------

    def _write(self, size: int, words: list[str]) -> str:
        address, value = map(_number, words)
        memory = self.vm.machine.memory
        for at in range(0, size, 4) if size == 8 else (0,):
            width = min(size, 4)
            shift = (size - at - width) * 8
            memory.store(address + at & 0xFFFF_FFFF, value >> shift & (1 << 8 * width) - 1, width)
        return ""

    def _read(self, size: int, words: list[str]) -> str:
        (address,) = map(_number, words)
        memory, value = self.vm.machine.memory, 0
        for at in range(0, size, 4) if size == 8 else (0,):
            width = min(size, 4)
            value = value << 8 * width | memory.load(address + at & 0xFFFF_FFFF, width)
        return f"0x{value:016x}"

    @staticmethod
    def _length(text: str) -> int:
        length = _number(text)
        if not 0 <= length <= LONGEST:
            raise RequestError(f"a length of {length}, expected 0 to {LONGEST}")
        return length

    def _read_bytes(self, words: list[str]) -> bytes:
        address, length = _number(words[0]), self._length(words[1])
        return self.vm.read_physical(address & 0xFFFF_FFFF, length)

    def _read_hex(self, words: list[str]) -> str:
        return "0x" + self._read_bytes(words).hex()

    def _read_base64(self, words: list[str]) -> str:
        return base64.b64encode(self._read_bytes(words)).decode()

    def _store_bytes(self, words: list[str], data: bytes) -> str:
        address, length = _number(words[0]), self._length(words[1])
        self.vm.write_physical(address & 0xFFFF_FFFF, data[:length].ljust(length, b"\0"))
        return ""

    def _write_hex(self, words: list[str]) -> str:
        return self._store_bytes(words, binascii.unhexlify(words[2].removeprefix("0x")))

    def _write_base64(self, words: list[str]) -> str:
        return self._store_bytes(words, base64.b64decode(words[2], validate=True))

    def _set_memory(self, words: list[str]) -> str:
        length = self._length(words[1])
        return self._store_bytes(words, bytes((_number(words[2]) & 0xFF,)) * length)

    # --- ports of the PCI bus -----------------------------------------------------------------

    def _port(self, text: str) -> str:
        """The real address of an input-output port."""
        buses = (p.device for p in self.vm.machine.parts if isinstance(p.device, PciBus))
        window = next((bus.io for bus in buses if bus.io is not None), None)
        real = None if window is None else window.real(_number(text) & 0xFFFF, 4)
        if real is None:
            raise RequestError(f"no input-output port {text}")
        return hex(real)

    def _out(self, size: int, words: list[str]) -> str:
        port, value = words
        swapped = _number(value).to_bytes(8, "little")[:size]  # the bus is little-endian
        return self._write(size, [self._port(port), str(int.from_bytes(swapped, "big"))])

    def _in(self, size: int, words: list[str]) -> str:
        (port,) = words
        value = int(self._read(size, [self._port(port)]), 16)
        return f"0x{int.from_bytes(value.to_bytes(size, 'big'), 'little'):04x}"

    # --- interrupts ---------------------------------------------------------------------------

    def _device(self, path: str) -> Device:
        """A chip by its path, as ``info qtree`` names it."""
        wanted = path.removeprefix("/machine/").strip("/")
        for part in self.vm.machine.parts:
            if part.path == wanted:
                return part.device
        raise RequestError("Unknown device")

    def _intercept(self, words: list[str], *, inputs: bool) -> str:
        (path,) = words
        device, machine = self._device(path), self.vm.machine
        if self._tapped is not None:
            if self._tapped is device:
                return ""
            raise RequestError("IRQ intercept already enabled")
        found = tap_inputs(machine, device, self._irq) if inputs else tap_outputs(device, self._irq)
        if not found:
            raise RequestError(f"{path} has no interrupt {'inputs' if inputs else 'outputs'}")
        self._tapped = device
        return ""

    def _irq(self, number: int, level: bool) -> None:
        """A line has changed: the client hears of it before the answer to what moved it."""
        self._answer(f"IRQ {'raise' if level else 'lower'} {number}")

    def _set_irq_in(self, words: list[str]) -> str:
        path, name, number, level = words
        sink = getattr(self._device(path), "input_changed", None)
        if name != "unnamed-gpio-in" or sink is None:
            raise RequestError(f"{path} has no inputs called {name}")
        sink(_number(number), bool(_number(level)))
        return ""

    # --- time ---------------------------------------------------------------------------------

    def _clock(self) -> None:
        if not self._steps_clock:
            raise RequestError("the guest runs and moves the clock: it stands with -accel qtest")

    def _clock_step(self, words: list[str]) -> str:
        self._clock()
        clock = self.vm.machine.clock
        to = clock.now + _number(words[0]) if words else clock.deadline
        return self._clock_to(to)

    def _clock_set(self, words: list[str]) -> str:
        self._clock()
        return self._clock_to(_number(words[0]))

    def _clock_to(self, ns: int) -> str:
        machine = self.vm.machine
        if ns >= NEVER:
            return str(machine.clock.now)  # no timer is armed
        for _ in range(MOST_TIMERS):
            due = machine.clock.deadline
            if due > ns:
                break
            machine.processor.set_clock(due)
            machine.clock.advance(due)
        else:
            raise RequestError(f"more than {MOST_TIMERS} timers before {ns} ns")
        machine.processor.set_clock(max(ns, machine.clock.now))
        return str(machine.clock.now)


def _sized(
    action: Callable[[QtestServer, int, list[str]], str], size: int
) -> Callable[[QtestServer, list[str]], str]:
    return lambda server, words: action(server, size, words)


def _refused(text: str) -> Callable[[QtestServer, list[str]], str]:
    def refuse(server: QtestServer, words: list[str]) -> str:
        del server, words
        raise RequestError(text)

    return refuse


_ACTIONS: Final[dict[str, Callable[[QtestServer, list[str]], str]]] = {
    **{f"write{letter}": _sized(QtestServer._write, n) for letter, n in _SIZES.items()},
    **{f"read{letter}": _sized(QtestServer._read, n) for letter, n in _SIZES.items()},
    **{f"out{letter}": _sized(QtestServer._out, n) for letter, n in _PORTS.items()},
    **{f"in{letter}": _sized(QtestServer._in, n) for letter, n in _PORTS.items()},
    "read": QtestServer._read_hex,
    "write": QtestServer._write_hex,
    "b64read": QtestServer._read_base64,
    "b64write": QtestServer._write_base64,
    "memset": QtestServer._set_memory,
    "endianness": lambda server, words: "big",
    "clock_step": QtestServer._clock_step,
    "clock_set": QtestServer._clock_set,
    "irq_intercept_in": lambda server, words: server._intercept(words, inputs=True),
    "irq_intercept_out": lambda server, words: server._intercept(words, inputs=False),
    "set_irq_in": QtestServer._set_irq_in,
    "module_load": _refused("there are no modules"),
}
