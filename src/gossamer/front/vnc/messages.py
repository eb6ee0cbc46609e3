"""What a viewer that was let in says.  Source: RFC 6143, 7.5; rfbproto for the extensions."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import Final

from gossamer.front.vnc.handshake import Join, Part, admitted
from gossamer.front.vnc.hub import key_name
from gossamer.front.vnc.keysyms import NAMES
from gossamer.front.vnc.layers import PeerError
from gossamer.front.vnc.pixels import PixelFormat
from gossamer.front.vnc.viewer import Viewer

# Pseudo-encodings.
DESKTOP_SIZE, LAST_RECT, MOTION, KEY_EVENT = -223, -224, -257, -258
DESKTOP_NAME, EXTENDED_SIZE, XVP, FENCE, CONTINUOUS = -307, -308, -309, -312, -313
_COMPRESS: Final = range(-256, -246)
MOST_CUT: Final = 1 << 20
"""Bytes of a clipboard; they are passed over."""
_PIECE: Final = 16 << 10
_MIDDLE: Final = 0x7FFF
_MOST_MOVE: Final = 4096
_FENCE_FLAGS: Final = 0x7
_FENCE_REQUEST: Final = 1 << 31
_UP, _DOWN = 8, 16


def rectangle(x: int, y: int, width: int, height: int, encoding: int) -> bytes:
    """The head of a rectangle of an update."""
    return struct.pack(">HHHHi", x, y, width, height, encoding)


def update(count: int) -> bytes:
    """The head of an update."""
    return struct.pack(">BxH", 0, count)


def talk(viewer: Viewer, join: Join, wake: Callable[[], None]) -> Part:
    """All of a connection; `wake` is called when the viewer wants more of the picture."""
    yield from admitted(viewer, join)
    while True:
        kind = (yield 1)[0]
        match kind:
            case 0:
                viewer.form = PixelFormat.read((yield 19)[3:])
            case 2:
                yield from _encodings(viewer)
            case 3:
                _request(viewer, *struct.unpack(">BHHHH", (yield 9)))
                wake()
            case 4:
                down, keysym = struct.unpack(">BxxI", (yield 7))
                _key(viewer, NAMES.get(keysym), down=bool(down))
                wake()
            case 5:
                _pointer(viewer, *struct.unpack(">BHH", (yield 5)))
                wake()
            case 6:
                yield from _cut_text(viewer)
            case 150:
                _continuous(viewer, bool((yield 9)[0]))
                wake()
            case 248:
                yield from _fence(viewer)
            case 250:
                code = (yield 3)[2]
                if not viewer.hub.power(code):
                    viewer.say(bytes((250, 0, 1, 0)))
            case 251:
                count = (yield 7)[5]
                yield 16 * count
                viewer.say(update(1) + size_rectangle(viewer, 1, 1))
            case 255:
                yield from _of_qemu(viewer)
                wake()
            case _:
                raise PeerError(f"message {kind}: not one of RFB's")


def _encodings(viewer: Viewer) -> Part:
    count = struct.unpack(">xH", (yield 3))[0]
    named = struct.unpack(f">{count}i", (yield 4 * count)) if count else ()
    before, viewer.known = viewer.known, frozenset(named)
    level = next((n - _COMPRESS.start for n in named if n in _COMPRESS), 1)
    viewer.encoder.level = max(level, 1)
    new = viewer.known - before
    if KEY_EVENT in new:
        viewer.say(update(1) + rectangle(0, 0, *viewer.size, KEY_EVENT))
    viewer.absolute = None
    report_pointer(viewer)
    if EXTENDED_SIZE in new:
        viewer.say(update(1) + size_rectangle(viewer, 0, 0))
    if XVP in new and viewer.hub.options.power:
        viewer.say(bytes((250, 0, 1, 1)))
    if FENCE in new:
        viewer.say(struct.pack(">BxxxIB", 248, _FENCE_REQUEST, 0))
    if CONTINUOUS in new:
        viewer.say(bytes((150,)))


def size_rectangle(viewer: Viewer, reason: int, status: int) -> bytes:
    """The viewer's screen: one, as large as all."""
    width, height = viewer.size
    head = rectangle(reason, status, width, height, EXTENDED_SIZE)
    return head + struct.pack(">B3xIHHHHI", 1, 0, 0, 0, width, height, 0)


def report_pointer(viewer: Viewer) -> None:
    """Say whether the pointer is absolute, when that is new."""
    now = viewer.hub.absolute
    if viewer.absolute != now:
        viewer.absolute, viewer.at = now, None
        if MOTION in viewer.known:
            viewer.say(update(1) + rectangle(int(now), 0, *viewer.size, MOTION))


def _request(viewer: Viewer, incremental: int, x: int, y: int, width: int, height: int) -> None:
    viewer.wants = True
    if not incremental:
        viewer.mark(x, y, width, height)
        viewer.stale = True


def _continuous(viewer: Viewer, on: bool) -> None:
    if viewer.continuous and not on:
        viewer.say(bytes((150,)))
    viewer.continuous = on


def _fence(viewer: Viewer) -> Part:
    flags, length = struct.unpack(">xxxIB", (yield 8))
    if length > 64:
        raise PeerError(f"a fence of {length} bytes: expected 64 at most")
    payload = (yield length) if length else b""
    if flags & _FENCE_REQUEST:
        viewer.say(struct.pack(">BxxxIB", 248, flags & _FENCE_FLAGS, length) + payload)


def _cut_text(viewer: Viewer) -> Part:
    length = abs(struct.unpack(">xxxi", (yield 7))[0])
    if length > MOST_CUT:
        raise PeerError(f"a clipboard of {length} bytes: expected {MOST_CUT} at most")
    while length:
        piece = min(length, _PIECE)
        yield piece
        length -= piece


def _of_qemu(viewer: Viewer) -> Part:
    kind = (yield 1)[0]
    if kind == 0:
        down, _, code = struct.unpack(">HII", (yield 10))
        number = code & 0x7F | (0x80 if code & 0x80 or code >> 8 == 0xE0 else 0)
        _key(viewer, key_name(number), down=bool(down))
    elif kind == 1:
        operation = struct.unpack(">H", (yield 2))[0]
        if operation == 2:
            yield 6
        elif operation > 2:
            raise PeerError(f"message 255, 1, {operation}: not one of QEMU's")
    else:
        raise PeerError(f"message 255, {kind}: not one of QEMU's")


# --- input ----------------------------------------------------------------------------------------


def _key(viewer: Viewer, name: str | None, *, down: bool) -> None:
    if name is None or down == (name in viewer.keys) or (down and not viewer.hub.takes_input):
        return
    if down:
        viewer.late.discard(name)
        viewer.keys.add(name)
        viewer.hub.key(name, down=True)
    else:
        viewer.keys.discard(name)
        if viewer.hub.takes_input:
            viewer.hub.key(name, down=False)
        else:
            viewer.late.add(name)


def let_go(viewer: Viewer) -> None:
    """Release the keys that were let go while the machine did not run."""
    while viewer.late and viewer.hub.takes_input:
        viewer.hub.key(viewer.late.pop(), down=False)


def _pointer(viewer: Viewer, mask: int, x: int, y: int) -> None:
    hub = viewer.hub
    before, viewer.buttons = viewer.buttons, mask
    at, viewer.at = viewer.at, (x, y)
    if not hub.takes_input:
        return
    pressed = mask & ~before
    wheel = bool(pressed & _UP) - bool(pressed & _DOWN)
    hub.press((mask ^ before) & 7, mask)
    if hub.absolute:
        hub.point(x, y, viewer.size)
        if wheel:
            hub.move(0, 0, wheel)
        return
    if MOTION in viewer.known:
        dx, dy = x - _MIDDLE, y - _MIDDLE
    else:
        dx, dy = (0, 0) if at is None else (x - at[0], y - at[1])
    dx, dy = (max(-_MOST_MOVE, min(n, _MOST_MOVE)) for n in (dx, dy))
    if dx or dy or wheel or mask != before:
        hub.move(dx, dy, wheel)


def parts(viewer: Viewer, size: tuple[int, int]) -> list[bytes]:
    """Rectangles that come before those of an update: a new size of the screen."""
    if viewer.size == size:
        return []
    if EXTENDED_SIZE in viewer.known:
        viewer.size = size
        return [size_rectangle(viewer, 0, 0)]
    if DESKTOP_SIZE in viewer.known:
        viewer.size = size
        return [rectangle(0, 0, *size, DESKTOP_SIZE)]
    return []  # it sees what fits


__all__ = ["Generator", "let_go", "parts", "rectangle", "report_pointer", "talk", "update"]
