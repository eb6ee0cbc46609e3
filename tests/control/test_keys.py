"""Key names: every one of QEMU 7.2, and what a guest gets (case 29)."""

from __future__ import annotations

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control import keys
from gossamer.core.clock import Clock
from gossamer.devices.adb.bus import AdbBus
from gossamer.devices.adb.keyboard import AdbKeyboard
from gossamer.devices.usb.keys import EXTENDED, PREFIX, USAGE, scan_codes

#: As QEMU 7.2's QMP schema lists QKeyCode.
QEMU = (
    "unmapped", "shift", "shift_r", "alt", "alt_r", "ctrl", "ctrl_r", "menu", "esc", "1", "2",
    "3", "4", "5", "6", "7", "8", "9", "0", "minus", "equal", "backspace", "tab", "q", "w", "e",
    "r", "t", "y", "u", "i", "o", "p", "bracket_left", "bracket_right", "ret", "a", "s", "d", "f",
    "g", "h", "j", "k", "l", "semicolon", "apostrophe", "grave_accent", "backslash", "z", "x",
    "c", "v", "b", "n", "m", "comma", "dot", "slash", "asterisk", "spc", "caps_lock", "f1", "f2",
    "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "num_lock", "scroll_lock", "kp_divide",
    "kp_multiply", "kp_subtract", "kp_add", "kp_enter", "kp_decimal", "sysrq", "kp_0", "kp_1",
    "kp_2", "kp_3", "kp_4", "kp_5", "kp_6", "kp_7", "kp_8", "kp_9", "less", "f11", "f12", "print",
    "home", "pgup", "pgdn", "end", "left", "up", "down", "right", "insert", "delete", "stop",
    "again", "props", "undo", "front", "copy", "open", "paste", "find", "cut", "lf", "help",
    "meta_l", "meta_r", "compose", "pause", "ro", "hiragana", "henkan", "yen", "muhenkan",
    "katakanahiragana", "kp_comma", "kp_equals", "power", "sleep", "wake", "audionext",
    "audioprev", "audiostop", "audioplay", "audiomute", "volumeup", "volumedown", "mediaselect",
    "mail", "calculator", "computer", "ac_home", "ac_back", "ac_forward", "ac_refresh",
    "ac_bookmarks", "lang1", "lang2",
)  # fmt: skip
#: Usages that Linux reported (EV_MSC) under QEMU 7.2, mac99 via=pmu; a few of each kind.
USAGES = {
    "a": 0x04, "ret": 0x28, "shift_r": 0xE5, "up": 0x52, "kp_enter": 0x58, "power": 0x66,
    "asterisk": 0x55, "sysrq": 0x46, "less": 0x64, "meta_r": 0xE7, "compose": 0x65, "ro": 0x87,
    "henkan": 0x8A, "yen": 0x89, "muhenkan": 0x8B, "katakanahiragana": 0x88, "kp_comma": 0xE7,
    "kp_equals": 0x68, "audiomute": 0x7F, "volumeup": 0x80, "volumedown": 0x81, "open": 0x73,
    "lf": 0x6A, "0x1e": 0x04, "0x1": 0x29, "0x56": 0x64, "0x9c": 0x58, "0xb7": 0x46, "0xdd": 0x65,
    "0x73": 0x87, "0x37": 0x55, "0xc8": 0x52, "0x54": 0x46, "0XC8": 0x52,
}  # fmt: skip
#: ADB codes for what Linux reported under QEMU 7.2, g3beige.
ADB = {
    "a": 0x00, "asterisk": 0x43, "sysrq": 0x69, "help": 0x72, "insert": 0x72, "print": 0x69,
    "meta_r": 0x37, "kp_equals": 0x51, "pause": 0x71, "power": 0x7F, "0x1e": 0x00, "0xc8": 0x3E,
}  # fmt: skip
NO_USB = (
    "menu", "stop", "again", "props", "undo", "front", "copy", "paste", "find", "cut", "help",
    "hiragana", "sleep", "wake", "audionext", "mail", "calculator", "computer", "ac_home",
    "lang1", "lang2", "unmapped",
)  # fmt: skip


def test_every_name_of_qemu_is_known() -> None:
    assert set(keys.NAMES) == set(QEMU)
    for name in QEMU:
        keys.code(name)


@pytest.mark.parametrize(("name", "usage"), USAGES.items())
def test_usb_keyboard_reports_what_qemus_does(name: str, usage: int) -> None:
    down, up = scan_codes(keys.code(name), True), scan_codes(keys.code(name), False)
    assert USAGE[down[-1] | (EXTENDED if down[0] == PREFIX else 0)] == usage
    assert up == [*down[:-1], down[-1] | 0x80]


@pytest.mark.parametrize(("name", "code"), ADB.items())
def test_adb_keyboard_reports_what_qemus_does(name: str, code: int) -> None:
    keyboard = AdbKeyboard(Clock(), AdbBus(Clock()))
    keyboard.listen(3, bytes((0x02, 3)))  # distinguish right from left
    keyboard.key(keys.code(name), True)
    assert keyboard.talk(0)[0] == code


@pytest.mark.parametrize("name", NO_USB)
def test_key_that_no_usb_keyboard_has_does_nothing(name: str) -> None:
    assert scan_codes(keys.code(name), True) == []


def test_key_that_no_adb_keyboard_has_does_nothing() -> None:
    keyboard = AdbKeyboard(Clock(), AdbBus(Clock()))
    for name in ("menu", "compose", "volumeup", "yen"):
        keyboard.key(keys.code(name), True)
    assert keyboard.count == 0
    assert keyboard.held == 0


@pytest.mark.parametrize("name", ["0x0", "0x100", "0xzz", "0x", "-1", "", "A", "30"])
def test_what_is_no_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        keys.code(name)
