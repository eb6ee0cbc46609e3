"""The machine as a Python object: the front for programs and notebooks (docs/python.md)."""

from gossamer.api.console import Console, ExpectError
from gossamer.api.forks import Fork, ForkError
from gossamer.api.stopped import Stopped
from gossamer.api.vm import Vm
from gossamer.base.errors import GossamerError

__all__ = ["Console", "ExpectError", "Fork", "ForkError", "GossamerError", "Stopped", "Vm"]
