"""`gossamer tls init DIR`: a small authority and the files of `tls-creds-x509`.

Needs the extra ``tls`` (the package cryptography).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gossamer.base.errors import ConfigError, HostError

DAYS: Final = 3650
_ORGANISATION: Final = "gossamer"


def make(folder: Path, names: Sequence[str] = ("localhost",), days: int = DAYS) -> list[Path]:
    """Write the authority, a receiver's certificate for `names`, and a sender's; the files.

    ConfigError when there is one already: certificates that are in use are not written over.
    """
    if not names:
        raise ConfigError("tls init: needs a name of the receiving host")
    if (folder / "ca-cert.pem").exists():
        raise ConfigError(f"{folder}: there is an authority already (ca-cert.pem)")
    ca_key, ca = _authority(days)
    made = [("ca", ca_key, ca)]
    for endpoint, common in (("server", names[0]), ("client", "sender")):
        key = ec.generate_private_key(ec.SECP256R1())
        made.append((endpoint, key, _leaf(ca, ca_key, key, endpoint, common, names, days)))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [path for name, key, cert in made for path in _write(folder, name, key, cert)]
    except OSError as fault:
        raise HostError(f"{folder}: cannot be written: {fault.strerror}") from None


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _begin(subject: x509.Name, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _authority(days: int) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("gossamer authority")
    built = (
        _begin(name, name, max(days, 1))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return key, built.sign(key, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs, crl_sign=signs,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _leaf(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    endpoint: str,
    common: str,
    names: Sequence[str],
    days: int,
) -> x509.Certificate:
    use = (
        ExtendedKeyUsageOID.SERVER_AUTH if endpoint == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
    )
    built = (
        _begin(_name(common), ca.subject, days)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if endpoint == "server":
        built = built.add_extension(
            x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
        )
    return built.sign(ca_key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(
    folder: Path, name: str, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate
) -> list[Path]:
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    texts = {
        f"{name}-key.pem": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
        f"{name}-cert.pem": cert.public_bytes(pem),
    }
    for file, text in texts.items():
        fd = os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(text)
    return [folder / file for file in texts]
