"""Routes that requests reach without FastAPI's layers between the router and the endpoint.

These layers (parameters, dependencies, exit stacks, serialization) cost more than all that a prediction does in its web container, and an
endpoint that takes the request and gives the response needs none of them. Middleware, exception handlers and the OpenAPI document stay
FastAPI's: the document shows the route of the same path that FastAPI has.
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from modalkit._web.problems import path_of

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectRoute(BaseRoute):
    """POST requests for one path; all others are left to the routes after it."""

    def __init__(self, path: str, endpoint: Endpoint) -> None:
        self.path = path
        self._endpoint = endpoint

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and scope["method"] == "POST" and path_of(scope) == self.path:
            return Match.FULL, {"route": self}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def install(app: FastAPI, router: APIRouter) -> None:
    """Puts direct ways to the endpoints of `router` before all else that the app's own router knows."""
    endpoints = {route.path: route.endpoint for route in router.routes if isinstance(route, APIRoute)}
    app.router.routes[:0] = [DirectRoute(path, endpoint) for path, endpoint in endpoints.items()]
