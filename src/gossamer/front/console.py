"""Binds the outside to a machine: serial ports and monitors to character devices, signals, time.

The console runs the machine in slices and looks at the host between them.  It never throws away
a byte that somebody waits for: a guest that writes faster than the reader reads has to wait.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from gossamer.front.chardev import Chardev
from gossamer.front.monitor import Monitor
from gossamer.front.mux import Mux
from gossamer.front.open_chardev import open_chardev
from gossamer.front.vm_protocol import RunnableVm
from gossamer.machines.config import Config

SLICE_NS: Final = 2_000_000
"""Host ns for which the guest runs between two looks at the host."""
TYPING_SLICE_NS: Final = 1_000_000
"""The same while typed bytes wait for the guest to take them."""
LONGEST_WAIT_S: Final = 1.0
INPUT: Final = 256
"""Typed bytes that wait for room in a serial port."""
ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
INTERRUPTED: Final = 130


class Channel:
    """One serial port: its device, and what was typed and not yet taken."""

    def __init__(self, number: int, device: Chardev) -> None:
        self.number, self.device = number, device
        self.typed: deque[int] = deque()
        device.receive = self.typed.extend
        device.room = lambda: INPUT - len(self.typed)


class Console:
    """The consoles of one machine.

    Make it from the configuration, give the machine its `serial_sink`s, then `run` it.  `close`
    (or `with`) restores the terminal.
    """

    def __init__(self, config: Config) -> None:
        self.devices: list[Chardev] = []
        self.channels: list[Channel | None] = []
        self._monitor_devices: list[Chardev] = []
        self._vm: RunnableVm | None = None
        self._status = 0
        self._ending = False
        self._signal = 0
        self._wake: socket.socket | None = None
        try:
            for number, spec in enumerate(config.serials):
                self._open_serial(number, spec)
            for spec in config.monitors:
                device = self._open(spec)
                if device is not None:
                    self._monitor_devices.append(device)
        except BaseException:
            self.close()
            raise

    def _open_serial(self, number: int, spec: str) -> None:
        shared = spec.startswith("mon:")
        device = self._open(spec.removeprefix("mon:"), signals=not shared)
        if device is None:
            self.channels.append(None)
            return
        if shared:
            mux = Mux(device, end=self._end)
            self._monitor_devices.append(mux.monitor)
            device = mux.serial
        self.channels.append(Channel(number, device))

    def _open(self, spec: str, *, signals: bool = True) -> Chardev | None:
        device = open_chardev(spec, signals=signals)
        if device is not None:
            self.devices.append(device)
        return device

    # --- the machine's side -------------------------------------------------------------------

    def serial_sink(self, channel: int) -> Callable[[int], None]:
        """What takes the bytes that serial port `channel` sends."""
        found = self.channels[channel] if channel < len(self.channels) else None
        if found is None:
            return lambda byte: None
        write = found.device.write
        return lambda byte: write(bytes((byte,)))

    def attach(self, vm: RunnableVm) -> None:
        """Let the monitors serve `vm`, and typed bytes go to it."""
        self._vm = vm
        for device in self._monitor_devices:
            Monitor(vm, device)
        for device in self.devices:
            device.start()

    @property
    def stalled(self) -> bool:
        """Whether the guest must wait until somebody has read what it sent."""
        return any(device.full for device in self.devices)

    # --- the host's side ----------------------------------------------------------------------

    def poll(self, timeout_s: float = 0.0) -> None:
        """Move bytes both ways; wait up to `timeout_s` for something to happen."""
        self._feed()
        owners: dict[int, list[Chardev]] = {}
        poller = select.poll()
        masks: dict[int, int] = {}
        for device in self.devices:
            for fd, mask in device.events().items():
                owners.setdefault(fd, []).append(device)
                masks[fd] = masks.get(fd, 0) | mask
        if self._wake is not None:
            masks[self._wake.fileno()] = select.POLLIN
        for fd, mask in masks.items():
            poller.register(fd, mask)
        for fd, mask in poller.poll(max(0, round(timeout_s * 1000))):
            if fd in owners:
                for device in owners[fd]:
                    device.handle(fd, mask)
            else:
                self._drain_wake()
        self._feed()

    def _feed(self) -> None:
        """Give typed bytes to the serial ports that have room."""
        vm = self._vm
        for channel in self.channels:
            if vm is None or channel is None:
                continue
            while channel.typed and vm.serial_room(channel.number) > 0:
                vm.serial_receive(channel.number, channel.typed.popleft())

    def run(self, vm: RunnableVm) -> int:
        """Run `vm` until it is shut down; the exit status: 0, or 130 after C-c."""
        with self._signals():
            self.attach(vm)
            for device in self.devices:
                if device.waiting:
                    print(f"gossamer: waiting for {device.label}", file=sys.stderr, flush=True)
            while not self._ended(vm):
                wait = self._step(vm)
                self.poll(wait)
        self._feed()
        for device in self.devices:
            device.flush()
        return self._status

    def _step(self, vm: RunnableVm) -> float:
        """Run a slice if the machine can run; how long to wait for the host then, seconds."""
        if vm.run_state != "running" or self.stalled or any(d.waiting for d in self.devices):
            return LONGEST_WAIT_S
        typing = any(c is not None and c.typed for c in self.channels)
        vm.run_slice(TYPING_SLICE_NS if typing else SLICE_NS)
        for device in self.devices:
            device.flush()
        if vm.run_state == "internal-error":
            text = "gossamer: the guest's CPU has stopped (checkstop); the monitor can look at it"
            print(text, file=sys.stderr, flush=True)
        until = vm.idle_until_ns
        if until is None or vm.run_state == "shutdown":
            return 0.0
        return min(max(until - time.monotonic_ns(), 0) / 1e9, LONGEST_WAIT_S)

    def _ended(self, vm: RunnableVm) -> bool:
        if self._signal == signal.SIGTSTP:
            self._suspend()
        elif self._signal:
            name = signal.Signals(self._signal).name
            if self._signal == signal.SIGINT:
                self._status = INTERRUPTED
            else:
                print(f"gossamer: ended by {name}", file=sys.stderr, flush=True)
            self._ending = True
        if self._ending and vm.run_state != "shutdown":
            vm.quit()
        return self._ending or vm.run_state == "shutdown"

    def _suspend(self) -> None:
        """Stop as the shell asked, with the terminal as it was."""
        self._signal = 0
        for device in self.devices:
            device.suspend()
        os.kill(os.getpid(), signal.SIGSTOP)
        for device in self.devices:
            device.resume()

    def _end(self) -> None:
        self._ending = True

    def settle(self) -> bool:
        """Let terminals show what was written; whether one of them is in the middle of a line."""
        terminals = [device for device in self.devices if device.is_terminal]
        for device in terminals:
            device.flush()
        return any(device.mid_line for device in terminals)

    # --- signals ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """End the run between two slices on SIGINT and its like; a second SIGINT at once."""
        wake, self._wake = socket.socketpair()
        wake.setblocking(False)
        self._wake.setblocking(False)
        caught = (*ENDING, signal.SIGINT, signal.SIGTSTP)
        before = {number: signal.signal(number, self._caught) for number in caught}
        fd = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            wake.close()
            self._wake.close()
            self._wake = None

    def _caught(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._signal == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number

    def _drain_wake(self) -> None:
        assert self._wake is not None
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake.fileno(), 64)

    def close(self) -> None:
        """Restore the terminal and give back every descriptor."""
        for device in self.devices:
            device.close()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
