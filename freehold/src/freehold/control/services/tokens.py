"""Clients' tokens: the home's own, which `freehold` uses, and those made for other people and machines. Asked for with each request, so all
of them are in memory.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from freehold.control.caller import Caller
from freehold.domain import tokens as rules
from freehold.domain.clock import Clock
from freehold.domain.errors import Conflict, PermissionDenied, Unauthenticated
from freehold.domain.ids import TokenId, new_token_id, new_token_secret
from freehold.domain.proxy_tokens import hash_of
from freehold.domain.tokens import Token
from freehold.store import missing
from freehold.store.keyring import Keyring
from freehold.store.ports import Store

log = structlog.get_logger()

HOME_NAME = "the home's own"
_AUTH = "auth"
_PROOF_LIFE = timedelta(hours=1)  # clients renew theirs at half its life


class Tokens:
    """A change counts as soon as it is on disk: who is revoked is refused at the next request."""

    def __init__(self, *, store: Store, keyring: Keyring, clock: Clock) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._tokens: dict[str, Token] = {}
        self._used: dict[str, datetime] = {}  # since the last `flush`
        self._home_used_at: datetime | None = None
        self._changing = asyncio.Lock()  # memory follows the disk in the same order

    async def restore(self) -> None:
        async with self._store.transaction() as tx:
            self._tokens = {token.id: token for token in await tx.tokens.list()}

    # Who comes in. Touches no disk.

    def accepts(self, token_id: str, token_secret: str) -> bool:
        """Whether these are the credentials of a client."""
        now = self._clock.now()
        if self._keyring.accepts(token_id, token_secret):
            self._home_used_at = now
            return True
        if not rules.accepts(self._tokens.get(token_id), token_secret, now):
            return False
        self._used[token_id] = now
        return True

    def accepts_pair(self, pair: str) -> bool:
        """The same for both in one text, `<id>:<secret>` or `<id>.<secret>`."""
        token_id, separator, secret = pair.partition(":" if ":" in pair else ".")
        return bool(separator) and self.accepts(token_id, secret)

    def admits(self, bearer: str) -> bool:
        """Whether a bearer token is a client's own, or a proof of one (`proof_of`)."""
        if self.accepts_pair(bearer):
            return True
        try:
            claims = self._keyring.verify(bearer)
        except Unauthenticated:
            return False
        return claims.get("op") == _AUTH and self.still_counts(claims.get("token", ""))

    def proof_of(self, caller: Caller) -> str:
        """A short-lived proof of having a token, for the services beside the control plane. It ends with that token."""
        return self._keyring.sign({"op": _AUTH, "token": self.key_of(caller.token_id)}, _PROOF_LIFE)

    def key_of(self, token_id: str) -> str:
        """What a proof says of its token. The home's keeps its id when it is revoked, and so names a hash of its secret too."""
        is_home = token_id in ("", self._keyring.token_id)
        return f"{self._keyring.token_id} {hash_of(self._keyring.token_secret)[:16]}" if is_home else token_id

    def still_counts(self, key: str) -> bool:
        """Whether the token that is named so would be accepted."""
        token = self._tokens.get(key)
        if token is None:
            return key == self.key_of("")
        return not token.is_disabled and not token.has_expired(self._clock.now())

    # What there is.

    def of(self, caller: Caller) -> Token:
        """The one by which the caller is known; for a container, the home's."""
        return self._tokens.get(caller.token_id) or self.home()

    def home(self) -> Token:
        return Token(
            id=TokenId(self._keyring.token_id),
            secret_hash="",
            created_at=self._keyring.token_made_at,
            name=HOME_NAME,
            last_used_at=self._home_used_at,
        )

    def list(self) -> Sequence[Token]:
        """The home's own first, then the newest."""
        newest_first = sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id), reverse=True)
        return [self.home(), *(replace(token, last_used_at=self._used.get(token.id, token.last_used_at)) for token in newest_first)]

    # Changes.

    async def create(self, name: str = "", lifetime: int = 0) -> tuple[Token, str]:
        """The token and its secret, which nobody is told again. `lifetime` in seconds; 0: for ever."""
        secret, now = new_token_secret(), self._clock.now()
        expires_at = rules.expiry(lifetime, now)
        token = Token(id=new_token_id(), secret_hash=hash_of(secret), created_at=now, name=rules.checked_name(name), expires_at=expires_at)
        async with self._changing:
            await self._put([token])
        log.info("token_made", token_id=token.id, name=token.name)
        return token, secret

    async def revoke(self, token_id: TokenId) -> Token:
        """The home's own stays, with a new secret in the home: `freehold` needs it. What knew the old one is refused."""
        if token_id == self._keyring.token_id:
            self._keyring.renew_token_secret()
            log.info("token_renewed", token_id=token_id)
            return self.home()
        async with self._changing:
            token = self._required(token_id)
            async with self._store.transaction() as tx:
                await tx.tokens.delete(token_id)
            self._forget(token_id)
        log.info("token_revoked", token_id=token_id, name=token.name)
        return token

    async def enable(self, token_ids: Sequence[TokenId], *, is_enabled: bool) -> None:
        if self._keyring.token_id in token_ids and not is_enabled:
            msg = (
                f"`freehold` itself uses the token {self._keyring.token_id}, so it stays. Revoke it, and it gets a new secret in the home."
            )
            raise Conflict(msg)
        others = [token_id for token_id in token_ids if token_id != self._keyring.token_id]
        async with self._changing:
            await self._put([replace(self._required(token_id), is_disabled=not is_enabled) for token_id in others])

    async def step(self) -> None:
        """Keep when each was used, and forget those that have expired."""
        async with self._changing:
            used, self._used = self._used, {}
            await self._put([replace(self._tokens[token_id], last_used_at=at) for token_id, at in used.items() if token_id in self._tokens])
        now = self._clock.now()
        for token in [token for token in self._tokens.values() if token.has_expired(now)]:
            await self.revoke(token.id)

    async def _put(self, changed: Sequence[Token]) -> None:
        """All of them, or none."""
        if not changed:
            return
        async with self._store.transaction() as tx:
            for token in changed:
                await tx.tokens.put(token)
        self._tokens |= {token.id: token for token in changed}

    def _required(self, token_id: TokenId) -> Token:
        if token := self._tokens.get(token_id):
            return token
        raise missing.token(token_id)

    def _forget(self, token_id: TokenId) -> None:
        self._tokens.pop(token_id, None)
        self._used.pop(token_id, None)


def check_client(caller: Caller) -> None:
    """Tokens are not for containers to make or to take away."""
    if caller.is_task:
        msg = "Containers may not manage the tokens of this engine."
        raise PermissionDenied(msg)
