"""The process that runs libslirp, which parses what a guest sends: no file, no program, no rights.

    python -m gossamer.net.slirp_child FRAMES COMMANDS OPTIONS

On the stream socket FRAMES frames go both ways, each behind its length (four bytes, big-endian).
On the socket COMMANDS (packets kept apart) a command is JSON and its answer too, the first one
after the start.  The process ends when either does.
Source: libslirp 4.7's libslirp.h; functions and the layout of structures.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import resource
import select
import socket
import sys
import time
from typing import Any, Final

from gossamer.core import sandbox
from gossamer.net.guest_forward import GuestForward

UNPRIVILEGED: Final = 65534
MOST_FRAME: Final = 68 << 10
"""As backend.py has it: a longer one is none, and ends the connection."""
_HEAD: Final = 4
_PIECE: Final = 256 << 10
"""Bytes of frames that are taken in at a time."""
_AT_ONCE: Final = 48 << 10
"""Bytes of frames for the guest that are not kept back for more to come."""
_MOST_AHEAD: Final = 256 << 10
"""Bytes that wait for the guest while the host's sockets are still read."""
_MOST_WAITING: Final = 1 << 20
"""Bytes that wait for the guest; more (answers to what it sent) are lost, as on a busy wire."""
_MOST_COMMAND: Final = 64 << 10
_FILES: Final = 1024
_PDEATHSIG: Final = 1
_SIGKILL: Final = 9
#: libslirp's names of poll events, and poll's.
_EVENTS: Final = (
    (1, select.POLLIN), (2, select.POLLOUT), (4, select.POLLPRI), (8, select.POLLERR),
    (16, select.POLLHUP),
)  # fmt: skip


class _In(ctypes.Structure):
    _fields_ = (("s_addr", ctypes.c_uint32),)


class _In6(ctypes.Structure):
    _fields_ = (("s6_addr", ctypes.c_uint8 * 16),)


class _Config(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint32), ("restricted", ctypes.c_int), ("in_enabled", ctypes.c_bool),
        ("vnetwork", _In), ("vnetmask", _In), ("vhost", _In), ("in6_enabled", ctypes.c_bool),
        ("vprefix_addr6", _In6), ("vprefix_len", ctypes.c_uint8), ("vhost6", _In6),
        ("vhostname", ctypes.c_char_p), ("tftp_server_name", ctypes.c_char_p),
        ("tftp_path", ctypes.c_char_p), ("bootfile", ctypes.c_char_p), ("vdhcp_start", _In),
        ("vnameserver", _In), ("vnameserver6", _In6),
        ("vdnssearch", ctypes.POINTER(ctypes.c_char_p)), ("vdomainname", ctypes.c_char_p),
        ("if_mtu", ctypes.c_size_t), ("if_mru", ctypes.c_size_t),
        ("disable_host_loopback", ctypes.c_bool), ("enable_emu", ctypes.c_bool),
        ("outbound_addr", ctypes.c_void_p), ("outbound_addr6", ctypes.c_void_p),
        ("disable_dns", ctypes.c_bool), ("disable_dhcp", ctypes.c_bool),
    )  # fmt: skip


_P = ctypes.c_void_p
_SEND = ctypes.CFUNCTYPE(ctypes.c_ssize_t, _P, ctypes.c_size_t, _P)
_WRITE = _SEND
_ERROR = ctypes.CFUNCTYPE(None, ctypes.c_char_p, _P)
_CLOCK = ctypes.CFUNCTYPE(ctypes.c_int64, _P)
_CALL = ctypes.CFUNCTYPE(None, _P)
_TIMER_NEW = ctypes.CFUNCTYPE(_P, _P, _P, _P)
_TIMER_FREE = ctypes.CFUNCTYPE(None, _P, _P)
_TIMER_MOD = ctypes.CFUNCTYPE(None, _P, ctypes.c_int64, _P)
_POLL_FD = ctypes.CFUNCTYPE(None, ctypes.c_int, _P)
_ADD_POLL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, _P)
_REVENTS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _P)


class _Callbacks(ctypes.Structure):
    _fields_ = (
        ("send_packet", _SEND), ("guest_error", _ERROR), ("clock_get_ns", _CLOCK),
        ("timer_new", _TIMER_NEW), ("timer_free", _TIMER_FREE), ("timer_mod", _TIMER_MOD),
        ("register_poll_fd", _POLL_FD), ("unregister_poll_fd", _POLL_FD), ("notify", _CALL),
        ("init_completed", _P), ("timer_new_opaque", _P),
    )  # fmt: skip


def _address(text: str) -> _In:
    return _In(int.from_bytes(socket.inet_aton(text), sys.byteorder))


def _address6(text: str) -> _In6:
    return _In6((ctypes.c_uint8 * 16)(*socket.inet_pton(socket.AF_INET6, text)))


def library() -> ctypes.CDLL:
    """libslirp; OSError where it is not installed."""
    lib = ctypes.CDLL("libslirp.so.0")
    lib.slirp_new.restype = lib.slirp_connection_info.restype = _P
    lib.slirp_new.argtypes = (_P, _P, _P)
    lib.slirp_connection_info.argtypes = (_P,)
    lib.slirp_pollfds_fill.argtypes = (_P, _P, _ADD_POLL, _P)
    lib.slirp_pollfds_poll.argtypes = (_P, ctypes.c_int, _REVENTS, _P)
    lib.slirp_input.argtypes = (_P, ctypes.c_char_p, ctypes.c_int)
    lib.slirp_add_hostfwd.argtypes = (
        _P, ctypes.c_int, _In, ctypes.c_int, _In, ctypes.c_int,
    )  # fmt: skip
    lib.slirp_remove_hostfwd.argtypes = (_P, ctypes.c_int, _In, ctypes.c_int)
    lib.slirp_add_guestfwd.argtypes = (_P, _WRITE, _P, ctypes.POINTER(_In), ctypes.c_int)
    lib.slirp_socket_can_recv.restype = ctypes.c_size_t
    lib.slirp_socket_can_recv.argtypes = (_P, _In, ctypes.c_int)
    lib.slirp_socket_recv.argtypes = (_P, _In, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
    return lib


class Slirp:
    """One network, and the sockets to the emulator."""

    def __init__(
        self, peer: socket.socket, commands: socket.socket, options: dict[str, Any]
    ) -> None:
        self.peer, self.commands, self.lib = peer, commands, library()
        self._in, self._out = bytearray(), bytearray()
        self._timers: dict[int, tuple[Any, int, int | None]] = {}
        self._keep: list[Any] = []
        self._poller = select.poll()
        self._polled: list[tuple[int, int]] = []
        self._ready: dict[int, int] = {}
        self._forwards: list[tuple[GuestForward, Any]] = []
        config = self._config(options)
        self.callbacks = _Callbacks(
            _SEND(self._send), _ERROR(lambda text, _: None),
            _CLOCK(lambda _: time.monotonic_ns()), _TIMER_NEW(self._timer_new),
            _TIMER_FREE(lambda timer, _: self._timers.pop(timer, None) and None),
            _TIMER_MOD(self._timer_mod), _POLL_FD(lambda fd, _: None),
            _POLL_FD(lambda fd, _: None), _CALL(lambda _: None), None, None,
        )  # fmt: skip
        self.add_poll, self.revents = _ADD_POLL(self._add_poll), _REVENTS(self._revents)
        self.slirp = self.lib.slirp_new(ctypes.byref(config), ctypes.byref(self.callbacks), None)
        if not self.slirp:
            raise OSError(0, "libslirp refuses these options")

    def _config(self, given: dict[str, Any]) -> _Config:
        config = _Config(version=1, restricted=int(given["restrict"]))
        config.in_enabled, config.in6_enabled = given["ipv4"], given["ipv6"]
        config.vnetwork, config.vnetmask = _address(given["net"]), _address(given["mask"])
        config.vhost, config.vnameserver = _address(given["host"]), _address(given["dns"])
        config.vdhcp_start = _address(given["dhcpstart"])
        config.vprefix_addr6, config.vprefix_len = _address6(given["prefix6"]), given["length6"]
        config.vhost6, config.vnameserver6 = _address6(given["host6"]), _address6(given["dns6"])
        config.vhostname = given["hostname"].encode() or None
        config.vdomainname = given["domainname"].encode() or None
        if given["dnssearch"]:
            names = [one.encode() for one in given["dnssearch"]]
            self._keep.append((ctypes.c_char_p * (len(names) + 1))(*names, None))
            config.vdnssearch = ctypes.cast(self._keep[-1], ctypes.POINTER(ctypes.c_char_p))
        self._keep.append(config)
        return config

    # --- what libslirp calls ------------------------------------------------------------------

    def _send(self, data: int, length: int, _opaque: object) -> int:
        if len(self._out) + length > _MOST_WAITING:
            return 0
        self._out += length.to_bytes(_HEAD, "big")
        self._out += ctypes.string_at(data, length)
        if len(self._out) >= _AT_ONCE:
            self._flush()
        return length

    def _flush(self) -> None:
        """Give the emulator what it takes at once."""
        try:
            while self._out:
                del self._out[: self.peer.send(self._out)]
        except OSError:  # it does not read now; or it has gone, which reading finds
            return

    def _timer_new(self, call: int, opaque: int | None, _mine: object) -> int:
        number = len(self._timers) + 1
        while number in self._timers:
            number += 1
        self._timers[number] = (_CALL(call), opaque or 0, None)
        return number

    def _timer_mod(self, timer: int, when_ms: int, _opaque: object) -> None:
        call, opaque, _ = self._timers[timer]
        self._timers[timer] = (call, opaque, when_ms)

    def _add_poll(self, fd: int, events: int, _opaque: object) -> int:
        mask = sum(bit for theirs, bit in _EVENTS if events & theirs)
        self._polled.append((fd, mask))
        return len(self._polled) - 1

    def _revents(self, index: int, _opaque: object) -> int:
        found = self._ready.get(self._polled[index][0], 0)
        return sum(theirs for theirs, bit in _EVENTS if found & bit)

    # --- guestfwd -----------------------------------------------------------------------------

    def lead(self, rule: dict[str, Any]) -> None:
        """Lead the guest's connections to an address of its network out; OSError."""
        forward = GuestForward(rule)

        def write(data: int, length: int, _opaque: object) -> int:
            forward.write(ctypes.string_at(data, length))
            return length

        call, at = _WRITE(write), _address(forward.guest)
        self._forwards.append((forward, call))
        if self.lib.slirp_add_guestfwd(self.slirp, call, None, ctypes.byref(at), forward.port):
            raise OSError(
                0, f"guestfwd: {forward.guest}:{forward.port} is taken, or no free address"
            )

    def _room(self, forward: GuestForward) -> int:
        at = _address(forward.guest)
        return int(self.lib.slirp_socket_can_recv(self.slirp, at, forward.port))

    def _serve_forwards(self) -> None:
        for forward, _ in self._forwards:
            if forward.peer is None or not self._ready.get(forward.peer.fileno()):
                continue
            forward.flush()
            room = self._room(forward)
            data = forward.read(room) if room else b""
            if data:
                at = _address(forward.guest)
                self.lib.slirp_socket_recv(self.slirp, at, forward.port, data, len(data))

    # --- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the emulator has gone."""
        mine, commands = self.peer.fileno(), self.commands.fileno()
        while True:
            timeout = ctypes.c_uint32(1000)
            self._polled = []
            ahead = len(self._out) > _MOST_AHEAD
            if not ahead:
                self.lib.slirp_pollfds_fill(self.slirp, ctypes.byref(timeout), self.add_poll, None)
            wait = self._until_timer(min(int(timeout.value), 1000))
            masks = {mine: select.POLLIN | (select.POLLOUT if self._out else 0)}
            masks[commands] = select.POLLIN
            for fd, mask in self._polled:
                masks[fd] = masks.get(fd, 0) | mask
            for forward, _ in self._forwards:
                if ahead or forward.peer is None:
                    continue
                if mask := forward.mask(self._room(forward)):
                    masks[forward.peer.fileno()] = mask
            poller = select.poll()
            for fd, mask in masks.items():
                poller.register(fd, mask)
            self._ready = dict(poller.poll(wait))
            if not ahead:
                self.lib.slirp_pollfds_poll(self.slirp, 0, self.revents, None)
                self._serve_forwards()
            self._fire()
            there = True
            if mine in self._ready:
                there = self._frames()
            if there and commands in self._ready:
                there = self._commanded()
            self._flush()
            if not there:
                return

    def _until_timer(self, most_ms: int) -> int:
        now = time.monotonic_ns() // 1_000_000
        dues = [when for _, _, when in self._timers.values() if when is not None]
        return max(0, min([most_ms, *(when - now for when in dues)]))

    def _fire(self) -> None:
        now = time.monotonic_ns() // 1_000_000
        for number, (call, opaque, when) in tuple(self._timers.items()):
            if when is not None and when <= now:
                self._timers[number] = (call, opaque, None)
                call(opaque)

    def _frames(self) -> bool:
        """Take in what the guest has sent; whether the emulator is still there."""
        if self._ready[self.peer.fileno()] & ~select.POLLOUT == 0:
            return True
        try:
            data = self.peer.recv(_PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        if self._in:
            data = bytes(self._in + data)
        at, end = 0, len(data)
        while end - at >= _HEAD:
            first = at + _HEAD
            last = first + int.from_bytes(data[at:first], "big")
            if last - first > MOST_FRAME:
                return False
            if last > end:
                break
            if last > first:
                self.lib.slirp_input(self.slirp, data[first:last], last - first)
            at = last
        self._in = bytearray(data[at:])
        return True

    def _commanded(self) -> bool:
        """Carry out a command; whether the emulator is still there."""
        try:
            data = self.commands.recv(_MOST_COMMAND, socket.MSG_DONTWAIT)
            if data:
                self.commands.send(json.dumps(self._command(json.loads(data))).encode())
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(data)

    def _command(self, given: dict[str, Any]) -> object:
        """What went wrong (None: nothing), or what was asked for."""
        if given["do"] == "info":
            text = self.lib.slirp_connection_info(self.slirp)
            return ctypes.string_at(text).decode("utf-8", "replace")
        udp, at, port = int(given["udp"]), _address(given["host"]), given["port"]
        if given["do"] == "remove":
            return None if not self.lib.slirp_remove_hostfwd(self.slirp, udp, at, port) else "none"
        to = _address(given["guest"])
        done = self.lib.slirp_add_hostfwd(self.slirp, udp, at, port, to, given["guest_port"])
        return None if not done else os.strerror(ctypes.get_errno()) if ctypes.get_errno() else "?"


def confine() -> None:
    """Give away all that the network does not need."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PDEATHSIG, _SIGKILL, 0, 0, 0)
    os.chdir("/")
    for what, most in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
        os.setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
    if sandbox.here() is not None:
        groups = (sandbox.OBSOLETE, sandbox.PRIVILEGES, sandbox.SPAWN, sandbox.RESOURCES)
        sandbox.enter(groups)


def main() -> None:
    """Serve the sockets whose numbers are the first two arguments."""
    peer, commands = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    try:
        options = json.loads(sys.argv[3])
        slirp = Slirp(peer, commands, options)
        for one in options["guestfwd"]:
            slirp.lead(one)
        for one in options["hostfwd"]:
            why = slirp._command({"do": "add", **one})
            if why is not None:
                where = f"{'udp' if one['udp'] else 'tcp'}:{one['host']}:{one['port']}"
                raise OSError(0, f"could not set up the forwarding of {where} (is it taken?)")
        confine()
    except OSError as fault:
        commands.send(json.dumps(fault.strerror or str(fault)).encode())
        return
    peer.setblocking(False)
    commands.send(b"null")
    slirp.run()


if __name__ == "__main__":
    main()
