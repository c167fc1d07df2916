"""For a proxy in front that gets certificates on demand: which host names exist here. Nobody else's names get one."""

from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ASK_PATH = "/_freehold/domains"


class Hosts(Protocol):
    def answers_at(self, host: str) -> bool:
        """Whether a function answers at this host name."""
        ...


class AskRoutes:
    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.routes = [Route(ASK_PATH, self._ask, methods=["GET"])]

    async def _ask(self, request: Request) -> Response:
        domain: str = request.query_params.get("domain", "")
        is_known = self._hosts.answers_at(domain)
        return JSONResponse({"domain": domain, "exists": is_known}, 200 if is_known else 404)
