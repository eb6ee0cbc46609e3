"""Keys of a viewer that sends X11 keysyms instead of scan codes: QEMU's names of them.

As on a keyboard of the United States, whatever shift is: the viewer sends the shift key itself.
Source: X11's keysymdef.h.
"""

from __future__ import annotations

from typing import Final

_LATIN: Final = {
    " ": "spc", "!": "1", '"': "apostrophe", "#": "3", "$": "4", "%": "5", "&": "7",
    "'": "apostrophe", "(": "9", ")": "0", "*": "8", "+": "equal", ",": "comma", "-": "minus",
    ".": "dot", "/": "slash", ":": "semicolon", ";": "semicolon", "<": "comma", "=": "equal",
    ">": "dot", "?": "slash", "@": "2", "[": "bracket_left", "\\": "backslash",
    "]": "bracket_right", "^": "6", "_": "minus", "`": "grave_accent", "{": "bracket_left",
    "|": "backslash", "}": "bracket_right", "~": "grave_accent",
}  # fmt: skip
_OTHERS: Final = {
    0xFF08: "backspace", 0xFF09: "tab", 0xFE20: "tab", 0xFF0D: "ret", 0xFF13: "pause",
    0xFF14: "scroll_lock", 0xFF15: "sysrq", 0xFF1B: "esc", 0xFFFF: "delete", 0xFF50: "home",
    0xFF51: "left", 0xFF52: "up", 0xFF53: "right", 0xFF54: "down", 0xFF55: "pgup", 0xFF56: "pgdn",
    0xFF57: "end", 0xFF61: "print", 0xFF63: "insert", 0xFF67: "compose", 0xFF6A: "help",
    0xFF7F: "num_lock", 0xFF8D: "kp_enter", 0xFFAA: "kp_multiply", 0xFFAB: "kp_add",
    0xFFAD: "kp_subtract", 0xFFAE: "kp_decimal", 0xFFAF: "kp_divide", 0xFFBD: "kp_equals",
    0xFF95: "kp_7", 0xFF96: "kp_4", 0xFF97: "kp_8", 0xFF98: "kp_6", 0xFF99: "kp_2", 0xFF9A: "kp_9",
    0xFF9B: "kp_3", 0xFF9C: "kp_1", 0xFF9D: "kp_5", 0xFF9E: "kp_0", 0xFF9F: "kp_decimal",
    0xFFE1: "shift", 0xFFE2: "shift_r", 0xFFE3: "ctrl", 0xFFE4: "ctrl_r", 0xFFE5: "caps_lock",
    0xFFE7: "meta_l", 0xFFE8: "meta_r", 0xFFE9: "alt", 0xFFEA: "alt_r", 0xFFEB: "meta_l",
    0xFFEC: "meta_r", 0xFE03: "alt_r",
}  # fmt: skip
NAMES: Final = {
    **{ord(c): c.lower() for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"},
    **{ord(c): name for c, name in _LATIN.items()},
    **{0xFFB0 + n: f"kp_{n}" for n in range(10)},
    **{0xFFBE + n: f"f{n + 1}" for n in range(12)},
    **_OTHERS,
}
