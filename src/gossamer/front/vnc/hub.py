"""What all viewers of a server share: the picture, the machine, and who may look."""

from __future__ import annotations

import contextlib
import ssl
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.control import keys
from gossamer.control.commands.table import HELD
from gossamer.control.pointer import is_absolute
from gossamer.control.session import Session
from gossamer.control.viewers import Access
from gossamer.front.vnc.picture import Picture
from gossamer.machines.config import Vnc

MOST_PLACE: Final = 0x7FFF


class Hub:
    """One server's; made when the machine is there.  ConfigError where `options` do not fit it."""

    def __init__(self, session: Session, options: Vnc) -> None:
        self.session, self.vm, self.options = session, session.vm, options
        self.picture = Picture()
        self.access = Access(needed=options.password or bool(options.secret))
        if options.secret:
            self.access.password = session.objects.secret(options.secret)
        if self.access.needed:
            from gossamer.front.vnc.auth import check_available  # noqa: PLC0415 - needs an extra

            check_available()
        self.tls: ssl.SSLContext | None = None
        if options.tls:
            self.tls = session.objects.tls.server_context(options.tls)
        self.authz = session.objects.tls.identity(options.authz) if options.authz else None

    @property
    def auth(self) -> str:
        """As query-vnc names it."""
        if self.tls is not None:
            return "vencrypt"
        return "vnc" if self.access.needed else "none"

    @property
    def vencrypt(self) -> str | None:
        """What is inside TLS."""
        if self.tls is None:
            return None
        return "x509-vnc" if self.access.needed else "x509-none"

    @property
    def web_auth(self) -> str:
        """The same on a WebSocket, where TLS is outside of everything."""
        return "vnc" if self.access.needed else "none"

    def agrees(self, identity: str | None) -> bool:
        """Whether a viewer with that name in its certificate may look."""
        return self.authz is None or identity == self.authz

    # --- the machine --------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether a save, a load or a transfer has the machine: input has to wait."""
        return bool(self.vm.busy) or self.vm.run_state in HELD

    @property
    def takes_input(self) -> bool:
        return not self.options.view_only and self.vm.run_state == "running"

    @property
    def absolute(self) -> bool:
        return is_absolute(self.vm.machine)

    def key(self, name: str, *, down: bool) -> None:
        with contextlib.suppress(ConfigError):  # a machine without a keyboard
            self.vm.inputs.move_key(name, down=down)

    def press(self, changed: int, buttons: int) -> None:
        """Buttons of which `changed` went down or up."""
        for bit in (1, 2, 4):
            if changed & bit:
                self.vm.inputs.press(bit, down=bool(buttons & bit))

    def point(self, x: int, y: int, size: tuple[int, int]) -> None:
        """The pointer is at a place of a screen of `size`."""
        width, height = size
        place = (x * MOST_PLACE // max(width - 1, 1), y * MOST_PLACE // max(height - 1, 1))
        self.vm.inputs.point(*(max(0, min(n, MOST_PLACE)) for n in place))

    def move(self, dx: int, dy: int, wheel: int) -> None:
        with contextlib.suppress(ConfigError):  # a machine without a mouse
            self.vm.inputs.mouse_move(dx, dy, wheel)

    def power(self, code: int) -> bool:
        """What xvp asks for: 2 power key, 3 and 4 reset; whether that was allowed."""
        if not self.options.power or self.options.view_only or self.held:
            return False
        if code == 2:
            with contextlib.suppress(ConfigError):
                self.vm.power_down()
            return True
        if code in (3, 4):
            self.vm.reset()
            return True
        return False


def key_name(number: int) -> str | None:
    """QEMU's name of a key by its scan code (0x80 added where it has the prefix 0xe0)."""
    return keys.NUMBERS.get(number)
