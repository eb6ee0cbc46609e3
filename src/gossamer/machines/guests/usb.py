"""A fourth built-in guest (``-bios builtin-usb``, mac99,via=pmu): it drives USB keyboard and mouse.

The second one with another script.  It resets the ports, gives addresses, and then takes control
transfers to pieces: each stage, each packet of eight bytes, is a transfer descriptor of its own and
a frame of its own, the keyboard's and the mouse's in turns, so that both are in the middle of a
transfer most of the time.  Some are broken off, refused, or written to the device.  The reports of
both come by the periodic list, again and again since they have an idle time.

Sources: docs/chips/ohci.md, usb.md, openpic.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.machines.guests import pic, watcher
from gossamer.machines.guests.script import (
    LEVEL,
    PIC,
    REPORT,
    USB,
    USB_AT,
    Script,
    Step,
    read,
    source,
    task_priority,
    wait,
    write,
)

#: What -bios calls it.
NAME: Final = "builtin-usb"
USB_SOURCE: Final = 0x1C
#: The main bus's configuration registers, and the controller's function in slot 13.
ADDRESS, VALUE = (watcher.BRIDGES["mac99"][name] for name in ("address", "value"))
FUNCTION: Final = 0x8000_6800

# --- registers, descriptors -----------------------------------------------------------------------

CONTROL, COMMAND, STATUS, ENABLE, HCCA, CONTROL_HEAD = 0x04, 0x08, 0x0C, 0x10, 0x18, 0x20
INTERVAL, PERIODIC, PORTS = 0x34, 0x40, 0x54
CONTROL_FILLED: Final = 2
#: Operational, periodic and control lists.
GO: Final = 0x80 | 0x10 | 0x04
#: Done queue written, hub changed; master enable.
INTERRUPTS: Final = 0x8000_0000 | 0x40 | 0x02
PORT_RESET, PORT_CHANGES = 0x10, 0x1F_0000
#: Turns of an empty loop at 32 ns: more than a frame.
FRAME: Final = 34_000

HCCA_AT, LISTS, PACKETS, BUFFERS = 0x8000, 0x8100, 0x8300, 0x9000
KEYBOARD, MOUSE = 0, 1
SETUP, OUT, IN = 0, 1, 2
SKIP: Final = 1 << 14
#: Not yet accessed, no delay, short packets welcome, the toggle is the descriptor's.
FLAGS: Final = 0xF << 28 | 1 << 25 | 1 << 18


def register(offset: int, value: int) -> Step:
    return write(USB_AT + offset, value)


def config(offset: int, value: int) -> list[Step]:
    return [write(ADDRESS, FUNCTION | offset), write(VALUE, value)]


def endpoint(device: int, interrupt: bool) -> int:
    """Address of its endpoint descriptor."""
    return LISTS + 0x40 * device + 0x20 * interrupt


def data(device: int) -> int:
    """Address of a buffer of 256 bytes."""
    return BUFFERS + 0x100 * device


def queue(at: int, control: int, pid: int, toggle: int, buffer: int, length: int) -> list[Step]:
    """Give the endpoint at `at`, which is passed over meanwhile, one transfer and no other."""
    transfer, end = at + 0x100, at + 0x110
    return [
        write(at, control | SKIP),
        write(transfer, FLAGS | toggle << 24 | pid << 19),
        write(transfer + 4, buffer if length else 0),
        write(transfer + 8, end),
        write(transfer + 12, buffer + length - 1 if length else 0),
        write(at + 8, transfer),
        write(at + 4, end),
        write(at, control),
    ]


def stage(
    device: int,
    pid: int,
    toggle: int,
    buffer: int = 0,
    length: int = 0,
    *,
    address: int | None = None,
) -> list[Step]:
    """A packet on endpoint 0; a frame passes."""
    number = device + 1 if address is None else address
    return [
        *queue(endpoint(device, False), 8 << 16 | number, pid, toggle, buffer, length),
        register(COMMAND, CONTROL_FILLED),
        wait(FRAME),
    ]


def listen(device: int, length: int, toggle: int) -> list[Step]:
    """Ask for its report, by the periodic list."""
    control = length << 16 | IN << 11 | 1 << 7 | device + 1
    return queue(endpoint(device, True), control, IN, toggle, data(device) + 0x80, length)


def reports(device: int) -> list[Step]:
    """Read the report, and how its transfer went."""
    at = endpoint(device, True)
    return [read(data(device) + 0x80), read(data(device) + 0x84), read(at + 0x100), read(at + 8)]


# --- requests -------------------------------------------------------------------------------------

#: bmRequestType, bRequest, wValue, wIndex, wLength: USB 1.1 9.3, HID 1.11 7.2.
REQUESTS: Final = {
    "address 1": (0x00, 5, 1, 0, 0),
    "address 2": (0x00, 5, 2, 0, 0),
    "configuration": (0x00, 9, 1, 0, 0),
    "idle": (0x21, 10, 0x0100, 0, 0),
    "lights": (0x21, 9, 0x0200, 0, 1),
    "descriptor": (0x80, 6, 0x0200, 0, 34),
    "no string": (0x80, 6, 0x0377, 0x0409, 255),
    "product": (0x80, 6, 0x0302, 0x0409, 18),
}


def packet(request: str) -> int:
    """Address of its SETUP packet."""
    return PACKETS + 8 * list(REQUESTS).index(request)


def packets() -> list[Step]:
    out = []
    for name, (kind, request, value, index, length) in REQUESTS.items():
        at = packet(name)
        out += [write(at, kind | request << 8 | value << 16), write(at + 4, index | length << 16)]
    return out


def begin(device: int, request: str, address: int | None = None) -> list[Step]:
    return stage(device, SETUP, 0, packet(request), 8, address=address)


def piece(device: int, n: int, length: int = 8) -> list[Step]:
    """The n-th eight bytes of what the device has to say."""
    at = data(device) + 8 * n
    return [*stage(device, IN, ~n & 1, at, length), read(at), read(at + 4)]


def end_read(device: int) -> list[Step]:
    """The status stage of a transfer that read something."""
    return stage(device, OUT, 1)


def end_write(device: int, address: int | None = None) -> list[Step]:
    """The status stage of one that set something, or wrote it."""
    return stage(device, IN, 1, address=address)


def connect(device: int) -> list[Step]:
    """Reset its port; address, configuration."""
    port = PORTS + 4 * device
    return [
        register(port, PORT_RESET),
        wait(FRAME),
        register(port, PORT_CHANGES),
        read(USB_AT + port),
        *begin(device, f"address {device + 1}", address=0),
        *end_write(device, address=0),
        *begin(device, "configuration"),
        *end_write(device),
    ]


# --- the script -----------------------------------------------------------------------------------

ONCE: Final = [
    write(PIC + 0x1020, 0x2000_0000),
    *source(USB_SOURCE, 5, USB, LEVEL),
    task_priority(0),
    *config(0x10, USB_AT),
    *config(0x04, 6),
    *packets(),
    *(write(HCCA_AT + 4 * n, endpoint(KEYBOARD, True)) for n in range(32)),
    write(endpoint(KEYBOARD, False), SKIP),
    write(endpoint(KEYBOARD, False) + 12, endpoint(MOUSE, False)),
    write(endpoint(MOUSE, False), SKIP),
    write(endpoint(KEYBOARD, True), SKIP),
    write(endpoint(KEYBOARD, True) + 12, endpoint(MOUSE, True)),
    write(endpoint(MOUSE, True), SKIP),
    register(HCCA, HCCA_AT),
    register(CONTROL_HEAD, endpoint(KEYBOARD, False)),
    register(INTERVAL, 0x2778_2EDF),
    register(PERIODIC, 0x2A2F),
    register(STATUS, 0x7F),
    register(ENABLE, INTERRUPTS),
    register(CONTROL, GO),
    *connect(KEYBOARD),
    *connect(MOUSE),
    *begin(KEYBOARD, "idle"),
    *begin(MOUSE, "idle"),
    *end_write(KEYBOARD),
    *end_write(MOUSE),
    write(data(KEYBOARD) + 0x90, 2),  # caps lock
]
AGAIN: Final = [
    *listen(KEYBOARD, 8, 0),
    *listen(MOUSE, 4, 0),
    # Both describe themselves, in turns; the mouse is broken off by its next request.
    *begin(KEYBOARD, "descriptor"),
    *begin(MOUSE, "product"),
    *piece(KEYBOARD, 0),
    *piece(MOUSE, 0),
    *piece(KEYBOARD, 1),
    *piece(MOUSE, 1),
    *piece(KEYBOARD, 2),
    *begin(MOUSE, "no string"),
    *piece(KEYBOARD, 3),
    *piece(MOUSE, 0),  # refused
    *piece(KEYBOARD, 4, 2),
    *end_read(KEYBOARD),
    *reports(MOUSE),
    REPORT,
    # The keyboard's lights: a byte written to it.
    *listen(MOUSE, 4, 1),
    *begin(KEYBOARD, "lights"),
    *stage(KEYBOARD, OUT, 1, data(KEYBOARD) + 0x90, 1),
    *begin(MOUSE, "descriptor"),
    *end_write(KEYBOARD),
    *piece(MOUSE, 0),
    *end_read(MOUSE),
    *reports(KEYBOARD),
    *reports(MOUSE),
    read(USB_AT + PORTS),
    read(USB_AT + PORTS + 4),
    REPORT,
]
SCRIPT: Final = Script(tuple(ONCE), tuple(AGAIN), (USB,), 0)


def picture(machine: str, tb_hz: int) -> bytes:
    """RAM from 0 to DATA with the program in it."""
    return pic.picture(machine, tb_hz, SCRIPT)
