"""The home's own certificate authority: made once, and what it vouches for. Machines that trust it trust this engine's HTTPS.

Its key stays in the home. Certificates of servers are short-lived, and made anew rather than kept.
"""

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from freehold.domain.errors import Conflict
from freehold.store import keyring

LEAF_LIFE = timedelta(days=90)
_LIFE = timedelta(days=3650)
_BACKDATED = timedelta(hours=1)  # clocks of other machines may be behind
_LONGEST_COMMON_NAME = 64  # of X.520


@dataclass(frozen=True, slots=True)
class Leaf:
    """A server's key with its certificate, both PEM in one text."""

    pem: bytes
    expires_at: datetime


class Authority:
    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, path: Path) -> None:
        self._key = key
        self._certificate = certificate
        self.path = path  # of the certificate to trust

    def __repr__(self) -> str:
        return f"Authority({self.path})"

    @classmethod
    def open(cls, home: Path, now: datetime) -> Self:
        """Read it, making it if there is none. Raises PermissionDenied if others than the owner could read its key."""
        folder = keyring.folder_in(home)
        key = _read_key(keyring.key(folder / "ca.key", _new_key))
        path = folder / "ca.pem"
        if not path.exists():
            keyring.create(path, _self_signed(key, home, now).public_bytes(serialization.Encoding.PEM))
        return cls(key, _read_certificate(path, key), path)

    def vouch(self, names: Sequence[str], now: datetime) -> Leaf:
        """A new key and certificate for a server of these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        expires_at = min(now + LEAF_LIFE, self._certificate.not_valid_after_utc)
        certificate = (
            _builder(_name(names[0][:_LONGEST_COMMON_NAME]), self._certificate.subject, key.public_key(), now - _BACKDATED, expires_at)
            .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Leaf(_pem(key) + certificate.public_bytes(serialization.Encoding.PEM), expires_at)


def _self_signed(key: ec.EllipticCurvePrivateKey, home: Path, now: datetime) -> x509.Certificate:
    name = _name(f"Freehold of {home} on {os.uname().nodename}"[:_LONGEST_COMMON_NAME])
    return (
        _builder(name, name, key.public_key(), now - _BACKDATED, now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signs_certificates(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    return [_alternative(name) for name in names]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _new_key() -> bytes:
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = "The key of the certificate authority (keys/ca.key) is of another kind than this engine makes. Bring back the old one."
        raise Conflict(msg)
    return key


def _read_certificate(path: Path, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if certificate.public_key() != key.public_key():
        msg = f"{path} is not the certificate of the key beside it (ca.key). Delete it to have it made anew, and trust the new one."
        raise Conflict(msg)
    return certificate
