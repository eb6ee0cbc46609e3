"""The small values inside QEMU's options: sizes, switches, lists of key=value, dates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.base.late import pattern
from gossamer.base.units import MiB
from gossamer.machines.config import unknown

_SUFFIXES: Final = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_SIZE: Final = pattern(r"(\d+(?:\.\d+)?)([bkmgt]?)", re.IGNORECASE | re.ASCII)
_BYTE: Final = pattern(r"[0-9a-fA-F]{1,2}")
_PLACE: Final = pattern(r"(?:0x)?0*([0-9a-f]{1,2})(?:\.(?:0x)?0*([0-7]))?", re.IGNORECASE)
_IDENTIFIER: Final = pattern(r"[A-Za-z][A-Za-z0-9._-]*")
_LONGEST: Final = 64
_DATE: Final = pattern(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:T(\d{1,2}):(\d{1,2}):(\d{1,2}))?", re.ASCII)


def pairs(option: str, text: str, *, first: str | None = None) -> dict[str, str]:
    """``key=value,key=value`` as a dict; a comma in a value is doubled.

    A leading value without a key belongs to `first`.  A later key without a value, as QEMU has
    it, means on; ``nokey`` is not understood.
    """
    found: dict[str, str] = {}
    parts = [p.replace("\0", ",") for p in text.replace(",,", "\0").split(",")]
    for n, part in enumerate(parts):
        key, equals, value = part.partition("=")
        if not equals:
            if n == 0 and first is not None:
                key, value = first, part
            else:
                value = "on"
        if not key or (not value and n == 0 and not equals):
            raise ConfigError(f"{option}: expected key=value, got {part!r}")
        if key in found:
            raise ConfigError(f"{option}: {key} is given twice")
        found[key] = value
    return found


def keyval(option: str, text: str, *, first: str | None = None) -> dict[str, str]:
    """The same, or a JSON object as libvirt writes it: members of members become ``a.b``."""
    if not text.lstrip().startswith("{"):
        return pairs(option, text, first=first)
    import json

    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise ConfigError(f"{option}: not JSON: {fault}") from None
    return flattened(option, tree)


def flattened(option: str, tree: dict[str, Any]) -> dict[str, str]:
    """The members of an object as texts."""
    found: dict[str, str] = {}
    _flatten(option, "", tree, found)
    return found


def _flatten(option: str, prefix: str, tree: dict[str, Any], into: dict[str, str]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict):
            _flatten(option, f"{prefix}{key}.", value, into)
        elif isinstance(value, bool):
            into[prefix + key] = "on" if value else "off"
        elif isinstance(value, (str, int)) or value is None:
            into[prefix + key] = "" if value is None else str(value)
        else:
            raise ConfigError(f"{option}: {prefix}{key}: expected a text, number or switch")


def escaped(text: str) -> str:
    """`text` with its commas doubled, for a list of key=value."""
    return text.replace(",", ",,")


def place_and_options(text: str) -> tuple[str, str]:
    """What is before the first comma that is not doubled, and what is behind it."""
    place, comma, rest = text.replace(",,", "\0").partition(",")
    del comma
    return place.replace("\0", ","), rest.replace("\0", ",,")


def choice(option: str, value: str, known: Iterable[str]) -> str:
    """`value` if it is one of `known`."""
    if value not in known:
        raise unknown(f"value for {option}" if option[0] == "-" else option, value, known)
    return value


def on_off(option: str, value: str) -> bool:
    return choice(option, value, ("on", "off")) == "on"


def whole(option: str, text: str, least: int, most: int) -> int:
    """A whole number in decimal."""
    if not (text.isascii() and text.isdigit() and least <= int(text[:20]) <= most):
        raise ConfigError(f"{option} must be {least} to {most}, got {text!r}")
    return int(text)


def size_of(option: str, text: str, unit: int = MiB) -> int:
    """A size in bytes; a number without a suffix counts `unit`s."""
    match = _SIZE.fullmatch(text)
    if match is None or len(text) > 20:
        expected = "expected a size such as 128, 128M or 1G"
        raise ConfigError(f"{option}: {expected}, got {text!r}")
    scale = 1 << _SUFFIXES[match[2].lower()] if match[2] else unit
    from fractions import Fraction

    size = Fraction(match[1]) * scale
    if size.denominator != 1:
        raise ConfigError(f"{option}: {text!r} is no whole number of bytes")
    return int(size)


def uuid_text(where: str, text: str) -> str:
    """A UUID in lower case."""
    parts = text.lower().split("-")
    if [len(p) for p in parts] != [8, 4, 4, 4, 12] or set("".join(parts)) - set("0123456789abcdef"):
        raise ConfigError(f"{where}: expected 8-4-4-4-12 hexadecimal digits, got {text!r}")
    return text.lower()


def rtc_base(text: str) -> str | int:
    """``utc``, ``localtime``, or seconds since 1970 for a date (UTC)."""
    if text in ("utc", "localtime"):
        return text
    match = _DATE.fullmatch(text)
    expected = "expected utc, localtime, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS"
    if match is None:
        raise ConfigError(f"-rtc: base: {expected}, got {text!r}")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    import calendar

    in_month = 1 <= month <= 12 and 1 <= day <= calendar.monthrange(max(year, 1), month)[1]
    if not (in_month and 1904 <= year <= 2040 and hour < 24 and minute < 60 and second < 60):
        raise ConfigError(f"-rtc: base: {text!r} is no date from 1904 to 2040")
    return calendar.timegm((year, month, day, hour, minute, second))


def number(where: str, text: str, least: int, most: int) -> int:
    """A whole number, decimal or with 0x."""
    try:
        value = int(text, 0) if text.isascii() and "_" not in text and len(text) <= 24 else -1
    except ValueError:
        value = -1
    if not least <= value <= most:
        shown = f"{most:#x}" if most > 0xFFFF else str(most)
        raise ConfigError(f"{where} must be a number from {least} to {shown}, got {text!r}")
    return value


def identifier(where: str, text: str) -> str:
    """A name that QEMU takes too: a letter, then letters, digits, ``-``, ``.`` and ``_``."""
    if not _IDENTIFIER.fullmatch(text) or len(text) > _LONGEST:
        expected = f"must be a letter and letters, digits, '-', '.' or '_', at most {_LONGEST}"
        raise ConfigError(f"{where} {expected}, got {text!r}")
    return text


def mac_address(where: str, text: str) -> bytes:
    """An Ethernet address: six bytes in hexadecimal, with colons or hyphens."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or not all(_BYTE.fullmatch(p) for p in parts):
        raise ConfigError(f"{where} must be six bytes as 52:54:00:12:34:56, got {text!r}")
    return bytes(int(p, 16) for p in parts)


def pci_address(where: str, text: str) -> int:
    """A place on a PCI bus, ``slot`` or ``slot.function`` in hexadecimal: 8 * slot + function."""
    match = _PLACE.fullmatch(text)
    if match is None or int(match[1], 16) > 31:
        expected = "must be slot or slot.function, as 06 or 06.0, slots to 1f"
        raise ConfigError(f"{where} {expected}, got {text!r}")
    return int(match[1], 16) << 3 | int(match[2] or "0")
