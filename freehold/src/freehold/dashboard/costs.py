"""What pages say of cost: by which prices, or what to do where nothing has a price."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from freehold.control.services.cost import costed
from freehold.control.services.recent_costs import Bill
from freehold.dashboard.acting import is_whole
from freehold.dashboard.charts import chart
from freehold.dashboard.parts import Parts
from freehold.domain.cost import ANY, FILE, Prices, total_of
from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import AppId
from freehold.domain.usage import Usage

_UNSET = "Nothing has a price yet, so no cost is shown. Set prices in {file}: they count at once, and for all that was ever used (docs/howto/cost.md)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """`notice` says what to do where costs cannot be told; else it is empty."""

    file: str
    prices: Prices = field(default_factory=Prices)
    notice: str = ""

    @property
    def rates(self) -> Sequence[tuple[str, Decimal]]:
        """For a second of one."""
        gpus = [("a GPU of another type" if kind == ANY else f"a GPU, {kind}", price) for kind, price in self.prices.gpus.items()]
        return [("a core", self.prices.cpu_core), ("a GiB of memory", self.prices.memory_gib), *gpus]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppCosts:
    """By app, of those that used something; and of all together, also those that have stopped."""

    today: Mapping[AppId, Decimal]
    month: Mapping[AppId, Decimal]

    @property
    def all_today(self) -> Decimal:
        return sum(self.today.values(), Decimal(0))

    @property
    def all_month(self) -> Decimal:
        return sum(self.month.values(), Decimal(0))


class CostPages:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.routes = [Route("/costs/{subject}/series", self._series)]

    async def _series(self, request: Request) -> Response:
        """By day; as long as nothing has a price, CPU time."""
        pricing = await pricing_of(self._parts)
        days = (await self._parts.recent_costs.of(request.path_params["subject"], pricing.prices)).days
        title, name, values = (
            ("CPU by day, core-seconds", "core-seconds", [row["cpu_core_seconds"] for row in days])
            if pricing.notice
            else (f"Cost by day, {pricing.prices.currency}", "cost", [float(row["cost"]) for row in days])
        )
        return JSONResponse(
            {
                "at": [datetime.fromisoformat(row["name"]).replace(tzinfo=UTC).timestamp() for row in days],
                "by": "day",
                "charts": [chart(title, [(name, values)])],
            }
        )


async def pricing_of(parts: Parts) -> Pricing:
    file = str(parts.settings.root / FILE)
    try:
        prices = await parts.costs.prices()
    except InvalidRequest as error:
        return Pricing(file=file, notice=f"No cost is shown: {error}")
    return Pricing(file=file, prices=prices, notice="" if prices.are_set else _UNSET.format(file=file))


async def costs_of_apps(parts: Parts, pricing: Pricing) -> AppCosts | None:
    if pricing.notice:
        return None
    lately = await parts.recent_costs.by_app()
    return AppCosts(today=_costs(lately.today, pricing.prices), month=_costs(lately.month, pricing.prices))


async def bill_of(parts: Parts, request: Request, subject: str, pricing: Pricing) -> Bill | None:
    """Of an app or function. None for a page that is open, which keeps what it has."""
    return await parts.recent_costs.of(subject, pricing.prices) if is_whole(request) else None


async def use_of(parts: Parts, subject: str, pricing: Pricing) -> dict[str, object]:
    """Of a call or task."""
    return costed(subject, "", await parts.usage.of(subject), pricing.prices)


def _costs(used: Mapping[AppId, Usage], prices: Prices) -> Mapping[AppId, Decimal]:
    return {app_id: total_of(usage, prices) for app_id, usage in used.items()}
