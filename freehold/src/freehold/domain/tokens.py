"""Tokens of clients besides the home's own. The engine keeps a hash of each secret, never the secret."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import TokenId
from freehold.domain.proxy_tokens import is_secret

PAGE_PATH = "/_freehold/tokens/{flow_id}"  # of the page on which the owner confirms that a client gets one
_LONGEST_NAME = 100
_LONGEST_LIFE = timedelta(days=3650)
_CODE_LENGTH = 8
# Letters and digits that are not taken for each other, a power of two of them: 40 bits in a code.
CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The secret has 131 random bits, so a plain SHA-256 (hex) of it cannot be guessed backwards. `last_used_at` is exact to a minute."""

    id: TokenId
    secret_hash: str
    created_at: datetime
    name: str = ""
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    is_disabled: bool = False

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def accepts(token: Token | None, secret: str, now: datetime) -> bool:
    """Takes the same time for any wrong answer."""
    is_right = is_secret(secret, token.secret_hash if token else None)
    return token is not None and is_right and not token.is_disabled and not token.has_expired(now)


def checked_name(name: str) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        msg = f"The name of a token is one line of at most {_LONGEST_NAME} characters."
        raise InvalidRequest(msg)
    return name.strip()


def expiry(seconds: int, now: datetime) -> datetime | None:
    """When a token ends that is to live for so long; 0: never."""
    if seconds < 0 or timedelta(seconds=seconds) > _LONGEST_LIFE:
        msg = f"A token lives for up to {_LONGEST_LIFE.days} days, or without an end."
        raise InvalidRequest(msg)
    return now + timedelta(seconds=seconds) if seconds else None


def code_of(random: bytes) -> str:
    """A code that a person reads in one place and types in another, as in `ABCD-2345`; of the bytes, one for each letter."""
    text = "".join(CODE_ALPHABET[byte % len(CODE_ALPHABET)] for byte in random[:_CODE_LENGTH])
    return f"{text[:4]}-{text[4:]}"


def as_typed(code: str) -> str:
    """A code however it was typed: small letters, with or without its dash."""
    letters = "".join(letter for letter in code.upper() if letter in CODE_ALPHABET)
    return f"{letters[:4]}-{letters[4:]}"
