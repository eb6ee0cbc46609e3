"""What commands act on: a machine, and the way to begin what goes on beside them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gossamer.base import late
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control.fd_sets import FdSets
from gossamer.control.jobs import Jobs
from gossamer.control.objects import Objects
from gossamer.control.steps import Running, Steps, finish
from gossamer.control.viewers import VncServer
from gossamer.control.vm import Vm

if TYPE_CHECKING:
    from gossamer.control.network import Network

#: Run states in which a machine goes on when it is ready, unless -S says otherwise.
STARTED = ("prelaunch", "running", "inmigrate")


class Session:
    """One machine and its commands.

    `spawn` begins steps that go on by themselves (the loop's; without one they run to their end at
    once); what they raise is theirs to handle.  `report` shows the user a line.  `autostart`: a
    machine that arrives runs, if it ran.  `fault`: why the process has to end with an error.
    `debug_at` serves gdb on a character device.
    """

    def __init__(self, vm: Vm, spawn: Callable[[Steps[Any]], object] = finish) -> None:
        self.vm = vm
        self.spawn = spawn
        self.report: Callable[[str], None] = lambda text: None
        self.debug_at: Callable[[str], None] = _no_debugger
        self.autostart = vm.config.start
        self.fault: GossamerError | None = None
        self.jobs = Jobs(vm.events)
        #: The number of the CPU that is looked at.
        self.cpu_index = 0
        #: Where the pointer was put last, each 0 to 0x7fff.
        self.pointer = {"x": 0, "y": 0}
        #: Status of the last dump, its bytes so far, and all of them.
        self.last_dump = ("none", 0, 0)
        #: How often a client has said stop.
        self.stops = 0
        #: The host's thread that runs the machine.
        self.thread_id = threading.get_native_id()
        #: What character devices there are; the front's.
        self.chardevs: Callable[[], list[tuple[str, str, bool]]] = list
        #: Records what chips note from now on, by items of -d, or into another file; the front's.
        self.log: Callable[[str], None] = _no_log
        self.log_file: Callable[[str], None] = _no_log
        #: What a human monitor answers to a line; the front's.
        self.human: Callable[[str], Steps[str]] | None = None
        #: What cables lead to; None: nowhere.
        self.network: Network | None = None
        #: Makes the network that a machine started without; the front's.
        self.network_there: Callable[[], Network] = _no_network
        #: The VNC servers; the front's.
        self.vnc_servers: list[VncServer] = []
        #: Address and connections of the page for browsers; the front's.
        self.web: Callable[[], tuple[str, int]] | None = None
        self.objects = Objects(vm.transfers.tls)
        for kind, name, values in vm.config.objects:
            self.objects.add(kind, name, values)
        self.fd_sets = FdSets(vm.config.fd_sets)
        #: Opens and closes character devices at run time; the front's.
        self.chardev_add: Callable[[str, str], str] = _no_chardev
        self.chardev_remove: Callable[[str], None] = _no_chardev
        #: Descriptors that a client has passed and no command has taken yet.
        self.passed_fds: deque[int] = deque()
        #: Those that `getfd` has given a name.
        self.named_fds: dict[str, int] = {}

    def take_in(self, uri: str, *, exit_on_error: bool = True) -> None:
        """Begin to wait at `uri` for a machine."""
        from gossamer.control import loading  # noqa: PLC0415 - most take in none
        from gossamer.migrate.channels import is_loopback, parse  # noqa: PLC0415

        place = parse(uri)
        if place.kind == "tcp" and not is_loopback(place) and not self.vm.transfers.tls.creds:
            self.report(
                f"{place.text}: any peer that reaches it can send a machine, and all is readable "
                "on the way; tls-creds encrypts and checks"
            )
        late.load_all()  # a sender that has come must not wait for it
        if self.vm.is_unused:
            if place.kind != "file":  # one of those is put under memory
                Running(partial(loading.memory_ahead, self.vm.machine))
            loading.rehearse_arrival(self.vm.machine)
        steps = self.vm.transfers.receive(
            uri, mend=self.vm.config.repair, patient=True, beside=self.spawn
        )
        self.spawn(self._arriving(steps, exit_on_error=exit_on_error))

    def _arriving(self, steps: Steps[Any], *, exit_on_error: bool) -> Steps[None]:
        try:
            received = yield from steps
        except GossamerError as fault:
            if exit_on_error and not self.vm.ended:
                self.fault = fault
                self.vm.quit("host-error")
            return
        self.report(received.text)
        self._announce()
        if self.vm.run_state == "running":  # one that never ran stays in prelaunch
            if self.autostart:
                self._go_on()
            else:
                self.vm.stop()

    def _announce(self) -> None:
        """The cards say that they are here now, as QEMU's do."""
        if self.network is not None:
            from gossamer.control.announcing import Announcement, announcing  # noqa: PLC0415

            p = self.vm.transfers.parameters
            how = Announcement(
                p.announce_initial, p.announce_max, p.announce_rounds, p.announce_step
            )
            self.spawn(announcing(self.network, how))

    def _go_on(self) -> None:
        """Run what has arrived; it waits where its disks are not free yet."""
        try:
            self.vm.cont()
        except GossamerError as fault:
            self.vm.stop()
            self.report(f"{fault}: the machine waits for cont")

    def take_fd(self, name: str) -> int:
        """A descriptor by its number or by getfd's name for it; the caller's from now on."""
        if name in self.named_fds:
            return self.named_fds.pop(name)
        if name.isascii() and name.isdigit():
            return int(name)
        raise ConfigError(f"File descriptor named '{name}' has not been found")

    def place(self, uri: str) -> str:
        """A migration URI with ``fd:NAME`` as a number."""
        form, plus, plain = uri.rpartition("+")
        kind, _, name = plain.partition(":")
        if kind == "file":
            return f"{form}{plus}file:{self.fd_sets.path(name)}"
        if kind != "fd" or name.isdigit():
            return uri
        return f"{form}{plus}fd:{self.take_fd(name)}"

    def close(self) -> None:
        """End what goes on, and give back what is open."""
        self.vm.transfers.abandon()
        self.vm.media.close()
        if self.network is not None:
            self.network.close()
        self.fd_sets.close()
        for fd in (*self.named_fds.values(), *self.passed_fds):
            os.close(fd)
        self.named_fds.clear()
        self.passed_fds.clear()

    def check_idle(self) -> None:
        """ConfigError while a transfer is under way."""
        if self.vm.busy:
            raise ConfigError(f"not while the machine is being {self.vm.busy}")
        if self.vm.transfers.under_way is not None:
            raise ConfigError("There's a migration process in progress")


def _no_chardev(name: str, text: str = "") -> Any:  # noqa: ANN401 - never returns
    del text
    raise ConfigError(f"{name}: no character device can be served here")


def _no_network() -> Any:  # noqa: ANN401 - never returns
    raise ConfigError("no network can be served here")


def _no_log(text: str) -> None:
    raise ConfigError(f"{text}: nothing is recorded here")


def _no_debugger(device: str) -> None:
    raise ConfigError(f"no debugger can be served on {device} here")
