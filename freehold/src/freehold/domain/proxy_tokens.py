"""Proxy tokens: what callers of web functions with `requires_proxy_auth=True` show. The engine keeps a hash of each secret, never the secret.

A token opens every environment until it is allowed in some: then it is scoped, and opens only those.
"""

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime

from freehold.domain.errors import Conflict, InvalidRequest
from freehold.domain.ids import EnvironmentId, ProxyTokenId

_LONGEST_NAME = 100
_NOBODYS_HASH = hashlib.sha256(b"").hexdigest()  # compared with for an unknown id, so that this takes as long as a wrong secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyToken:
    """The secret is 131 random bits, so a plain SHA-256 (hex) of it cannot be guessed backwards."""

    id: ProxyTokenId
    secret_hash: str
    created_at: datetime
    name: str = ""
    is_scoped: bool = False
    environment_ids: tuple[EnvironmentId, ...] = ()

    def opens(self, environment_id: EnvironmentId) -> bool:
        return not self.is_scoped or environment_id in self.environment_ids


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret(secret: str, secret_hash: str | None) -> bool:
    """Whether it has this hash; None is that of an unknown id. Takes the same time for any wrong answer."""
    return hmac.compare_digest(hash_of(secret), secret_hash or _NOBODYS_HASH)


def accepts(token: ProxyToken | None, secret: str, environment_id: EnvironmentId | None) -> bool:
    """Takes the same time for any wrong answer. None for the environment: any will do."""
    is_right = is_secret(secret, token.secret_hash if token else None)
    return token is not None and is_right and (environment_id is None or token.opens(environment_id))


def renamed(token: ProxyToken, name: str) -> ProxyToken:
    return replace(token, name=checked_name(name))


def allow(token: ProxyToken, environment_id: EnvironmentId) -> ProxyToken:
    others = tuple(each for each in token.environment_ids if each != environment_id)
    return replace(token, is_scoped=True, environment_ids=(*others, environment_id))


def revoke(token: ProxyToken, environment_id: EnvironmentId) -> ProxyToken:
    if not token.is_scoped:
        msg = (
            f"Proxy token {token.id} opens every environment. Allow it in those that it should open, and it opens no others: "
            f"modal workspace proxy-tokens allow {token.id} <environment>"
        )
        raise Conflict(msg)
    return replace(token, environment_ids=tuple(each for each in token.environment_ids if each != environment_id))


def checked_name(name: str) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        msg = f"The name of a proxy token is one line of at most {_LONGEST_NAME} characters."
        raise InvalidRequest(msg)
    return name
