"""Web requests all go to containers as inputs of calls."""

from typing import Never

from freehold.control.services.web_routes import WebRoutes
from freehold.domain.functions import WebRoute, WebTarget


class StockLanes:
    """Implements `gateway.ports.Lanes` without any lane."""

    def __init__(self, routes: WebRoutes) -> None:
        self._routes = routes

    def route(self, label: str) -> WebRoute:
        return self._routes.route(label)

    def route_of_host(self, host: str) -> WebRoute | None:
        return self._routes.route_of_host(host)

    def take(self, target: WebTarget, session: str = "") -> None:
        del target, session

    async def wait(self, target: WebTarget, patience: float, session: str = "") -> None:
        del target, patience, session

    def release(self, lane: Never) -> None:
        raise NotImplementedError

    def lost(self, lane: Never) -> None:
        raise NotImplementedError

    def timed_out(self, lane: Never) -> None:
        raise NotImplementedError
