"""What a `Vm` offers for transfers; `migration` does them, and is imported when it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from gossamer.base.errors import ConfigError
from gossamer.control.profiles import OURS

if TYPE_CHECKING:
    from gossamer.control.migration import Received, Sent
    from gossamer.control.vm import Vm
    from gossamer.migrate.channels import Limits, Listener

_KEEP_TB: Final = ",keep-tb"


def _form_and_uri(text: str) -> tuple[str, str]:
    """``FORM+URI`` taken apart; a plain URI has no form."""
    form, plus, uri = text.partition("+")
    return (form, uri) if plus and ":" not in form else ("", text)


class Migrating:
    """What a `Vm` offers for transfers.  The monitor's words; see `front.vm_protocol.Migrates`."""

    #: The receiver that `migrate` writes for.
    wire_profile: str = OURS
    keep_tb: bool = False
    mends: bool = True
    last_sent: Sent | None = None
    last_received: Received | None = None

    def migrate(self, uri: str, *, background: bool = False, profile: str = "") -> Sent:
        """Send the machine to `uri`.  Stop and copy: `background` makes no difference.

        In one word for a monitor: ``qemu-7.2+unix:/path`` or ``qemu-7.2,keep-tb+unix:/path``.
        """
        from gossamer.control.migration import send

        vm = cast("Vm", self)
        form, uri = _form_and_uri(uri)
        named, keep_tb = form.removesuffix(_KEEP_TB), form.endswith(_KEEP_TB)
        chosen = profile or named or self.wire_profile
        self.last_sent = send(vm, uri, chosen, keep_tb=self.keep_tb or keep_tb)
        return self.last_sent

    def migrate_cancel(self) -> None:
        raise ConfigError("no migration is under way: a machine is sent in one step")

    def migration_text(self) -> str:
        """Of the last transfers."""
        done = [t.text for t in (self.last_received, self.last_sent) if t is not None]
        return "\n".join(done) or "no migration yet"

    def incoming(
        self, uri: str | Listener, *, mend: bool | None = None, limits: Limits | None = None
    ) -> Received:
        """Wait at `uri` for a machine and become it."""
        from gossamer.control.migration import receive

        vm = cast("Vm", self)
        mend = self.mends if mend is None else mend
        self.last_received = receive(vm, uri, mend=mend, limits=limits)
        return self.last_received
