"""How often a caller may ask: a token bucket each, kept as one number (the time at which the bucket would be full again)."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from modalkit.settings import RateLimit

MOST_CALLERS = 10_000  # whose buckets are kept; past it the one that asked longest ago is forgotten, and begins with a full bucket


class Rates:
    """The buckets of one process. `own` are limits of single callers in place of `limit`."""

    def __init__(
        self,
        limit: RateLimit | None,
        own: Mapping[str, RateLimit] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST_CALLERS,
    ) -> None:
        self._limit = limit
        self._own = dict(own or {})
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str) -> float:
        """0 if this request may pass, else the seconds until one may."""
        limit = self._own.get(caller, self._limit)
        if limit is None:
            return 0.0
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now) + limit.per_seconds / limit.requests
        if (too_early := full_at - now - limit.per_seconds) > _ROUNDING:
            return too_early
        self._full_at[caller] = full_at
        self._full_at.move_to_end(caller)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return 0.0

    def __len__(self) -> int:
        return len(self._full_at)


_ROUNDING = 1e-6  # seconds; sums of fractions


def network_of(address: str) -> str:
    """What counts as one caller: an IPv4 address, and the /64 of an IPv6 address, since whoever has one of these has them all."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:  # no address, but what a server names its own socket
        return address
