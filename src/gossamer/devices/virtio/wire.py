"""How a virtio device behind PCI stands in a stream, as QEMU 7.2 writes it.

A head that has no description there, the device's own part, then subsections; queues that a device
has not are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Protocol

from gossamer.devices.msix import ENTRY
from gossamer.devices.pci import pci_struct
from gossamer.devices.virtio.ring import VirtQueue
from gossamer.state.codec import U8, U32, Buffer, Equal
from gossamer.state.layout import Constant, Item, Layout, Nested, View

if TYPE_CHECKING:
    from gossamer.devices.virtio.pci import VirtioPci

#: Queues that a stream has room for.
ROOM: Final = 1024
_QUEUE: Final = Struct(">IQHH")
_RINGS: Final = Struct(">QQ")
_SETUP: Final = Struct(">HBB6I")
_WORD: Final = (1 << 32) - 1


def _sized(size: Callable[[Any], int]) -> Callable[[Any], Buffer]:
    return lambda device: Buffer(size(device))


def _put_table(device: VirtioPci, data: bytearray) -> None:
    device.msix.table = data


def _put_pending(device: VirtioPci, data: bytearray) -> None:
    device.msix.pending = data


def _put_low(device: VirtioPci, value: int) -> None:
    device.core.guest_features = device.core.guest_features & ~_WORD | value


def _put_config(device: VirtioPci, data: bytearray) -> None:
    device.config_space = data


def _put_length(device: VirtioPci, length: int) -> None:
    if length != len(device.config_space):
        raise ValueError(f"must be {len(device.config_space)}, got {length}")


def _put_count(device: VirtioPci, count: int) -> None:
    if count != len(device.queues):
        raise ValueError(f"must be {len(device.queues)} queues, got {count}")


def _queues(device: VirtioPci) -> bytes:
    return b"".join(_QUEUE.pack(q.size, q.desc, q.last, q.vector) for q in device.queues)


def _put_queues(device: VirtioPci, data: bytearray) -> None:
    device.core.expect()
    for q, (size, desc, last, vector) in zip(device.queues, _QUEUE.iter_unpack(data), strict=True):
        if not q.set_size(size):
            raise ValueError(f"queue {q.number}: size must be 1..{ROOM}, got {size}")
        if not desc and last:
            raise ValueError(f"queue {q.number}: no rings, but chain {last}")
        q.desc, q.last, q.vector = desc, last, vector
        q.place(desc)
        if not desc:
            q.avail = q.used = 0


class Queues(Protocol):
    """What has queues."""

    queues: list[VirtQueue]


def _table(form: Struct, rows: Sequence[tuple[int, ...]]) -> bytes:
    return b"".join(form.pack(*row) for row in rows).ljust(form.size * ROOM, b"\0")


def _rows(form: Struct, data: bytearray, count: int) -> list[tuple[int, ...]]:
    if any(data[form.size * count :]):
        raise ValueError(f"a queue behind the {count} that there are")
    return list(form.iter_unpack(data[: form.size * count]))


def _put_rings(device: Queues, data: bytearray) -> None:
    for q, row in zip(device.queues, _rows(_RINGS, data, len(device.queues)), strict=True):
        q.avail, q.used = row


def _setup(device: Queues) -> bytes:
    def row(*addresses: int) -> list[int]:
        return [part for one in addresses for part in (one & _WORD, one >> 32)]

    return _table(
        _SETUP,
        [
            (q.setup_size, 0, q.enabled, *row(q.setup_desc, q.setup_avail, q.setup_used))
            for q in device.queues
        ],
    )


def _put_setup(device: Queues, data: bytearray) -> None:
    for q, row in zip(device.queues, _rows(_SETUP, data, len(device.queues)), strict=True):
        size, _, enabled, *cells = row
        if enabled > 1:
            raise ValueError(f"queue {q.number}: a bool must be 0 or 1, got {enabled}")
        q.setup_size, q.enabled = size, bool(enabled)
        q.setup_desc, q.setup_avail, q.setup_used = (
            cells[n] | cells[n + 1] << 32 for n in (0, 2, 4)
        )


def _sizes(device: Queues) -> bytes:
    usual = b"".join(q.usual.to_bytes(4, "big") for q in device.queues)
    return usual.ljust(4 * ROOM, b"\0")


def _put_sizes(device: Queues, data: bytearray) -> None:
    if bytes(data) != _sizes(device):
        raise ValueError("queues are of another size than this device's")


#: The layouts of subsections.
RINGS: Final[Layout] = [
    View(
        "vq",
        Buffer(_RINGS.size * ROOM),
        lambda device: _table(_RINGS, [(q.avail, q.used) for q in device.queues]),
        _put_rings,
    )
]
SIZES: Final[Layout] = [View("vq", Buffer(4 * ROOM), _sizes, _put_sizes)]
SETUP: Final = View("vqs", Buffer(_SETUP.size * ROOM), _setup, _put_setup)


def body(*tail: Item) -> dict[str, Layout]:
    """A device's section; `tail` is its own part."""
    head: list[Item] = [
        pci_struct("pci"),
        View(
            "msix_table",
            Buffer(0),
            lambda device: device.msix.table,
            _put_table,
            sized=_sized(lambda device: ENTRY * device.msix.count),
        ),
        View(
            "msix_pba",
            Buffer(0),
            lambda device: device.msix.pending,
            _put_pending,
            sized=_sized(lambda device: len(device.msix.pending)),
        ),
        *("config_vector", "status", "isr", "queue_sel"),
        View("guest_features_lo", U32, lambda device: device.core.guest_features & _WORD, _put_low),
        View("config_len", U32, lambda device: len(device.config_space), _put_length),
        View(
            "config",
            Buffer(0),
            lambda device: device.config_space,
            _put_config,
            sized=_sized(lambda device: len(device.config_space)),
        ),
        View("queues", U32, lambda device: len(device.queues), _put_count),
        View(
            "queue",
            Buffer(0),
            _queues,
            _put_queues,
            sized=_sized(lambda device: _QUEUE.size * len(device.queues)),
        ),
    ]
    return {"": [*head, *tail, Nested("virtio", lambda device: device.core)]}


#: A byte that says that no request follows.
NO_REQUEST: Final = Constant("requests", Equal(U8, 0))
