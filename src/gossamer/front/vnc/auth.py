"""Who is let in: the challenge of VNC's own passwords, RFB 3.8 (RFC 6143) 7.2.2."""

from __future__ import annotations

import hmac
from typing import Final

from gossamer.base.errors import ConfigError

CHALLENGE: Final = 16
_KEY: Final = 8


def check_available() -> None:
    """ConfigError where passwords cannot be checked here."""
    try:
        response(bytes(CHALLENGE), "")
    except ImportError:
        raise ConfigError(
            "-vnc: password: needs the package cryptography (the extra tls)"
        ) from None


def response(challenge: bytes, password: str) -> bytes:
    """What a viewer that knows `password` answers: DES, each byte of the key bit by bit reversed.

    Eight characters of the password count.
    """
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.ciphers import Cipher, modes  # noqa: PLC0415

    raw = password.encode("latin-1", "replace")[:_KEY].ljust(_KEY, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in raw)
    des = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305 - RFB's
    return bytes(des.update(challenge))


def right(challenge: bytes, password: str, answer: bytes) -> bool:
    """Whether `answer` is that of a viewer that knows `password`."""
    return hmac.compare_digest(response(challenge, password), answer)
