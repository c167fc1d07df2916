"""Usage and its cost, as the client's billing commands ask for it. Costs travel as decimals in text."""

from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal

from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.cost import AppCost, Costs
from freehold.control.services.environments import Environments
from freehold.domain.cost import Prices
from freehold.domain.errors import NotFound

_ALL = "*"


class CostRpcs:
    def __init__(self, *, costs: Costs, environments: Environments) -> None:
        self._costs = costs
        self._environments = environments

    async def WorkspaceBillingRates(
        self, _request: api_pb2.WorkspaceBillingRatesRequest, _caller: Caller
    ) -> api_pb2.WorkspaceBillingRatesResponse:
        prices = await self._costs.prices()
        rates = {name: _text(price) for name, price in prices.table().items()}
        return api_pb2.WorkspaceBillingRatesResponse(rates=rates, formatted=_formatted(prices, rates))

    async def WorkspaceBillingReport(
        self, request: api_pb2.WorkspaceBillingReportRequest, _caller: Caller
    ) -> AsyncIterator[api_pb2.WorkspaceBillingReportItem]:
        environments = [await self._name_of(environment_id) for environment_id in request.environment_ids]
        rows = await self._costs.by_app(
            mapping.moment(request.start_timestamp),
            mapping.moment(request.end_timestamp),
            request.resolution or "d",
            environments=environments,
            app_ids=request.app_ids,
        )
        for row in rows:
            yield _item(row, request.tag_names)

    async def WorkspaceBillingSummary(
        self, request: api_pb2.WorkspaceBillingSummaryRequest, _caller: Caller
    ) -> api_pb2.WorkspaceBillingSummaryResponse:
        end, costs = await self._costs.of_month(mapping.moment(request.start_timestamp))
        total = _text(_sum(costs))
        response = api_pb2.WorkspaceBillingSummaryResponse(
            start_timestamp=request.start_timestamp, metered_cost=total, billed_cost=total, metered_cost_breakdown=_texts(costs)
        )
        response.end_timestamp.FromDatetime(end)
        return response

    async def EnvironmentBillingSummary(
        self, request: api_pb2.EnvironmentBillingSummaryRequest, _caller: Caller
    ) -> api_pb2.EnvironmentBillingSummaryResponse:
        end, costs = await self._costs.of_month(mapping.moment(request.start_timestamp), await self._name_of(request.environment_id))
        response = api_pb2.EnvironmentBillingSummaryResponse(
            start_timestamp=request.start_timestamp, metered_cost=_text(_sum(costs)), metered_cost_breakdown=_texts(costs)
        )
        response.end_timestamp.FromDatetime(end)
        return response

    async def _name_of(self, environment_id: str) -> str:
        for environment in await self._environments.list():
            if environment.id == environment_id:
                return environment.name
        msg = f"No environment has the id {environment_id!r}."
        raise NotFound(msg)


def _item(row: AppCost, tag_names: Sequence[str]) -> api_pb2.WorkspaceBillingReportItem:
    wanted = row.app.tags if _ALL in tag_names else {name: row.app.tags[name] for name in tag_names if name in row.app.tags}
    item = api_pb2.WorkspaceBillingReportItem(
        object_id=row.app.id,
        description=row.app.name or row.app.description,
        environment_name=row.app.environment,
        cost=_text(_sum(row.costs)),
        cost_by_resource=_texts(row.costs),
        tags=dict(wanted),
    )
    item.interval.FromDatetime(row.begins_at)
    return item


def _formatted(prices: Prices, rates: Mapping[str, str]) -> str:
    """As `modal billing rates` prints it."""
    width = max(map(len, rates))
    lines = [f"{name:<{width}}  {price} {prices.currency}" for name, price in rates.items()]
    return "\n".join([*lines, "", "Prices are those of prices.toml in the home of the engine."])


def _sum(costs: Mapping[str, Decimal]) -> Decimal:
    return sum(costs.values(), Decimal(0))


def _texts(costs: Mapping[str, Decimal]) -> dict[str, str]:
    return {resource: _text(cost) for resource, cost in costs.items()}


def _text(number: Decimal) -> str:
    """Without an exponent, and without zeros at its end."""
    return f"{number.normalize():f}"
