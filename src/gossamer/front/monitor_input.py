"""Monitor commands for the display, the keyboard and the mouse."""

from __future__ import annotations

from pathlib import Path

from gossamer.base.errors import ConfigError
from gossamer.front.monitor_table import Commands, number
from gossamer.front.picture import Picture, write_picture
from gossamer.front.vm_protocol import VmControl


def add_commands(commands: Commands) -> None:
    add = commands.add
    add("screendump", "FILE", "what the display shows, as .png or .ppm", _screendump)
    add("sendkey", "KEYS [MS]", "press keys together, such as ctrl-alt-delete", _sendkey)
    add("mouse_move", "DX DY [DZ]", "move the mouse", _mouse_move)
    add("mouse_button", "MASK", "hold buttons: 1 left, 2 middle, 4 right", _mouse_button)


def _screendump(vm: VmControl, words: list[str]) -> str:
    write_picture(Path(words[0]), Picture(*vm.screen()))
    return ""


def _sendkey(vm: VmControl, words: list[str]) -> str:
    names = words[0].split("-")
    if not all(names) or len(names) > 16:
        raise ConfigError(f"expected up to 16 key names with - between them, got {words[0]!r}")
    hold = number(words[1], 1, 60_000, "the time") if len(words) > 1 else 100
    vm.send_key(names, hold)
    return ""


def _mouse_move(vm: VmControl, words: list[str]) -> str:
    dx, dy, dz = ([number(w, -4096, 4096, "a distance") for w in words] + [0])[:3]
    vm.mouse_move(dx, dy, dz)
    return ""


def _mouse_button(vm: VmControl, words: list[str]) -> str:
    vm.mouse_buttons(number(words[0], 0, 7, "the mask"))
    return ""
