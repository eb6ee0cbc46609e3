"""A host driver for an OHCI: transfers as a guest makes them, over any kind of machine access.

`Access` gives 32-bit numbers as PCI has them (little-endian) for registers and memory, and lets
time pass.
"""

from __future__ import annotations

from typing import Protocol

CONTROL, COMMAND, STATUS, ENABLE, DISABLE, HCCA = 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
CTRL_HEAD, CTRL_CUR, BULK_HEAD, DONE, FM_INTERVAL = 0x20, 0x24, 0x28, 0x30, 0x34
FM_REMAINING, FM_NUMBER, PERIODIC_START, RH_A, RH_STATUS, PORT = 0x38, 0x3C, 0x40, 0x48, 0x50, 0x54
PLE, IE, CLE, BLE, OPERATIONAL = 0x04, 0x08, 0x10, 0x20, 0x80
SETUP, OUT, IN = 0, 1, 2
WDH, SF = 0x02, 0x04

HCCA_AT, ED_AT, TD_AT, DATA_AT = 0x10000, 0x10200, 0x10400, 0x11000


class Access(Protocol):
    def reg(self, offset: int) -> int: ...
    def set_reg(self, offset: int, value: int) -> None: ...
    def word(self, ra: int) -> int: ...
    def set_word(self, ra: int, value: int) -> None: ...
    def bytes(self, ra: int, size: int) -> bytes: ...
    def set_bytes(self, ra: int, data: bytes) -> None: ...
    def frames(self, count: int) -> None: ...


class Driver:
    """One control endpoint and one interrupt endpoint at a time."""

    def __init__(self, access: Access) -> None:
        self.a = access

    def start(self, lists: int = PLE | CLE) -> None:
        a = self.a
        a.set_bytes(HCCA_AT, bytes(256))
        a.set_reg(CONTROL, 0)
        a.set_reg(HCCA, HCCA_AT)
        a.set_reg(FM_INTERVAL, 0x27782EDF)
        a.set_reg(PERIODIC_START, 0x2A2F)
        a.set_reg(CTRL_HEAD, 0)
        a.set_reg(CTRL_CUR, 0)
        a.set_reg(CONTROL, OPERATIONAL | lists)

    def reset_port(self, port: int) -> None:
        a = self.a
        a.set_reg(PORT + 4 * port, 0x10)
        for _ in range(40):
            if a.reg(PORT + 4 * port) & 0x100000:
                break
            a.frames(1)
        else:
            raise AssertionError("port reset does not end")
        a.set_reg(PORT + 4 * port, 0x1F0000)

    def ed(self, at: int, info: int, head: int, tail: int, following: int = 0) -> None:
        for n, value in enumerate((info, tail, head, following)):
            self.a.set_word(at + 4 * n, value)

    def td(self, at: int, flags: int, data: int, length: int, following: int) -> None:
        last = data + length - 1 if length else 0
        for n, value in enumerate((flags, data if length else 0, following, last)):
            self.a.set_word(at + 4 * n, value)

    def queue_control(
        self, address: int, setup: bytes, data: bytes = b"", size: int = 8, start: int = CLE
    ) -> int:
        """Put a control transfer on the list; the number of its TDs."""
        a = self.a
        length = int.from_bytes(setup[6:8], "little")
        reads = bool(setup[0] & 0x80) and length > 0
        a.set_bytes(DATA_AT, setup)
        a.set_bytes(DATA_AT + 0x100, bytes(length) if reads else data)
        steps = [(SETUP, 2, DATA_AT, 8)]
        if length:
            steps.append((IN if reads else OUT, 3, DATA_AT + 0x100, length))
        steps.append((OUT if reads else IN, 3, 0, 0))
        for n, (pid, toggle, at, count) in enumerate(steps):
            flags = 0xF << 28 | toggle << 24 | pid << 19 | 7 << 21 | 1 << 18
            self.td(TD_AT + 32 * n, flags, at, count, TD_AT + 32 * (n + 1))
        self.ed(ED_AT, size << 16 | address, TD_AT, TD_AT + 32 * len(steps))
        a.set_reg(CTRL_HEAD, ED_AT)
        a.set_reg(COMMAND, 2)
        return len(steps)

    def finished(self) -> bool:
        head = self.a.word(ED_AT + 8)
        return bool(head & 1) or head & ~0xF == self.a.word(ED_AT + 4)

    def control(
        self, address: int, setup: bytes, data: bytes = b"", size: int = 8
    ) -> tuple[int, bytes]:
        """(condition code of the last TD done, data read)."""
        count = self.queue_control(address, setup, data, size)
        for _ in range(50):
            self.a.frames(1)
            if self.finished():
                break
        else:
            raise AssertionError("control transfer does not end")
        codes = [self.a.word(TD_AT + 32 * n) >> 28 for n in range(count)]
        code = next((c for c in codes if c), 0)
        length = int.from_bytes(setup[6:8], "little")
        got = b""
        if setup[0] & 0x80 and length:
            at = self.a.word(TD_AT + 32 + 4)
            moved = length if at == 0 else at - (DATA_AT + 0x100)
            got = self.a.bytes(DATA_AT + 0x100, moved)
        return code, got

    def poll_interrupt(self, address: int, endpoint: int, size: int) -> None:
        """Put one interrupt IN TD into every frame."""
        at, td = ED_AT + 0x100, TD_AT + 0x100
        self.td(td, 0xF << 28 | IN << 19 | 0 << 21 | 1 << 18, DATA_AT + 0x800, size, td + 32)
        self.ed(at, size << 16 | IN << 11 | endpoint << 7 | address, td, td + 32)
        for n in range(32):
            self.a.set_word(HCCA_AT + 4 * n, at)

    def report(self) -> bytes | None:
        """What the interrupt TD got; none while it is not done."""
        at, td = ED_AT + 0x100, TD_AT + 0x100
        if self.a.word(at + 8) & ~0xF == td:
            return None
        assert self.a.word(td) >> 28 == 0, hex(self.a.word(td))
        end = self.a.word(td + 4)
        length = self.a.word(td + 12) + 1 - (DATA_AT + 0x800)
        return self.a.bytes(DATA_AT + 0x800, length if end == 0 else end - (DATA_AT + 0x800))


def setup(kind: int, request: int, value: int, index: int, length: int) -> bytes:
    words = b"".join(n.to_bytes(2, "little") for n in (value, index, length))
    return bytes([kind, request]) + words
