"""What each packet asks for, and the answer.

`Requests.answer` gives the body of the answer, or None where it comes later: when the guest stops.
Source: Debugging with GDB, appendix E (Packets, General Query Packets, Stop Reply Packets), and
for ``qqemu`` what QEMU 7.2 answers.  Errors: E01 what was sent is malformed, E14 no memory there,
E16 no such register or it cannot be written, E22 it cannot be done now.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Callable
from typing import Final, Literal

from gossamer.base.bits import ones
from gossamer.base.errors import GossamerError
from gossamer.control.debugger import Debugger
from gossamer.control.registers import Register, named
from gossamer.engine.stops import Watch
from gossamer.front.gdb import target
from gossamer.front.gdb.packets import LONGEST, escape, unescape
from gossamer.machines.machine import Machine

OK: Final = b"OK"
MALFORMED: Final = b"E01"
NO_MEMORY: Final = b"E14"
NO_REGISTER: Final = b"E16"
REFUSED: Final = b"E22"
#: Bits of `qqemu.sstep`: single steps at all, without interrupts, without timers.
_STEP_ENABLE, _STEP_NO_IRQ, _STEP_NO_TIMER = 1, 2, 4
#: Bytes that one request may have looked through.
_SEARCHED: Final = 16 << 20
_WATCHES: Final = {"2": (False, True), "3": (True, False), "4": (True, True)}


def _numbers(text: str) -> list[int]:
    """Hexadecimal numbers between commas; ValueError."""
    if not all(part and part.strip("0123456789abcdefABCDEF") == "" for part in text.split(",")):
        raise ValueError(text)
    return [int(part, 16) for part in text.split(",")]


class Requests:
    """Answers for one client.

    `resume(step)` lets the guest go on; `detach()` lets go of it, `end()` ends the emulator;
    `monitor(line)` does a command of the human monitor; `stop_reply()` says why the guest stands.
    `back(step)` goes back one instruction, or to the last stop; None where there is no past.
    """

    def __init__(
        self,
        debugger: Debugger,
        *,
        resume: Callable[[bool], bytes | None],
        detach: Callable[[], None],
        end: Callable[[], None],
        monitor: Callable[[str], str],
        stop_reply: Callable[[], bytes],
        back: Callable[[bool], bytes | None] | None = None,
    ) -> None:
        self.debugger = debugger
        self._resume, self._detach, self._end = resume, detach, end
        self._monitor, self._stop_reply = monitor, stop_reply
        self._back = back
        #: What the client says that it understands (qSupported).
        self.features: set[str] = set()
        self.no_ack = False
        self.output: Callable[[bytes], None] = lambda body: None

    def ident(self, cpu: int) -> bytes:
        """Gdb's name of a CPU: a thread of the one process."""
        return (b"p1.%x" if "multiprocess+" in self.features else b"%x") % (cpu + 1)

    def _cpu(self, ident: str, otherwise: int) -> int:
        """The number of the CPU that a thread is; `otherwise` for any, all, or none.

        ValueError where there is no such thread.
        """
        thread = ident.rpartition(".")[2] if ident.startswith("p") else ident
        if thread in ("", "0", "-1"):
            return otherwise
        [number] = _numbers(thread)
        if not 1 <= number <= len(self._machine.cpus):
            raise ValueError(ident)
        return number - 1

    @property
    def _machine(self) -> Machine:
        return self.debugger.vm.machine

    @property
    def _order(self) -> Literal["little", "big"]:
        """The byte order of registers: as QEMU 7.2, the one that the CPU is in."""
        return "little" if self.debugger.little else "big"

    def answer(self, body: bytes) -> bytes | None:
        """The answer's body; empty for what is not known here."""
        try:
            return self._find(body)
        except ValueError:
            return MALFORMED
        except GossamerError:
            return NO_MEMORY

    def _find(self, body: bytes) -> bytes | None:
        letter, rest = body[:1].decode("latin-1"), body[1:]
        simple = _SIMPLE.get(letter)
        if simple is not None:
            return simple(self, rest)
        if letter in ("q", "Q"):
            return self._query(body)
        return self._v_packet(body) if letter == "v" else b""

    # --- running ------------------------------------------------------------------------------

    def _why(self, rest: bytes) -> bytes:
        return self._stop_reply()

    def _continue(self, rest: bytes) -> bytes | None:
        return self._go(rest, step=False)

    def _step(self, rest: bytes) -> bytes | None:
        return self._go(rest, step=True)

    def _go(self, rest: bytes, *, step: bool) -> bytes | None:
        if rest:
            [address] = _numbers(rest.decode("latin-1"))
            self._put("pc", address)
        return self._resume(step)

    def _backwards(self, rest: bytes) -> bytes | None:
        if self._back is None:
            return b""
        return self._back(rest == b"s") if rest in (b"s", b"c") else MALFORMED

    def _continue_signal(self, rest: bytes) -> bytes | None:
        return self._go(rest.partition(b";")[2], step=False)

    def _step_signal(self, rest: bytes) -> bytes | None:
        return self._go(rest.partition(b";")[2], step=True)

    def _v_packet(self, body: bytes) -> bytes | None:
        if body == b"vCont?":
            return b"vCont;c;C;s;S"
        if body.startswith(b"vCont;"):
            actions = [a.partition(":") for a in body[6:].decode("latin-1").split(";")]
            if any(action[:1] not in ("c", "C", "s", "S") for action, _, _ in actions):
                return MALFORMED
            here = self.debugger.cpu
            cpus = [self._cpu(ident, here) for _, _, ident in actions]
            steps = [cpu for cpu, a in zip(cpus, actions, strict=True) if a[0][:1] in ("s", "S")]
            self.debugger.cpu = steps[0] if steps else here  # the others run meanwhile
            return self._resume(bool(steps))
        if body.startswith(b"vKill"):
            self._end()
            return OK
        return b""

    def _detached(self, rest: bytes) -> bytes:
        self._detach()
        return OK

    def _killed(self, rest: bytes) -> bytes | None:
        self._end()
        return None

    # --- registers ----------------------------------------------------------------------------

    def _entries(self) -> tuple[target.Numbered, ...]:
        return target.layout(self._machine.cpu.model)

    def _bytes(self, register: Register) -> bytes:
        value = register.get(self.debugger.here)
        return binascii.hexlify(value.to_bytes(register.bits // 8, self._order))

    def _all(self, rest: bytes) -> bytes:
        return b"".join(self._bytes(entry.register) for entry in self._entries())

    def _put_all(self, rest: bytes) -> bytes:
        data, at, order = binascii.unhexlify(rest), 0, self._order
        for entry in self._entries():
            r, size = entry.register, entry.register.bits // 8
            piece, at = data[at : at + size], at + size
            value = int.from_bytes(piece, order)
            if len(piece) == size and r.put and value != r.get(self.debugger.here):
                self._assign(r, value)
        return OK

    def _numbered(self, text: bytes) -> target.Numbered | None:
        [number] = _numbers(text.decode("latin-1"))
        return next((e for e in self._entries() if e.number == number), None)

    def _one(self, rest: bytes) -> bytes:
        entry = self._numbered(rest)
        if entry is None:
            return NO_REGISTER
        return self._bytes(entry.register)

    def _put_one(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        entry = self._numbered(number)
        if entry is None or entry.register.put is None:
            return NO_REGISTER
        data = binascii.unhexlify(value)
        if len(data) != entry.register.bits // 8:
            return MALFORMED
        self._assign(entry.register, int.from_bytes(data, self._order))
        return OK

    def _put(self, name: str, value: int) -> None:
        entry = next(e for e in self._entries() if e.register.name == name)
        self._assign(entry.register, value & ones(entry.register.bits))

    def _assign(self, register: Register, value: int) -> None:
        assert register.put is not None
        assert register.put is not None
        here = self.debugger.here
        self.debugger.vm.noted("register", named(register.name, here.number), value)
        register.put(here, value)

    # --- memory -------------------------------------------------------------------------------

    def _place(self, text: bytes) -> tuple[int, int]:
        address, length = _numbers(text.decode("latin-1"))
        word = self._machine.cpu.model.architecture.word
        if address >> word:
            raise GossamerError(f"{address:#x} is no address of {word} bits")
        return address, length

    def _read(self, rest: bytes) -> bytes:
        address, length = self._place(rest)
        return binascii.hexlify(self.debugger.read(address, min(length, LONGEST // 2)))

    def _read_binary(self, rest: bytes) -> bytes:
        address, length = self._place(rest)
        return b"b" + escape(self.debugger.read(address, min(length, LONGEST // 2 - 1)))

    def _write(self, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        return self._written(place, binascii.unhexlify(data))

    def _write_binary(self, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        return self._written(place, unescape(data))

    def _written(self, place: bytes, data: bytes) -> bytes:
        address, length = self._place(place)
        if length != len(data):
            return MALFORMED
        self.debugger.write(address, data)
        return OK

    # --- breakpoints --------------------------------------------------------------------------

    def _insert(self, rest: bytes) -> bytes:
        return self._point(rest, insert=True)

    def _remove(self, rest: bytes) -> bytes:
        return self._point(rest, insert=False)

    def _point(self, rest: bytes, *, insert: bool) -> bytes:
        kind, _, place = rest.partition(b";")[0].decode("latin-1").partition(",")
        address, length = self._place(place.encode("latin-1"))
        debugger = self.debugger
        try:
            if kind in ("0", "1"):
                (debugger.add_breakpoint if insert else debugger.remove_breakpoint)(address)
            elif kind in _WATCHES:
                if not 1 <= length <= 0x1000:
                    return MALFORMED
                watch = Watch(address, length, *_WATCHES[kind])
                (debugger.add_watchpoint if insert else debugger.remove_watchpoint)(watch)
            else:
                return b""
        except GossamerError:
            return REFUSED
        return OK

    # --- queries ------------------------------------------------------------------------------

    def _query(self, body: bytes) -> bytes:
        text = body.decode("latin-1")
        for start, action in _QUERIES.items():
            if text == start or (start[-1] in ":,=" and text.startswith(start)):
                return action(self, text.removeprefix(start))
        return b""

    def _supported(self, rest: str) -> bytes:
        self.features = set(rest.split(";"))
        offered = [f"PacketSize={LONGEST:x}", "QStartNoAckMode+", "vContSupported+"]
        offered += ["qXfer:features:read+", "qXfer:threads:read+"]
        if self._machine.cpu.model.architecture.word == 32:
            offered.append("qXfer:memory-map:read+")
        if self._back is not None:
            offered += ["ReverseStep+", "ReverseContinue+"]
        offered += [f for f in ("multiprocess+", "swbreak+", "hwbreak+") if f in self.features]
        return ";".join(offered).encode()

    def _no_ack_mode(self, rest: str) -> bytes:
        self.no_ack = True
        return OK

    def _features(self, rest: str) -> bytes:
        annex, _, place = rest.partition(":")
        if annex != "target.xml":
            return b"E00"
        return self._part(target.description(self._machine.cpu.model), place)

    def _map(self, rest: str) -> bytes:
        return self._part(target.memory_map(self._machine), rest.removeprefix(":"))

    def _threads(self, rest: str) -> bytes:
        threads = "".join(
            f'<thread id="{self.ident(n).decode()}" core="{n}">{self._state(n)}</thread>'
            for n in range(len(self._machine.cpus))
        )
        text = f'<?xml version="1.0"?><threads>{threads}</threads>'
        return self._part(text, rest.removeprefix(":"))

    def _state(self, cpu: int) -> str:
        """A CPU in words."""
        waits = self._machine.cpus[cpu].waiting
        return f"CPU#{cpu} [{'halted' if waits else 'running'}]"

    def _select(self, rest: bytes) -> bytes:
        """`Hg`, `Hc`: the thread that later requests are about."""
        self.debugger.cpu = self._cpu(rest[1:].decode("latin-1"), self.debugger.cpu)
        return OK

    def _alive(self, rest: bytes) -> bytes:
        self._cpu(rest.decode("latin-1"), 0)
        return OK

    def _list(self, rest: str) -> bytes:
        return b"m" + b",".join(self.ident(n) for n in range(len(self._machine.cpus)))

    def _extra(self, rest: str) -> bytes:
        return binascii.hexlify(self._state(self._cpu(rest, 0)).encode())

    @staticmethod
    def _part(text: str, place: str) -> bytes:
        """OFFSET,LENGTH of a document."""
        offset, length = _numbers(place)
        piece = text.encode()[offset : offset + min(length, LONGEST // 2)]
        more = offset + len(piece) < len(text.encode())
        return (b"m" if more else b"l") + escape(piece)

    def _command(self, rest: str) -> bytes:
        line = binascii.unhexlify(rest).decode("utf-8", "replace")
        text = self._monitor(line).encode("utf-8", "backslashreplace")
        step = LONGEST // 2 - 1
        for at in range(0, len(text), step):
            self.output(b"O" + binascii.hexlify(text[at : at + step]))
        return OK

    def _crc(self, rest: str) -> bytes:
        """Gdb's compare-sections: CRC-32, most significant bit first, without a final inversion."""
        address, length = self._place(rest.encode())
        if length > _SEARCHED:
            return REFUSED
        data = self.debugger.read(address, length)
        if len(data) < length:
            return NO_MEMORY
        value = zlib.crc32(data.translate(_MIRRORED)) ^ 0xFFFF_FFFF
        return b"C%x" % int(f"{value:032b}"[::-1], 2)

    def _search(self, rest: str) -> bytes:
        start, length, pattern = rest.encode("latin-1").split(b";", 2)
        wanted = unescape(pattern)
        address, size = int(start, 16), int(length, 16)
        if not wanted or size > _SEARCHED:
            return REFUSED
        found = self.debugger.read(address, size).find(wanted)
        return b"0" if found < 0 else b"1,%x" % (address + found)

    def _step_mode(self, rest: str) -> bytes:
        masked = self.debugger.masks_interrupts
        return b"0x%x" % (_STEP_ENABLE | (_STEP_NO_IRQ if masked else 0))

    def _set_step_mode(self, rest: str) -> bytes:
        mode = int(rest, 16)
        if mode & ~(_STEP_ENABLE | _STEP_NO_IRQ | _STEP_NO_TIMER):
            return REFUSED
        self.debugger.masks_interrupts = bool(mode & _STEP_NO_IRQ)
        return OK

    def _physical(self, rest: str) -> bytes:
        self.debugger.physical = rest == "1"
        return OK


#: Each byte with its bits in reverse.
_MIRRORED: Final = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))
_SIMPLE: Final[dict[str, Callable[[Requests, bytes], bytes | None]]] = {
    "?": Requests._why,
    "c": Requests._continue,
    "C": Requests._continue_signal,
    "s": Requests._step,
    "S": Requests._step_signal,
    "b": Requests._backwards,
    "D": Requests._detached,
    "k": Requests._killed,
    "g": Requests._all,
    "G": Requests._put_all,
    "p": Requests._one,
    "P": Requests._put_one,
    "m": Requests._read,
    "x": Requests._read_binary,
    "M": Requests._write,
    "X": Requests._write_binary,
    "Z": Requests._insert,
    "z": Requests._remove,
    "H": Requests._select,
    "T": Requests._alive,
    "!": lambda requests, rest: b"",
}
_QUERIES: Final[dict[str, Callable[[Requests, str], bytes]]] = {
    "qSupported": lambda requests, rest: requests._supported(""),
    "qSupported:": Requests._supported,
    "QStartNoAckMode": Requests._no_ack_mode,
    "qXfer:features:read:": Requests._features,
    "qXfer:memory-map:read:": Requests._map,
    "qXfer:threads:read:": Requests._threads,
    "qRcmd,": Requests._command,
    "qC": lambda requests, rest: b"QC" + requests.ident(requests.debugger.cpu),
    "qfThreadInfo": Requests._list,
    "qsThreadInfo": lambda requests, rest: b"l",
    "qThreadExtraInfo,": Requests._extra,
    "qAttached": lambda requests, rest: b"1",
    "qAttached:": lambda requests, rest: b"1",
    "qSymbol:": lambda requests, rest: OK,
    "qCRC:": Requests._crc,
    "qSearch:memory:": Requests._search,
    "qqemu.sstepbits": lambda requests, rest: b"ENABLE=1,NOIRQ=2,NOTIMER=4",
    "qqemu.sstep": Requests._step_mode,
    "qqemu.Supported": lambda requests, rest: b"sstepbits;sstep;PhyMemMode",
    "qqemu.PhyMemMode": lambda requests, rest: b"%d" % requests.debugger.physical,
    "Qqemu.sstep:": Requests._set_step_mode,
    "Qqemu.sstep=": Requests._set_step_mode,
    "Qqemu.PhyMemMode:": Requests._physical,
}
