"""The engine's own secrets, as files in `FREEHOLD_HOME/keys`: made on first use, readable by their owner only, never shown."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography.fernet import Fernet, InvalidToken

from freehold.domain.errors import Conflict, PermissionDenied, Unauthenticated

_ALGORITHM = "HS256"
_SECRET_FILE = "token-secret"  # noqa: S105 — its name


class Keyring:
    """Seals secrets, signs short-lived claims, knows the credentials of clients."""

    def __init__(self, *, master_key: bytes, signing_key: bytes, token_id: str, token_secret: str, secret_file: Path) -> None:
        self._fernet = Fernet(master_key)
        self._fingerprint_key = hmac.digest(master_key, b"fingerprint", "sha256")
        self._signing_key = signing_key
        self.token_id = token_id
        self.token_secret = token_secret
        self._secret_file = secret_file

    def __repr__(self) -> str:
        return "Keyring(…)"

    @classmethod
    def open(cls, home: Path) -> Self:
        """Read the keys, making those that are not there. Raises PermissionDenied if others than the owner could read them."""
        folder = folder_in(home)
        return cls(
            master_key=key(folder / "master", Fernet.generate_key),
            signing_key=key(folder / "signing", lambda: _random("", 32)),
            token_id=key(folder / "token-id", lambda: _random("ak-", 11)).decode(),
            token_secret=key(folder / _SECRET_FILE, _new_token_secret).decode(),
            secret_file=folder / _SECRET_FILE,
        )

    def seal(self, data: bytes) -> bytes:
        return self._fernet.encrypt(data)

    def unseal(self, sealed: bytes) -> bytes:
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            msg = "A secret was sealed with another master key. Bring back the old keys/master, or create the secret anew."
            raise Conflict(msg) from error

    def fingerprint(self, data: bytes) -> bytes:
        """A digest that says nothing about the data to those without the key."""
        return hmac.digest(self._fingerprint_key, data, hashlib.sha256)

    def sign(self, claims: Mapping[str, Any], ttl: timedelta) -> str:
        return jwt.encode({**claims, "exp": datetime.now(UTC) + ttl}, self._signing_key, algorithm=_ALGORITHM)

    def verify(self, token: str) -> Mapping[str, Any]:
        """The claims, if we signed them and they have not expired."""
        try:
            claims: dict[str, Any] = jwt.decode(token, self._signing_key, algorithms=[_ALGORITHM], options={"require": ["exp"]})
        except jwt.InvalidTokenError as error:
            msg = "This link or token is not valid (any more). Ask for a new one."
            raise Unauthenticated(msg) from error
        return claims

    def accepts(self, token_id: str, token_secret: str) -> bool:
        """Whether these are the credentials of a client; takes the same time for any wrong answer."""
        same_id = hmac.compare_digest(token_id.encode(), self.token_id.encode())
        same_secret = hmac.compare_digest(token_secret.encode(), self.token_secret.encode())
        return same_id and same_secret

    @property
    def token_made_at(self) -> datetime:
        return datetime.fromtimestamp(self._secret_file.stat().st_mtime, UTC)

    def renew_token_secret(self) -> None:
        """Who knows only the old one is refused from now on. Programs of this home read the new one from its file."""
        secret = _new_token_secret()
        _replace(self._secret_file, secret)
        self.token_secret = secret.decode()


def folder_in(home: Path) -> Path:
    """Where a home keeps its keys; made if it is not there."""
    folder = home / "keys"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
    _check_private(folder, 0o700)
    return folder


def _random(prefix: str, length: int) -> bytes:
    return (prefix + secrets.token_hex(length)).encode()


def _new_token_secret() -> bytes:
    return _random("as-", 32)


def key(path: Path, make: Callable[[], bytes]) -> bytes:
    """What is in this file, made if there is none."""
    if not path.exists():
        create(path, make())
    _check_private(path, 0o600)
    return path.read_bytes()


def create(path: Path, content: bytes) -> None:
    """Whole or not at all; of two engines that start together, one wins and both use its key."""
    draft = _draft(path, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    _draft(path, content).replace(path)


def _draft(path: Path, content: bytes) -> Path:
    """The content on disk, beside the file that it is to become."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _check_private(path: Path, wanted: int) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        msg = f"{path} can be read by others (mode {mode:04o}). If that was a mistake: chmod {wanted:o} {path}"
        raise PermissionDenied(msg)
