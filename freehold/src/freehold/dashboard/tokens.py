"""Tokens of clients: who may use the engine, and the way in for a client that shows a code."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.dashboard.access import STORY
from freehold.dashboard.acting import actor, field, go
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.ids import TokenId

_EVENTS = 30


class TokenPages:
    """Whoever sees these pages has proved to be the owner, so the code that the client shows is enough."""

    def __init__(self, parts: Parts, views: Views) -> None:
        self._tokens = parts.tokens
        self._proxy_tokens = parts.proxy_tokens
        self._flows = parts.token_flows
        self._journal = parts.journal
        self._stories = parts.stories
        self._views = views
        self.routes = [
            Route("/tokens", self._list),
            Route("/tokens/confirm", self._confirm, methods=["POST"]),
            Route("/tokens/{token_id}/revoke", self._revoke, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        proxy_tokens, waiting = await self._proxy_tokens.list(), len(self._flows.waiting())
        events = await self._stories.events(STORY, _EVENTS)
        return self._views.page(request, "tokens", tokens=self._tokens.list(), proxy_tokens=proxy_tokens, waiting=waiting, events=events)

    async def _confirm(self, request: Request) -> Response:
        self._flows.confirm_as_owner(field(request, "code"), field(request, "name"))
        self._journal.event(STORY, "token_given", cause=actor(request), fields={"name": field(request, "name")})
        return go("/tokens")

    async def _revoke(self, request: Request) -> Response:
        revoked = await self._tokens.revoke(TokenId(request.path_params["token_id"]))
        self._journal.event(STORY, "token_revoked", cause=actor(request), fields={"token_id": revoked.id, "name": revoked.name})
        return go("/tokens")
