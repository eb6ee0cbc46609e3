"""A small RFB client that decodes every encoding, and a machine with a VNC server."""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from gossamer.control.vm import Vm
from gossamer.devices.vga.card import Vga
from tests.front.qmp.client import Host

RAW, HEXTILE, ZLIB, TIGHT, ZRLE = 0, 5, 6, 7, 16
MACHINE: Final = ("-M", "g3beige", "-bios", "builtin", "-m", "8", "-vga", "std", "-S")


class Shown(Host):
    """A machine whose screen can be looked at; it stands still."""

    def __init__(self, folder: Path, *words: str, vnc: str = "", machine: Any = MACHINE) -> None:
        more = f",{vnc}" if vnc else ""
        super().__init__(folder, *machine, "-vnc", f"127.0.0.1:0,to=9999{more}", *words)
        self.viewers: list[Rfb] = []
        info = self.client.do("query-vnc-servers")[0]
        self.ports = {one["websocket"]: int(one["service"]) for one in info["server"]}
        self.port = self.ports[False]

    def rfb(self, *encodings: int, shared: bool = True) -> Rfb:
        """A viewer; it is closed with the machine."""
        made = Rfb(self.port, begin=False)
        self.viewers.append(made)
        made.start(*encodings, shared=shared)
        return made

    def end(self) -> int | BaseException | None:
        for viewer in self.viewers:
            viewer.close()
        return super().end()

    @property
    def vm(self) -> Vm:
        assert self.console._session is not None
        return self.console._session.vm

    @property
    def vga(self) -> Vga:
        found = self.vm.machine.display
        assert isinstance(found, Vga)
        return found

    def do(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, made in the machine's thread."""
        done, found = threading.Event(), []

        def act() -> None:
            try:
                found.append(call())
            finally:
                done.set()

        self.console.loop.post(act)
        assert done.wait(600)
        return found[0]

    def mode(self, width: int, height: int, bpp: int) -> None:
        """Set a mode and draw something of many colours."""

        def act() -> None:
            vga = self.vga
            vga.vga.ar_index = 0x20
            for index, value in ((4, 0), (1, width), (2, height), (3, bpp), (4, 1)):
                vga.vga.write_vbe(index, value)
            vga.vga.palette[:] = bytes(n * 7 & 0xFF for n in range(768))
            noise = np.random.default_rng(bpp).integers(0, 256, 1 << 20, np.uint8)
            noise[: 1 << 17] = 0x55
            self.write(0, noise.tobytes())

        self.do(act)

    def write(self, at: int, data: bytes) -> None:
        """Put bytes into the video memory, as DMA would (in the machine's thread)."""
        self.vm.machine.memory.write_arena(self.vga.vram.offset + at, data)

    def screen(self) -> np.ndarray:
        """What screendump would show: rows of 0x00RRGGBB."""
        width, height, rgb = self.do(self.vm.screen)
        r, g, b = np.frombuffer(rgb, np.uint8).reshape(height, width, 3).astype(np.uint32).T
        return (r << 16 | g << 8 | b).T


class Rfb:
    """A connection; `picture` is what it was shown."""

    def __init__(self, port: int, *encodings: int, shared: bool = True, begin: bool = True) -> None:
        self.peer = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.streams: dict[int, Any] = {}
        self.seen: list[tuple[int, int, int, int, int]] = []
        if begin:
            self.start(*encodings, shared=shared)

    @classmethod
    def on(cls, peer: Any) -> Rfb:
        """A viewer on a connection that is there."""
        made = cls.__new__(cls)
        made.peer, made.streams, made.seen = peer, {}, []
        return made

    def start(self, *encodings: int, shared: bool = True) -> None:
        """Say what a viewer says first."""
        assert self.take(12) == b"RFB 003.008\n"
        self.peer.sendall(b"RFB 003.008\n")
        assert self.take(2) == b"\1\1"
        self.peer.sendall(b"\1")
        assert self.take(4) == bytes(4)
        self.init(shared=shared)
        self.encodings(*encodings)

    def init(self, *, shared: bool = True) -> None:
        self.peer.sendall(bytes((int(shared),)))
        width, height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.name = self.take(struct.unpack(">I", self.take(4))[0]).decode()
        self.picture = np.zeros((height, width), np.uint32)

    def take(self, count: int) -> bytes:
        out = bytearray()
        while len(out) < count:
            piece = self.peer.recv(count - len(out))
            if not piece:
                raise EOFError
            out += piece
        return bytes(out)

    def encodings(self, *kinds: int) -> None:
        self.peer.sendall(struct.pack(f">BxH{len(kinds)}i", 2, len(kinds), *kinds))

    def ask(self, *, incremental: bool = False) -> None:
        height, width = self.picture.shape
        self.peer.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, width, height))

    def message(self) -> int:
        """Take one message in; its number."""
        kind = self.take(1)[0]
        if kind == 0:
            for _ in range(struct.unpack(">xH", self.take(3))[0]):
                self._rectangle(*struct.unpack(">HHHHi", self.take(12)))
        elif kind == 248:
            self.take(self.take(8)[7])
        elif kind == 250:
            self.take(3)
        else:
            assert kind == 150, kind
        return kind

    def full(self) -> np.ndarray:
        """The whole screen as it is now; another size may come first."""
        self.seen.clear()
        self.ask()
        while not any(kind >= 0 for *_, kind in self.seen):
            self.message()
        return self.picture

    def _rectangle(self, x: int, y: int, width: int, height: int, kind: int) -> None:
        self.seen.append((x, y, width, height, kind))
        if kind < 0:
            if kind == -308:
                self.take(4 + 16 * 1)
            if kind in (-223, -308) and (height, width) != self.picture.shape:
                self.picture = np.zeros((height, width), np.uint32)
            return
        part = DECODERS[kind](self, width, height)
        self.picture[y : y + height, x : x + width] = part

    def unpack(self, stream: int, data: bytes) -> bytes:
        engine = self.streams.setdefault(stream, zlib.decompressobj())
        return bytes(engine.decompress(data))

    def close(self) -> None:
        self.peer.close()


def _pixels(data: bytes, width: int, height: int) -> np.ndarray:
    return np.frombuffer(data, "<u4").reshape(height, width)


def _raw(rfb: Rfb, width: int, height: int) -> np.ndarray:
    return _pixels(rfb.take(4 * width * height), width, height)


def _zlib(rfb: Rfb, width: int, height: int) -> np.ndarray:
    data = rfb.take(struct.unpack(">I", rfb.take(4))[0])
    return _pixels(rfb.unpack(ZLIB, data), width, height)


def _hextile(rfb: Rfb, width: int, height: int) -> np.ndarray:
    out = np.zeros((height, width), np.uint32)
    for y in range(0, height, 16):
        for x in range(0, width, 16):
            h, w = out[y : y + 16, x : x + 16].shape
            flags = rfb.take(1)[0]
            assert flags in (1, 2)
            tile = _raw(rfb, w, h) if flags == 1 else _pixels(rfb.take(4), 1, 1)
            out[y : y + 16, x : x + 16] = tile
    return out


def _threes(data: bytes, order: int) -> np.ndarray:
    """Pixels of three bytes: red first (1), or blue first (-1)."""
    parts = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, ::order].astype(np.uint32)
    found: np.ndarray = parts[:, 0] << 16 | parts[:, 1] << 8 | parts[:, 2]
    return found


def _zrle(rfb: Rfb, width: int, height: int) -> np.ndarray:
    data = rfb.unpack(ZRLE, rfb.take(struct.unpack(">I", rfb.take(4))[0]))
    out, at = np.zeros((height, width), np.uint32), 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        return data[at - count : at]

    for y in range(0, height, 64):
        for x in range(0, width, 64):
            h, w = out[y : y + 64, x : x + 64].shape
            kind = take(1)[0]
            if kind == 0:
                tile = _threes(take(3 * w * h), -1).reshape(h, w)
            elif kind == 1:
                tile = _threes(take(3), -1).reshape(1, 1)
            else:
                assert kind == 2
                tile = _two(_threes(take(6), -1), take(h * (-(-w // 8))), w, h)
            out[y : y + 64, x : x + 64] = tile
    assert at == len(data)
    return out


def _two(colours: np.ndarray, bits: bytes, width: int, height: int) -> np.ndarray:
    rows = np.frombuffer(bits, np.uint8).reshape(height, -1)
    found: np.ndarray = colours[np.unpackbits(rows, axis=1)[:, :width]]
    return found


def _tight(rfb: Rfb, width: int, height: int) -> np.ndarray:
    control = rfb.take(1)[0]
    if control == 0x80:
        return _threes(rfb.take(3), 1).reshape(1, 1)
    if control == 0:
        data = _tight_data(rfb, TIGHT, 3 * width * height)
        return _threes(data, 1).reshape(height, width)
    assert control == 0x50
    assert rfb.take(2) == b"\1\1"
    colours = _threes(rfb.take(6), 1)
    return _two(colours, _tight_data(rfb, TIGHT + 100, height * -(-width // 8)), width, height)


def _tight_data(rfb: Rfb, stream: int, size: int) -> bytes:
    if size < 12:
        return rfb.take(size)
    length = shift = 0
    while True:
        byte = rfb.take(1)[0]
        length |= (byte & (0x7F if shift < 14 else 0xFF)) << shift
        shift += 7
        if not byte & 0x80 or shift > 14:
            break
    data = rfb.unpack(stream, rfb.take(length))
    assert len(data) == size
    return data


DECODERS: Final = {RAW: _raw, HEXTILE: _hextile, ZLIB: _zlib, TIGHT: _tight, ZRLE: _zrle}
