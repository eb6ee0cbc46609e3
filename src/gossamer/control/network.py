"""Cards and what their cables lead to: frames out of the machine and into it.

The backends are the host's: no save or stream has anything of them, and what a load puts in the
machine's place gets the same cables.  A frame for the guest is an input with its place on the line
of time, as a key is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control.events import NetdevConnected, NetdevDisconnected, socket_address
from gossamer.control.outside import cards
from gossamer.control.runner import RUNNING, Runner
from gossamer.machines.config import Netdev
from gossamer.net.backend import Backend

if TYPE_CHECKING:
    from gossamer.net.user import User


MOST_NETDEVS: Final = 64
_HELD_BACK: Final = 16 << 10
"""Bytes of frames that may wait for the end of a slice."""


class Network:
    """The backends of a machine's netdevs; a source of the loop, which asks it each round."""

    def __init__(self, vm: Runner) -> None:
        self.vm = vm
        self.backends: dict[str, Backend] = {}
        #: By card, the netdev that its cable leads to.
        self.cables: dict[str, str] = {}
        self._delivered = 0
        #: Bytes that cards have sent since the last flush; None: nothing yet in this slice.
        self._held: int | None = None
        self._numbers: list[Backend | None] = []
        try:
            for netdev in vm.config.netdevs:
                self.backends[netdev.id] = self._opened(netdev)
        except BaseException:
            self.close()
            raise
        for name, netdev_id in card_cables(vm):
            self.cables[name] = netdev_id
            vm.outside.links.setdefault(name, True)
        self._plug()
        vm.frames_out = self._sent
        vm.outside.attach(vm.machine)

    def _plug(self) -> None:
        """Let each card's cable lead to the backend that it names, where there is one."""
        self._numbers = []
        for n, (name, _, _) in enumerate(cards(self.vm.machine)):
            backend = self.backends.get(self.cables.get(name, ""))
            self._numbers.append(backend)
            if backend is not None:
                backend.deliver = self._deliverer(n, name)

    def add(self, netdev: Netdev) -> None:
        """Open one more; a card whose cable names it, and was taken from it, has it again.

        ConfigError for an id that is there, HostError where the host refuses.
        """
        if netdev.id in self.backends:
            raise ConfigError(f"Duplicate ID '{netdev.id}' for netdev")
        if len(self.backends) >= MOST_NETDEVS:
            raise ConfigError(f"{MOST_NETDEVS} netdevs are there: netdev_del comes first")
        self.backends[netdev.id] = self._opened(netdev)
        self._linked(netdev.id, is_up=True)

    def remove(self, name: str) -> None:
        """Close one; the cable of its card leads nowhere then.  ConfigError where there is none."""
        backend = self.backends.pop(name, None)
        if backend is None:
            raise ConfigError(f"Device '{name}' not found")
        backend.close()
        self._linked(name, is_up=False)

    def _linked(self, netdev_id: str, *, is_up: bool) -> None:
        self._plug()
        held = [card for card, netdev in self.cables.items() if netdev == netdev_id]
        for name in held:
            self.vm.outside.links[name] = is_up
        if held:
            self.vm.outside.attach(self.vm.machine)
            self.vm.broken("a cable was pulled or put back")

    def _opened(self, netdev: Netdev) -> Backend:
        made = opened(netdev)
        made.changed = lambda place: self._changed(netdev.id, place)
        return made

    def _changed(self, name: str, place: str | None) -> None:
        if place is None:
            self.vm.events.report(NetdevDisconnected(name))
            return
        self.vm.events.report(NetdevConnected(name, socket_address(place)))

    # --- frames -------------------------------------------------------------------------------

    def _sent(self, number: int, frame: bytes) -> None:
        """A card has put a frame on its cable (in the middle of a slice)."""
        backend = self._numbers[number] if number < len(self._numbers) else None
        if backend is None:
            return
        backend.send(frame)
        # The first leaves at once, so that the peer works on its answer beside the guest.
        if self._held is None or self._held >= _HELD_BACK:
            self._held = 0
            backend.flush()
        self._held += len(frame)

    def announce(self, number: int, frame: bytes) -> None:
        """Put a frame of the emulator's own on a card's cable, beside what the guest sends."""
        self._sent(number, frame)
        self.pump()

    def _deliverer(self, number: int, name: str) -> Callable[[Sequence[bytes]], int]:
        def deliver(frames: Sequence[bytes]) -> int:
            vm = self.vm
            if vm.busy or vm.run_state != RUNNING:
                return 0
            if number >= len(vm.outside.chips) or not vm.outside.links.get(name, True):
                return len(frames)  # the cable is out
            found = vm.outside.chips[number]
            if vm.history is None:
                count = found.receive_all(frames)
            else:
                count = 0
                for frame in islice(frames, found.burst):
                    if not found.room(len(frame)):
                        break
                    vm.noted("frame", number, frame.hex())
                    found.receive(frame)
                    count += 1
            self._delivered += count
            return count

        return deliver

    def pump(self) -> bool:
        """After a slice: write what the guest sent, deliver what waited; whether that was some."""
        before, self._held = self._delivered, None
        for backend in self.backends.values():
            backend.flush()
            backend.retry()
        return self._delivered != before

    # --- the loop -----------------------------------------------------------------------------

    def events(self) -> dict[int, int]:
        if self.vm.busy:
            return {}
        masks: dict[int, int] = {}
        for backend in self.backends.values():
            masks.update(backend.events())
        return masks

    def handle(self, fd: int, mask: int) -> None:
        for backend in self.backends.values():
            if fd in backend.events():
                with contextlib.suppress(OSError):
                    backend.handle(fd, mask)
                return

    # --- commands -----------------------------------------------------------------------------

    def user(self, name: str | None) -> User:
        """The user network of that id, or the first; ConfigError where there is none."""
        for backend in self.backends.values():
            if backend.kind == "user" and name in (None, backend.name):
                return cast("User", backend)
        raise ConfigError(
            "there is no user network: -netdev user makes one"
            if name is None
            else f"no user network with id '{name}'"
        )

    def close(self) -> None:
        for backend in self.backends.values():
            with contextlib.suppress(GossamerError, OSError):
                backend.close()
        self.backends.clear()


def card_cables(vm: Runner) -> list[tuple[str, str]]:
    """Card and netdev, for each card that -device or -nic has given one."""
    # Cards of -nic come first, then those of -device, as the machine's parts do.
    given = [one for one in vm.config.nics if "netdev" in one.values]
    given += [one for one in vm.config.devices if "netdev" in one.values]
    names = [name for name, _, _ in cards(vm.machine)]
    start = len(names) - len(given)
    return [
        (name, one.text("netdev"))
        for name, one in zip(names[start:], given, strict=True)
        if one.text("netdev")
    ]


def opened(netdev: Netdev) -> Backend:
    """A backend, open; HostError where the host refuses."""
    values = netdev.values
    kind = values.get("way", netdev.kind)
    if kind == "stream":
        from gossamer.net.stream import Stream  # noqa: PLC0415 - most runs need none

        address = values["address"]
        fd = address["fd"] if isinstance(address, dict) else None
        return Stream(
            netdev.id,
            "" if fd is not None else address,
            server=values["server"],
            retry_ns=1_000_000 * values.get("retry_ms", 0),
            fd=fd,
            kind=netdev.kind,
        )
    if kind == "dgram":
        from gossamer.net.packets import Datagrams  # noqa: PLC0415

        return Datagrams(netdev.id, values["local"], values["remote"], values["fd"])
    if kind == "tap":
        from gossamer.net.packets import Tap  # noqa: PLC0415

        return Tap(netdev.id, values["fd"])
    if kind == "passt":
        from gossamer.net.passt import Passt  # noqa: PLC0415

        return Passt(netdev.id, values["path"], values["words"])
    from gossamer.net.user import User  # noqa: PLC0415

    return User(netdev.id, values)
