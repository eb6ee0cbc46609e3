"""TLS around a whole connection, as QEMU's `tls-creds-x509` does it.

From the first byte on the connection is TLS; the sender is the client.  Both ends show a
certificate of one authority: the sender checks the receiver's host name, the receiver may demand a
certain client (`authorized`).  Files by QEMU's names in one folder: ca-cert.pem, server-cert.pem,
server-key.pem, client-cert.pem, client-key.pem, and ca-crl.pem if there is one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, HostError
from gossamer.base.late import Late
from gossamer.core import host as hosts
from gossamer.migrate.channels import PIECE, Channel

if TYPE_CHECKING:
    import ssl
else:
    ssl = Late(lambda: import_module("ssl"))

ENDPOINTS: Final = ("client", "server")
_REVOKED: Final = "ca-crl.pem"
_SHORT: Final = {
    "commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU",
    "countryName": "C", "localityName": "L", "stateOrProvinceName": "ST",
}  # fmt: skip


class Credentials(Data):
    """A `tls-creds-x509` object; `verify_peer` off takes any peer (a server only)."""

    folder: Path
    endpoint: str
    verify_peer: bool = True

    def context(self) -> ssl.SSLContext:
        """Everything read and checked; ConfigError with the file that is missing or wrong."""
        server = self.endpoint == "server"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        authority = self._file("ca-cert.pem")
        certificate, key = (self._file(f"{self.endpoint}-{what}.pem") for what in ("cert", "key"))
        try:
            context.load_verify_locations(authority)
            if (self.folder / _REVOKED).exists():
                context.load_verify_locations(self._file(_REVOKED))
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        except (ssl.SSLError, OSError) as fault:
            raise ConfigError(f"{authority}: is no certificate of an authority: {fault}") from None
        try:
            context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as fault:
            raise ConfigError(f"{certificate}: does not go with {key.name}: {fault}") from None
        if server:
            context.verify_mode = ssl.CERT_REQUIRED if self.verify_peer else ssl.CERT_NONE
        return context

    def _file(self, name: str) -> Path:
        path = self.folder / name
        try:
            with path.open("rb"):
                return path
        except OSError as fault:
            text = f"Unable to access credentials {path}: {fault.strerror}"
            raise ConfigError(text) from None


class TlsChannel(Channel):
    """A channel inside TLS; the handshake is done when it is made.

    `host`: the name that the receiver's certificate must have (for a sender).  `authorized` says
    whether a client is welcome, by the distinguished name of its certificate.
    """

    plain = False

    def __init__(
        self,
        plain: Channel,
        credentials: Credentials,
        *,
        host: str = "",
        authorized: Callable[[str], bool] | None = None,
    ) -> None:
        #: One thread may read while another writes (postcopy); OpenSSL allows one at a time.
        self._one = hosts.lock()
        context = credentials.context()
        fd = plain.detach_fd()
        super().__init__(fd, f"{plain.name} (TLS)", plain.limits, two_way=True)
        server = credentials.endpoint == "server"
        self._tls = context.wrap_socket(
            socket.socket(fileno=fd), server_side=server, server_hostname=None if server else host,
            do_handshake_on_connect=False, suppress_ragged_eofs=True,
        )  # fmt: skip
        self._tls.setblocking(False)  # else ssl waits by itself, without a limit
        try:
            self._again(self._tls.do_handshake)
            if authorized is not None and not authorized(name := self.peer):
                raise HostError(f"{self.name}: the peer {name!r} is not authorized")
        except BaseException:
            self.close()
            raise

    @property
    def peer(self) -> str:
        """The distinguished name in the peer's certificate, as ``C=…,O=…,CN=…``."""
        found: Any = self._tls.getpeercert() or {}
        pairs = [pair for part in found.get("subject", ()) for pair in part]
        return ",".join(f"{_SHORT.get(key, key)}={value}" for key, value in pairs)

    def _again(self, do: Callable[[], object]) -> object:
        """Do it, waiting for the peer where TLS has to."""
        while True:
            try:
                with self._one:
                    return do()
            except ssl.SSLWantReadError:
                self._wait(write=False)
            except ssl.SSLWantWriteError:
                self._wait(write=True)
            except ssl.SSLCertVerificationError as fault:
                text = f"the peer's certificate is refused: {fault.verify_message}"
                raise HostError(f"{self.name}: {text}") from None
            except ssl.SSLError as fault:
                reason = (fault.reason or str(fault)).lower().replace("_", " ")
                raise HostError(f"{self.name}: TLS: {reason}") from None
            except OSError as fault:
                raise HostError(f"{self.name}: the peer has gone: {fault.strerror}") from None

    def read(self, size: int | None = -1, /) -> bytes:
        want = PIECE if size is None or size < 0 else min(size, PIECE)
        data = self._again(lambda: self._tls.recv(want))
        assert isinstance(data, bytes)
        self.received += len(data)
        return data

    def put(self, view: memoryview) -> memoryview:
        """Nothing: what is encrypted may have to wait for what the peer sends."""
        return view

    def write(self, data: object, /) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        total = len(view)
        while view:
            piece = view[:PIECE]
            done = self._again(lambda piece=piece: self._tls.send(piece))  # type: ignore[misc]
            assert isinstance(done, int)
            view = view[done:]
            self.sent += done
        return total

    def has_input(self, seconds: float) -> bool:
        return bool(self._tls.pending()) or super().has_input(seconds)

    def shut(self) -> None:
        if self._fd >= 0:
            self._fd = -1
            self._tls.close()
