"""What a transfer's TLS is made of: objects by their ids, and parameters that name them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError
from gossamer.base.late import LateModule

if TYPE_CHECKING:
    import ssl

    from gossamer.migrate import channels, tls
    from gossamer.migrate.channels import Channel
    from gossamer.migrate.tls import Credentials
else:
    channels = LateModule(lambda: import_module("gossamer.migrate.channels"))
    tls = LateModule(lambda: import_module("gossamer.migrate.tls"))

X509: Final = "tls-creds-x509"
AUTHZ: Final = "authz-simple"
_KNOWN: Final = {X509: ("dir", "endpoint", "verify-peer", "priority"), AUTHZ: ("identity",)}


class TlsObjects(Data, frozen=False):
    """Credentials and authorizations; `creds`, `hostname` and `authz` are the parameters."""

    objects: dict[str, Credentials | str] = field(default_factory=dict)
    creds: str = ""
    hostname: str = ""
    authz: str = ""

    def add(self, kind: str, name: str, values: dict[str, Any]) -> None:
        """ConfigError for a kind, a name or a value that cannot be; the files are read at once."""
        if kind not in _KNOWN:
            raise ConfigError(f"object {kind!r}: there is {', '.join(_KNOWN)}")
        if not name or name in self.objects:
            raise ConfigError(f"object id {name!r}: " + ("is taken" if name else "is needed"))
        for key in values:
            if key not in _KNOWN[kind]:
                raise ConfigError(f"{kind}: no property {key!r} (there is: {_KNOWN[kind]})")
        if kind == AUTHZ:
            self.objects[name] = str(values.get("identity", ""))
            return
        endpoint = values.get("endpoint", "client")
        if endpoint not in tls.ENDPOINTS:
            raise ConfigError(f"{kind}: endpoint is client or server, got {endpoint!r}")
        if "dir" not in values:
            raise ConfigError(f"{kind}: needs dir=, the folder of the certificates")
        verify = values.get("verify-peer", True) in (True, "on", "yes", "true")
        made = tls.Credentials(Path(values["dir"]), endpoint, verify)
        made.context()
        self.objects[name] = made

    def remove(self, name: str) -> None:
        if name not in self.objects:
            raise ConfigError(f"object {name!r} not found")
        del self.objects[name]

    def chosen(self, endpoint: str) -> Credentials | None:
        """The credentials of transfers, None without TLS; ConfigError when they do not fit."""
        if not self.creds:
            return None
        found = self.objects.get(self.creds)
        if not isinstance(found, tls.Credentials):
            raise ConfigError(f"tls-creds: no TLS credentials with id {self.creds!r}")
        if found.endpoint != endpoint:
            text = f"tls-creds: {self.creds} is for a {found.endpoint}, a {endpoint} is needed here"
            raise ConfigError(text)
        return found

    def server_context(self, name: str) -> ssl.SSLContext:
        """What another server needs; ConfigError when they are not a server's."""
        found = self.objects.get(name)
        if not isinstance(found, tls.Credentials):
            raise ConfigError(f"tls-creds: no TLS credentials with id {name!r}")
        if found.endpoint != "server":
            raise ConfigError(f"tls-creds: {name} is for a {found.endpoint}, a server is needed")
        return found.context()

    def identity(self, name: str) -> str:
        """Whom an authorization lets in; ConfigError where there is none of that id."""
        found = self.objects.get(name)
        if not isinstance(found, str):
            raise ConfigError(f"tls-authz: no authorization with id {name!r}")
        return found

    def host_of(self, uri: str) -> str:
        """The name that the receiver must show: tls-hostname, else the one of a tcp: place."""
        place = channels.parse(uri)
        host = self.hostname
        if not host and place.kind == "tcp":
            host = place.rest.rpartition(":")[0].strip("[]")
        if not host:
            raise ConfigError(f"{place.text}: TLS needs the receiver's name: set tls-hostname")
        return host

    def wrap(self, channel: Channel, credentials: Credentials, *, host: str = "") -> Channel:
        """The channel inside TLS, shaken hands on."""
        if not channel.two_way:
            raise ConfigError(f"{channel.name}: TLS needs a socket")
        identity = self.objects.get(self.authz) if self.authz else None
        if self.authz and not isinstance(identity, str):
            raise ConfigError(f"tls-authz: no authorization with id {self.authz!r}")
        welcome = None if not isinstance(identity, str) else lambda name: name == identity
        return tls.TlsChannel(channel, credentials, host=host, authorized=welcome)
