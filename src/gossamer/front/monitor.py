"""The human monitor: commands that look into a machine, stop it, save it and end it."""

from __future__ import annotations

import difflib
import shlex

import gossamer
from gossamer.base.errors import GossamerError
from gossamer.front import (
    monitor_block,
    monitor_control,
    monitor_info,
    monitor_input,
    monitor_memory,
)
from gossamer.front.chardev import Chardev
from gossamer.front.line_editor import LineEditor
from gossamer.front.monitor_table import Command, Commands, UsageError
from gossamer.front.vm_protocol import VmControl

PROMPT = b"(gossamer) "


class Monitor:
    """Serves the commands on `device`."""

    def __init__(self, vm: VmControl, device: Chardev) -> None:
        self.vm, self.device = vm, device
        self.commands = Commands()
        parts = monitor_control, monitor_memory, monitor_input, monitor_info, monitor_block
        for part in parts:
            part.add_commands(self.commands)
        self.commands.add("help", "[COMMAND]", "what there is", self._help)
        self.commands.add("?", "[COMMAND]", "the same as help", self._help)
        self.editor = LineEditor(self._line, device.write, echo=device.is_terminal)
        self._greeted = False
        device.receive = self.editor.feed
        device.opened = self._opened

    def _opened(self) -> None:
        if not self._greeted or not self.device.is_terminal:
            version = f"gossamer {gossamer.__version__} monitor, help for help\n"
            self.device.write(version.encode())
        self._greeted = True
        self.device.write(PROMPT)

    def _line(self, line: str) -> None:
        text = self.execute(line)
        self.device.write(text.encode("utf-8", "backslashreplace"))
        if self.vm.run_state != "shutdown":
            self.device.write(PROMPT)

    def execute(self, line: str) -> str:
        """Do one command; what it says, errors included, each line ended."""
        try:
            words = shlex.split(line)
            if not words:
                return ""
            text = self._find(words[0]).run(self.vm, words[1:])
        except UsageError as fault:
            text = f"usage: {fault}"
        except (GossamerError, ValueError) as fault:
            text = f"error: {fault}"
        return text if not text or text.endswith("\n") else text + "\n"

    def _find(self, name: str) -> Command:
        found = self.commands.table.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.commands.table, 1)
            hint = f"; did you mean {near[0]}?" if near else "; help lists the commands"
            raise GossamerError(f"no command {name!r}{hint}")
        return found

    def _help(self, vm: VmControl, words: list[str]) -> str:
        del vm
        if words:
            return self._find(words[0]).line()
        return "".join(
            command.line() + "\n" for name, command in sorted(self.commands.table.items())
        )
