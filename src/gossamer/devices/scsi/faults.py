"""How a command may end besides well."""

from __future__ import annotations

from gossamer.devices.scsi.sense import Sense


class PortError(Exception):
    """The initiator's memory cannot be reached."""


class CommandError(Exception):
    """The command ends with CHECK CONDITION."""

    def __init__(self, why: Sense) -> None:
        super().__init__(why)
        self.sense = why


class StalledError(Exception):
    """A failure of the host stopped it: the adapter does it again when the machine goes on."""
