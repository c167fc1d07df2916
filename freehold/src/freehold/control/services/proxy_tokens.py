"""Proxy tokens: made, scoped and revoked by their owner; asked for by the gateway with each request, so all of them are in memory."""

import asyncio
from collections.abc import Callable, Sequence

from freehold.control.services.environments import Environments
from freehold.domain import proxy_tokens as rules
from freehold.domain.clock import Clock
from freehold.domain.errors import NotFound
from freehold.domain.ids import EnvironmentId, ProxyTokenId, new_proxy_token_id, new_proxy_token_secret
from freehold.domain.proxy_tokens import ProxyToken
from freehold.store.ports import Store


class ProxyTokens:
    """A change counts as soon as it is on disk."""

    def __init__(self, *, store: Store, environments: Environments, clock: Clock) -> None:
        self._store = store
        self._environments = environments
        self._clock = clock
        self._tokens: dict[str, ProxyToken] = {}
        self._changing = asyncio.Lock()  # memory follows the disk in the same order

    async def restore(self) -> None:
        async with self._store.transaction() as tx:
            self._tokens = {token.id: token for token in await tx.proxy_tokens.list()}

    def accepts(self, key: str, secret: str, environment_id: EnvironmentId | None = None) -> bool:
        """Whether this is a token and its secret, and opens that environment (None: any). Touches no disk."""
        return rules.accepts(self._tokens.get(key), secret, environment_id)

    async def create(self, name: str, *, is_scoped: bool = False) -> tuple[ProxyToken, str]:
        """The token and its secret, which nobody is told again."""
        secret = new_proxy_token_secret()
        token = ProxyToken(
            id=new_proxy_token_id(),
            secret_hash=rules.hash_of(secret),
            created_at=self._clock.now(),
            name=rules.checked_name(name),
            is_scoped=is_scoped,
        )
        async with self._changing:
            async with self._store.transaction() as tx:
                await tx.proxy_tokens.put(token)
            self._tokens[token.id] = token
        return token, secret

    async def rename(self, token_id: ProxyTokenId, name: str) -> ProxyToken:
        return await self._change(token_id, lambda token: rules.renamed(token, name))

    async def allow(self, token_id: ProxyTokenId, environment_id: EnvironmentId) -> ProxyToken:
        await self._check_environment(environment_id)
        return await self._change(token_id, lambda token: rules.allow(token, environment_id))

    async def revoke(self, token_id: ProxyTokenId, environment_id: EnvironmentId) -> ProxyToken:
        return await self._change(token_id, lambda token: rules.revoke(token, environment_id))

    async def delete(self, token_id: ProxyTokenId) -> None:
        async with self._changing:
            async with self._store.transaction() as tx:
                await tx.proxy_tokens.get(token_id)
                await tx.proxy_tokens.delete(token_id)
            self._tokens.pop(token_id, None)

    async def get(self, token_id: ProxyTokenId) -> ProxyToken:
        async with self._store.transaction() as tx:
            return await tx.proxy_tokens.get(token_id)

    async def list(self) -> Sequence[ProxyToken]:
        """Newest first."""
        async with self._store.transaction() as tx:
            return await tx.proxy_tokens.list()

    async def list_for(self, environment_name: str) -> Sequence[ProxyToken]:
        """Those that open the environment."""
        environment = await self._environments.get(environment_name)
        return [token for token in await self.list() if token.opens(environment.id)]

    async def _change(self, token_id: ProxyTokenId, change: Callable[[ProxyToken], ProxyToken]) -> ProxyToken:
        async with self._changing:
            async with self._store.transaction() as tx:
                token = change(await tx.proxy_tokens.get(token_id))
                await tx.proxy_tokens.put(token)
            self._tokens[token_id] = token
        return token

    async def _check_environment(self, environment_id: EnvironmentId) -> None:
        if environment_id not in {environment.id for environment in await self._environments.list()}:
            msg = f"No environment with the id {environment_id[:80]!r}. List them with: modal environment list"
            raise NotFound(msg)
