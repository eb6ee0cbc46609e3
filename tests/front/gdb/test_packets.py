"""Packets of gdb's remote protocol: framing, checksums, escapes, and what does not belong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossamer.front.gdb.packets import LONGEST, Wire, checksum, escape, unescape


class Ends:
    def __init__(self) -> None:
        self.sent, self.got, self.interrupts = bytearray(), list[bytes](), 0
        self.wire = Wire(self.sent.extend, self.got.append, self._interrupted)

    def _interrupted(self) -> None:
        self.interrupts += 1


def framed(body: bytes) -> bytes:
    return b"$" + body + b"#" + checksum(body)


def test_packet_is_acknowledged_and_taken() -> None:
    ends = Ends()
    ends.wire.feed(b"+$qSupported#37")
    assert (ends.got, bytes(ends.sent)) == ([b"qSupported"], b"+")


def test_wrong_checksum_is_refused_and_the_next_packet_taken() -> None:
    ends = Ends()
    ends.wire.feed(b"$g#00$g#67")
    assert (ends.got, bytes(ends.sent)) == ([b"g"], b"-+")


def test_wrong_checksum_without_acknowledgements_is_dropped() -> None:
    ends = Ends()
    ends.wire.acknowledges = False
    ends.wire.feed(b"$g#00")
    assert (ends.got, bytes(ends.sent)) == ([], b"")


def test_answer_is_sent_again_when_the_client_asks() -> None:
    ends = Ends()
    ends.wire.answer(b"OK")
    ends.wire.feed(b"-")
    assert bytes(ends.sent) == b"$OK#9a$OK#9a"


def test_interrupt_between_packets_only() -> None:
    ends = Ends()
    ends.wire.feed(b"\x03" + framed(b"X0,1:\x03"))
    assert (ends.interrupts, ends.got) == (1, [b"X0,1:\x03"])


def test_packet_that_is_too_long_is_refused_and_costs_bounded_memory() -> None:
    ends = Ends()
    ends.wire.feed(b"$" + b"a" * (3 * LONGEST) + b"#00")
    assert (ends.got, bytes(ends.sent)) == ([], b"-")
    ends.wire.feed(b"$g#67")
    assert ends.got == [b"g"]


def test_packet_cut_short_is_forgotten_at_the_next_one() -> None:
    ends = Ends()
    ends.wire.feed(b"$m0,4$g#67")
    assert ends.got == [b"g"]


@given(st.binary(max_size=300))
def test_escapes_are_undone(data: bytes) -> None:
    assert unescape(escape(data)) == data
    assert not set(escape(data)) & set(b"$#*")


@given(st.binary(max_size=400))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    ends = Ends()
    ends.wire.feed(data)
    ends.wire.feed(b"#00$g#67")
    assert ends.got[-1] == b"g" or b"}" in data or ends.got[-1:] == [b"g"]
