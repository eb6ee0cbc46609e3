"""Binds the outside to a machine: serial ports and monitors to character devices.

It never throws away a byte that a reader waits for: a guest that writes faster than its reader
reads has to wait.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from gossamer.base.errors import ConfigError
from gossamer.control.session import Session
from gossamer.front.chardev import LIMIT, Chardev
from gossamer.front.hmp.monitor import Monitor
from gossamer.front.loop import LONGEST_WAIT_S, Loop
from gossamer.front.mux import Mux
from gossamer.front.open_chardev import open_chardev
from gossamer.front.port import Channel
from gossamer.front.signals import Signals, stop_process
from gossamer.machines.chardev_options import CONTROL, PRETTY
from gossamer.machines.config import Config

if TYPE_CHECKING:
    from gossamer.control.network import Network

SLICE_NS: Final = 2_000_000
"""Host ns for which the guest runs between two looks at the host."""
TYPING_SLICE_NS: Final = 1_000_000
"""The same while typed bytes wait for the guest to take them."""
_WAITING_S: Final = 0.005
"""How long a round takes at the most while the guest waits for memory."""
_LEISURE_NS: Final = 20_000_000
"""A guest that waits for so long has nothing to do."""
_SETTLED_NS: Final = 3_000_000_000
"""One that has waited for so long in all has booted: probes of devices are waits, too."""
MOST_ADDED: Final = 64
"""Character devices that clients may add."""


class Console:
    """The consoles of one machine, and the loop that serves them.

    Make it from the configuration, give the machine its `serial_sink`s, then `run` it.  `close`
    (or `with`) restores the terminal.
    """

    def __init__(self, config: Config) -> None:
        self.loop = Loop()
        self.devices: list[Chardev] = []
        self.channels: list[Channel | None] = []
        self._monitor_devices: list[Chardev] = []
        self._control_devices: list[Chardev] = []
        self._pretty: set[Chardev] = set()
        self._session: Session | None = None
        self._signals = Signals(self._suspend)
        self._ending = False
        self._escape, self._ids = config.escape, config.chardev_ids
        self._added: dict[str, Chardev] = {}
        self._gdb, self._qtest, self._web = config.gdb, config.qtest, config.web is not None
        self._closings: list[Callable[[], None]] = []
        #: Reports where the page is; called once all that it offers is there, a move's end too.
        self.announce: Callable[[], None] = lambda: None
        #: Called once, when the guest has booted and has nothing to do for a while.
        self.at_leisure: Callable[[], object] | None = None
        self._steps_clock, self._qtest_log = config.accel.stands, config.qtest_log
        try:
            for number, spec in enumerate(config.serials):
                self._open_serial(number, spec)
            for number, spec in enumerate(config.monitors):
                self._open_monitor(number, spec)
        except BaseException:
            self.close()
            raise

    def _open_serial(self, number: int, spec: str) -> None:
        shared = spec.startswith("mon:")
        device = self._open(spec.removeprefix("mon:"), signals=not shared)
        if device is None:
            self.channels.append(Channel(number, Chardev(spec)) if self._web else None)
            return
        device.id = self._ids.get(f"serial{number}", f"serial{number}")
        if shared:
            mux = Mux(device, end=self._end, escape=self._escape)
            self._monitor_devices.append(mux.monitor)
            device = mux.serial
        self.channels.append(Channel(number, device))

    def _open_monitor(self, number: int, spec: str) -> None:
        control = spec.startswith(CONTROL)
        pretty = spec.startswith(CONTROL + PRETTY)
        device = self._open(spec.removeprefix(CONTROL).removeprefix(PRETTY))
        if device is None:
            return
        device.id = self._ids.get(f"monitor{number}", f"compat_monitor{number}")
        if control:
            self._control_devices.append(device)
            self._pretty |= {device} if pretty else set()
        else:
            self._monitor_devices.append(device)

    def _open(self, spec: str, *, signals: bool = True) -> Chardev | None:
        device = open_chardev(spec, signals=signals)
        if device is not None:
            self.add(device)
        return device

    def add(self, device: Chardev) -> None:
        """Serve `device`, too."""
        self.devices.append(device)
        self.loop.add(device)

    # --- the machine's side -------------------------------------------------------------------

    def serial_sink(self, channel: int) -> Callable[[bytes], None]:
        """What takes the bytes that serial port `channel` sends."""
        found = self.channels[channel] if channel < len(self.channels) else None
        if found is None:
            return lambda data: None
        return found.write if self._web else found.device.write

    def attach(self, session: Session) -> None:
        """Let the monitors serve `session`, and typed bytes go to its machine."""
        self._session = session
        session.spawn = self.loop.spawn
        session.vm.serve_others = self._serve_others
        session.debug_at = self.debug_at
        for device in self._monitor_devices:
            Monitor(session, device)
        session.chardevs = lambda: [
            (d.id, d.filename, d.id not in self._added) for d in self.devices
        ]
        session.chardev_add, session.chardev_remove = self.add_chardev, self.remove_chardev
        session.human = Monitor(session, Chardev("human-monitor-command")).answer
        if self._control_devices:
            from gossamer.front.qmp.connection import Qmp  # noqa: PLC0415 - most runs need none

            for device in self._control_devices:
                Qmp(session, device, pretty=device in self._pretty)
        self._attach_servers(session)
        for device in self.devices:
            device.start()

    def _attach_servers(self, session: Session) -> None:
        """Let viewers, a debugger and a device test reach it, where options ask for them."""
        session.network_there = partial(self._network_there, session)
        if session.vm.config.netdevs:
            session.network_there()
        if session.vm.config.vncs:
            from gossamer.front.vnc.server import open_servers  # noqa: PLC0415 - most runs need none

            for server in open_servers(session, self.loop):
                self._closings.append(server.close)
        if session.vm.config.web is not None:
            from gossamer.front.web.server import open_web  # noqa: PLC0415 - most runs need none

            served = open_web(session, self.loop, self.channels)
            self._closings.append(served.close)
            self.announce = served.announce
        if self._gdb is not None:
            self.debug_at(self._gdb)
        if self._qtest is not None and (device := self._open(self._qtest)) is not None:
            from gossamer.front.qtest import QtestServer, RequestLog  # noqa: PLC0415 - most runs need none

            log = RequestLog(self._qtest_log) if self._qtest_log else None
            tested = QtestServer(session.vm, device, steps_clock=self._steps_clock, log=log)
            self._closings.append(tested.close)
            self._hold_while_saving(device)

    def _network_there(self, session: Session) -> Network:
        """The network, made when it is first asked for."""
        if session.network is None:
            from gossamer.control.network import Network  # noqa: PLC0415 - most runs need none

            session.network = Network(session.vm)
            self.loop.add(session.network)
        return session.network

    def add_chardev(self, name: str, spec: str) -> str:
        """Open a device while the machine is there; the terminal's path if it is one."""
        if any(device.id == name for device in self.devices):
            raise ConfigError(f"Chardev with id '{name}' already exists")
        if len(self._added) >= MOST_ADDED:
            raise ConfigError(f"{MOST_ADDED} character devices were added: chardev-remove first")
        device = self._open(spec)
        assert device is not None
        device.id, device.most = name, LIMIT
        self._added[name] = device
        device.start()
        return device.pty_path

    def remove_chardev(self, name: str) -> None:
        """Close a device that `add_chardev` has opened."""
        if name not in self._added:
            busy = any(device.id == name for device in self.devices)
            raise ConfigError(
                f"Chardev '{name}' is busy" if busy else f"Chardev '{name}' not found"
            )
        self._close(self._added.pop(name))

    def _close(self, device: Chardev) -> None:
        self.devices.remove(device)
        self.loop.remove(device)
        device.close()

    def debug_at(self, spec: str) -> None:
        """Serve gdb on the device `spec`, in the place of the one before."""
        assert self._session is not None
        if self._gdb_device is not None:
            self._close(self._gdb_device)
        if spec.startswith("chardev:"):
            name = spec.removeprefix("chardev:")
            if name not in self._added:
                raise ConfigError(f"Chardev '{name}' not found")
            self._gdb_device = self._added.pop(name)
        else:
            self._gdb_device = None if spec == "none" else self._open(spec)
        if self._gdb_device is not None:
            from gossamer.front.gdb.server import GdbServer  # noqa: PLC0415 - most runs need none

            GdbServer(self._session, self._gdb_device)
            self._hold_while_saving(self._gdb_device)

    def _hold_while_saving(self, device: Chardev) -> None:
        """Take no input from a device that could change the machine under a save."""
        assert self._session is not None
        vm, room = self._session.vm, device.room
        device.room = lambda: 0 if vm.busy else room()

    _gdb_device: Chardev | None = None

    @property
    def stalled(self) -> bool:
        """Whether the guest must wait until its output has been read."""
        # A monitor waits itself for its client.
        monitors = (*self._monitor_devices, *self._control_devices)
        return any(device.full for device in self.devices if device not in monitors)

    # --- the host's side ----------------------------------------------------------------------

    def poll(self, timeout_s: float = 0.0) -> None:
        """Move bytes both ways; wait up to `timeout_s` for something to happen."""
        self._feed()
        self.loop.poll(timeout_s)
        self._feed()

    def _feed(self) -> None:
        """Give typed bytes to the serial ports that have room."""
        if self._session is None or self._session.vm.busy:
            return
        vm = self._session.vm
        for channel in self.channels:
            while channel is not None and channel.typed and vm.serial_room(channel.number) > 0:
                vm.serial_receive(channel.number, channel.typed.popleft())

    def end_with_process(self) -> None:
        """The process ends when `run` is back; signals that come from then on are ignored."""
        self._signals.last = True

    def beside(self, call: Callable[[], int]) -> int:
        """Do `call`, which runs the machine, in a thread that clients can tell from the process.

        libvirt asks for the thread of a CPU, and moves it to another of the host's.
        """
        return self._signals.beside(call, self.loop.wake_fd)

    @property
    def controlled(self) -> bool:
        """Whether there is a QMP monitor."""
        return bool(self._control_devices)

    def run(self, session: Session) -> int:
        """Run its machine until it is over; the exit status: 0, or 130 after C-c."""
        with self._signals.caught(self.loop.wake_fd):
            if self._session is None:
                self.attach(session)
            for device in self.devices:
                if device.waiting:
                    print(f"gossamer: waiting for {device.label}", file=sys.stderr, flush=True)
            self.loop.run(self._turn)
        self._feed()
        for device in self.devices:
            device.flush()
        return self._signals.status or 0

    def _turn(self) -> float | None:
        """Run a slice if the machine can run; how long to wait for the host then, seconds."""
        session = self._session
        assert session is not None
        vm = session.vm
        self._signals.look()
        if self._ending or self._signals.status is not None:
            vm.quit("host-ui" if self._ending else "host-signal")
        if vm.busy:
            return LONGEST_WAIT_S
        if vm.ended:
            return None
        self._feed()
        if (
            vm.run_state != "running"
            or self._steps_clock
            or self.stalled
            or any(d.waiting for d in self.devices)
        ):
            return LONGEST_WAIT_S
        for device in self.devices:
            device.stuck = ""  # what the host refused is tried again
        typing = any(c is not None and c.typed for c in self.channels)
        vm.run_slice(TYPING_SLICE_NS if typing else SLICE_NS)
        if session.network is not None and session.network.pump():
            vm.idle_until_ns = None  # it has something to do
        for device in self.devices:
            device.flush()
            if device.stuck:
                vm.run_state = "io-error"
                print(f"gossamer: {device.stuck}; cont tries again", file=sys.stderr, flush=True)
        if vm.run_state == "internal-error":
            text = "gossamer: the guest's CPU has stopped (checkstop); the monitor can look at it"
            print(text, file=sys.stderr, flush=True)
        self._feed()
        until = vm.idle_until_ns
        if until is None or vm.ended:
            return 0.0
        left = max(until - time.monotonic_ns(), 0)
        if left > _LEISURE_NS and self.loop.waited_ns > _SETTLED_NS:
            call, self.at_leisure = self.at_leisure, None
            if call is not None:
                call()
        return left / 1e9

    def _serve_others(self) -> None:
        """A round of the loop in the middle of a slice: the guest waits for its memory."""
        assert self._session is not None
        self._signals.look()
        if self._ending or self._signals.status is not None:
            self._session.vm.quit("host-ui" if self._ending else "host-signal")
        self.loop.poll(_WAITING_S)

    def _suspend(self) -> None:
        """Stop as the shell asked, with the terminal as it was."""
        for device in self.devices:
            device.suspend()
        stop_process()
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

    def close(self) -> None:
        """Restore the terminal and give back every descriptor."""
        self.loop.close()
        for closing in self._closings:
            closing()
        for device in self.devices:
            device.close()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
