"""A USB hub with eight ports, as QEMU's `usb-hub`.

It answers the class requests of a hub and reports changes of its ports through endpoint 1.  Resets
of a port take no time, as in QEMU: the root hub's take theirs.  Source: USB Specification 1.1,
chapter 11; descriptors as Linux reads them under QEMU 7.2; docs page usb.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.devices.usb.device import NAK, STALL, Answer, UsbFunction
from gossamer.devices.usb.hid import default_serial
from gossamer.state.declare import Stateful, children, u16, wiring
from gossamer.state.layout import Layout, Nested

PORTS: Final = 8

# wPortStatus and, but for POWER, wPortChange.
CONNECTED, ENABLED, SUSPENDED, OVERCURRENT, RESETTING, POWER = 1, 2, 4, 8, 0x10, 0x100
# Features of a port: the number of the status bit, or 16 more for its change.
PORT_ENABLE, PORT_SUSPEND, PORT_RESET, PORT_POWER, CHANGE = 1, 2, 4, 8, 16

GET_STATUS, SET_FEATURE = 0, 3
LOCAL_POWER, OVER_CURRENT = 0, 1
"""Features of the hub: changes that can be cleared, of which there are none."""

DEVICE: Final = bytes.fromhex("12011001 09000008 0904aa55 0101 010203 01")
CONFIGURATION: Final = bytes.fromhex("090219000101 00e000 090400000109000000 070581030200ff")
HUB: Final = bytes((10, 0x29, PORTS, 0x0A, 0, 1, 0, 0, 0, 0xFF))
"""No power switching, no overcurrent protection; power is good after 2 ms; all is removable."""


class HubPort(Stateful):
    """What is seen of a port."""

    vmsd = "usb-hub-port"
    version = 1
    minimum = 1

    #: wPortStatus and wPortChange of USB 1.1, 11.16.2.6.
    status: int = u16(POWER, wire="wPortStatus")
    change: int = u16(wire="wPortChange")


def _port(n: int) -> Nested:
    return Nested(f"ports[{n}]", lambda hub: hub.ports[n])


class UsbHub(UsbFunction):
    """The hub; `devices` are on its ports, None where nothing is.  `at`: its own port, as 3.1."""

    vmsd = "usb-hub"
    version = 1
    minimum = 1

    SELF_POWERED = 1

    ports: list[HubPort] = children(HubPort, PORTS)

    devices: list[UsbFunction | None] = wiring()
    at: str = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [Nested("dev", lambda hub: hub.dev), *(_port(n) for n in range(PORTS))]
    }

    def __init__(self, clock: Clock, idstr: str, serial: str = "", *, at: str = "") -> None:
        self.devices, self.at = [None] * PORTS, at
        super().__init__(clock)
        self.idstr, self.product = idstr, "QEMU USB Hub"
        self.serial = serial or default_serial(314159, idstr)

    def reset(self) -> None:
        super().reset()
        self._power_on()

    def connect(self, port: int, device: UsbFunction, *, hot: bool = False) -> None:
        """Plug a device into a port (0 to 7); `hot`: while the machine runs."""
        self.devices[port] = device
        device.wakeup = self._waker(port)
        device.ready = lambda: self.ready()
        if not hot:
            self._power_on()
            return
        device.bus_reset()
        self.ports[port].status |= CONNECTED
        self.ports[port].change |= CONNECTED
        self._news()

    def disconnect(self, port: int) -> None:
        """Take the device out of a port (0 to 7)."""
        self.devices[port] = None
        where = self.ports[port]
        where.change |= CONNECTED | where.status & ENABLED
        where.status &= ~(CONNECTED | ENABLED | SUSPENDED)
        self._news()

    def _news(self) -> None:
        self.ready()
        self.wakeup()

    def _power_on(self) -> None:
        """Every port is powered; what is connected is seen to be."""
        for port, device in zip(self.ports, self.devices, strict=True):
            port.status, port.change = POWER, 0
            if device is not None:
                port.status, port.change = POWER | CONNECTED, CONNECTED

    def bus_reset(self) -> None:
        super().bus_reset()
        self._power_on()

    def _waker(self, n: int) -> Callable[[], None]:
        def wake() -> None:
            port = self.ports[n]
            if port.status & SUSPENDED:
                port.status &= ~SUSPENDED
                port.change |= SUSPENDED
            self._news()

        return wake

    def behind(self, number: int) -> UsbFunction | None:
        """The device in a port (from 1 on) that is enabled."""
        if not 1 <= number <= PORTS:
            return None
        usable = self.ports[number - 1].status & (ENABLED | SUSPENDED) == ENABLED
        return self.devices[number - 1] if usable else None

    # --- what is reached through it -----------------------------------------------------------

    def find(self, address: int) -> UsbFunction | None:
        """The device with an address: itself, or one behind a port that is enabled."""
        if self.dev.addr == address:
            return self
        for port, device in zip(self.ports, self.devices, strict=True):
            if device is not None and port.status & (ENABLED | SUSPENDED) == ENABLED:
                found = device.find(address)
                if found is not None:
                    return found
        return None

    # --- the device ---------------------------------------------------------------------------

    def device_descriptor(self) -> bytes:
        return DEVICE

    def configuration_descriptor(self) -> bytes:
        return CONFIGURATION

    def strings(self) -> dict[int, str]:
        return {1: "QEMU", 2: self.product, 3: self.serial}

    def poll(self, endpoint: int, length: int) -> Answer:
        """Endpoint 1: a bit for each port with a change, from bit 1 on."""
        if endpoint != 1:
            return STALL
        changed = sum(1 << n for n, port in enumerate(self.ports, 1) if port.change)
        return changed.to_bytes(2, "little")[:length] if changed else NAK

    def class_request(self, request_type: int, request: int, value: int, data: bytes) -> Answer:
        index = int.from_bytes(self.dev.setup_buf[4:6], "little")
        match request_type, request:
            case 0xA0, 0:  # GetHubStatus
                return bytes(4)
            case 0xA0, 6:  # GetHubDescriptor
                return HUB
            case (0x20, 1) | (0x20, 3):  # ClearHubFeature, SetHubFeature
                return b"" if value in (LOCAL_POWER, OVER_CURRENT) else STALL
            case (0xA3, 0) | (0x23, 1) | (0x23, 3) if 1 <= index <= PORTS:
                return self._port_request(request, self.ports[index - 1], index - 1, value)
        return STALL

    def _port_request(self, request: int, port: HubPort, n: int, value: int) -> Answer:
        """GetPortStatus, ClearPortFeature, SetPortFeature."""
        if request == GET_STATUS:
            return port.status.to_bytes(2, "little") + port.change.to_bytes(2, "little")
        if request == SET_FEATURE:
            return self._set(port, n, value)
        return _clear(port, value)

    def _set(self, port: HubPort, n: int, feature: int) -> Answer:
        if feature == PORT_SUSPEND:
            if port.status & ENABLED:
                port.status |= SUSPENDED
        elif feature == PORT_RESET:
            device = self.devices[n]
            port.status &= ~(SUSPENDED | RESETTING)
            if device is not None:
                device.bus_reset()
                port.status |= ENABLED
                port.change |= RESETTING
                self.ready()
        elif feature != PORT_POWER:
            return STALL
        return b""


def _clear(port: HubPort, feature: int) -> Answer:
    if feature == PORT_ENABLE:
        port.status &= ~(ENABLED | SUSPENDED)
    elif feature == PORT_SUSPEND:
        if port.status & SUSPENDED:
            port.status &= ~SUSPENDED
            port.change |= SUSPENDED
    elif CHANGE <= feature <= CHANGE + PORT_RESET:
        port.change &= ~(1 << feature - CHANGE)
    elif feature != PORT_POWER:
        return STALL
    return b""
