"""QEMU's key names (`sendkey`) and the codes of the keys, for ADB and USB keyboards.

A code is that of ADB, with a USB usage in bits 15..8 where that does not follow from it; 0xff in
either place: the key is not on such a keyboard.  Sources: Inside Macintosh, ADB; USB HID Usage
Tables 1.12, page 7; what QEMU 7.2 delivers to Linux on both.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from gossamer.base.errors import ConfigError

POWER: Final = 0x7F

_ROWS: Final = {
    "a": 0x00, "s": 0x01, "d": 0x02, "f": 0x03, "h": 0x04, "g": 0x05, "z": 0x06, "x": 0x07,
    "c": 0x08, "v": 0x09, "b": 0x0B, "q": 0x0C, "w": 0x0D, "e": 0x0E, "r": 0x0F, "y": 0x10,
    "t": 0x11, "1": 0x12, "2": 0x13, "3": 0x14, "4": 0x15, "6": 0x16, "5": 0x17, "equal": 0x18,
    "9": 0x19, "7": 0x1A, "minus": 0x1B, "8": 0x1C, "0": 0x1D, "bracket_right": 0x1E, "o": 0x1F,
    "u": 0x20, "bracket_left": 0x21, "i": 0x22, "p": 0x23, "ret": 0x24, "l": 0x25, "j": 0x26,
    "apostrophe": 0x27, "k": 0x28, "semicolon": 0x29, "backslash": 0x2A, "comma": 0x2B,
    "slash": 0x2C, "n": 0x2D, "m": 0x2E, "dot": 0x2F, "tab": 0x30, "spc": 0x31,
    "grave_accent": 0x32, "backspace": 0x33, "esc": 0x35, "ctrl": 0x36, "meta_l": 0x37,
    "shift": 0x38, "caps_lock": 0x39, "alt": 0x3A, "left": 0x3B, "right": 0x3C, "down": 0x3D,
    "up": 0x3E, "kp_decimal": 0x41, "kp_multiply": 0x43, "kp_add": 0x45, "num_lock": 0x47,
    "kp_divide": 0x4B, "kp_enter": 0x4C, "kp_subtract": 0x4E, "kp_0": 0x52, "kp_1": 0x53,
    "kp_2": 0x54, "kp_3": 0x55, "kp_4": 0x56, "kp_5": 0x57, "kp_6": 0x58, "kp_7": 0x59,
    "kp_8": 0x5B, "kp_9": 0x5C, "f5": 0x60, "f6": 0x61, "f7": 0x62, "f3": 0x63, "f8": 0x64,
    "f9": 0x65, "f11": 0x67, "print": 0x69, "scroll_lock": 0x6B, "f10": 0x6D, "f12": 0x6F,
    "pause": 0x71, "insert": 0x72, "home": 0x73, "pgup": 0x74, "delete": 0x75, "f4": 0x76,
    "end": 0x77, "f2": 0x78, "pgdn": 0x79, "f1": 0x7A, "shift_r": 0x7B, "alt_r": 0x7C,
    "ctrl_r": 0x7D, "power": POWER, "asterisk": 0x43, "sysrq": 0x69, "kp_equals": 0x51,
    "less": 0x0A,
}  # fmt: skip
_NONE: Final = 0xFF
#: Keys whose codes on ADB and USB have nothing to do with each other: (ADB, usage).
_OTHERS: Final = {
    "meta_r": (0x37, 0xE7), "help": (0x72, _NONE), "compose": (_NONE, 0x65), "ro": (_NONE, 0x87),
    "yen": (_NONE, 0x89), "henkan": (_NONE, 0x8A), "muhenkan": (_NONE, 0x8B),
    "katakanahiragana": (_NONE, 0x88), "kp_comma": (_NONE, 0xE7), "open": (_NONE, 0x73),
    "lf": (_NONE, 0x6A), "audiomute": (_NONE, 0x7F), "volumeup": (_NONE, 0x80),
    "volumedown": (_NONE, 0x81),
}  # fmt: skip
#: Names of QEMU's that neither keyboard has: they are accepted and press nothing.
_NOWHERE: Final = frozenset(
    (
        "unmapped", "menu", "stop", "again", "props", "undo", "front", "copy", "paste", "find",
        "cut", "hiragana", "sleep", "wake", "audionext", "audioprev", "audiostop", "audioplay",
        "mediaselect", "mail", "calculator", "computer", "ac_home", "ac_back", "ac_forward",
        "ac_refresh", "ac_bookmarks", "lang1", "lang2",
    )
)  # fmt: skip
NAMES: Final = {
    **_ROWS,
    **{name: adb | usage << 8 for name, (adb, usage) in _OTHERS.items()},
    **dict.fromkeys(_NOWHERE, _NONE | _NONE << 8),
}

#: QEMU's key numbers, which are PC scan codes (0x80 for those with the prefix 0xe0), row by row.
_NUMBERED: Final = {
    0x01: "esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p bracket_left "
    "bracket_right ret ctrl a s d f g h j k l semicolon apostrophe grave_accent shift backslash "
    "z x c v b n m comma dot slash shift_r kp_multiply alt spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 "
    "f9 f10 num_lock scroll_lock kp_7 kp_8 kp_9 kp_subtract kp_4 kp_5 kp_6 kp_add kp_1 kp_2 kp_3 "
    "kp_0 kp_decimal sysrq",
    0x56: "less f11 f12 kp_equals",
    0x5B: "lf",
    0x64: "open",
    0x70: "katakanahiragana",
    0x73: "ro",
    0x79: "henkan",
    0x7B: "muhenkan",
    0x7D: "yen kp_comma",
    0x9C: "kp_enter ctrl_r",
    0xA0: "audiomute",
    0xAE: "volumedown",
    0xB0: "volumeup",
    0xB5: "kp_divide",
    0xB7: "sysrq alt_r",
    0xC6: "pause home up pgup",
    0xCB: "left",
    0xCD: "right",
    0xCF: "end down pgdn insert delete",
    0xDB: "meta_l meta_r compose power",
}
NUMBERS: Final = {
    first + n: name for first, row in _NUMBERED.items() for n, name in enumerate(row.split())
}


def code(name: str) -> int:
    """The code of a key, by name or by number (``0x1e``); ConfigError where there is no such key.

    A key that no keyboard of these machines has is one of QEMU's all the same: it does nothing.
    """
    if name[:2].lower() == "0x":
        with suppress(ValueError):
            number = int(name, 16)
            if 0 < number < 0x100:
                return NAMES[NUMBERS.get(number, "unmapped")]
        raise ConfigError(f"unknown key {name!r} (numbers are 0x1 to 0xff)")
    if name not in NAMES:
        raise ConfigError(f"unknown key {name!r} (there is: {', '.join(sorted(NAMES))})")
    return NAMES[name]
