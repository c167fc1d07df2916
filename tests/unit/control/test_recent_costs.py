"""What pages tell of cost: today, this month and by day, the same as `freehold cost` has, however rarely the disk is asked."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from freehold.control.services.recent_costs import DAYS, MonthSoFar, RecentCosts
from freehold.domain.cost import Prices
from freehold.domain.ids import AppId
from freehold.domain.usage import FunctionUsage, Usage, summed

PRICES = Prices(cpu_core=Decimal(2))
APP = AppId("ap-" + "a" * 22)
OTHER = AppId("ap-" + "b" * 22)
NOW = datetime(2026, 3, 31, 10, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Book:
    """A UsageBook that counts how many hours it was asked for."""

    def __init__(self):
        self.written = []
        self.asked = []

    def add(self, at, cpu=1.0, app_id=APP):
        begins_at = at.replace(minute=0, second=0, microsecond=0)
        self.written.append(FunctionUsage(begins_at=begins_at, app_id=app_id, function_id="fu-1", usage=Usage(cpu_core_seconds=cpu)))

    async def rows(self, since, until=None):
        found = [row for row in self.written if since <= row.begins_at and (until is None or row.begins_at < until)]
        self.asked.append(len(found))
        return found


class TestMonthSoFar:
    async def test_hours_that_are_over_are_read_once(self):
        book = Book()
        month = MonthSoFar(book)
        for hours in range(200):
            book.add(NOW - hours * HOUR)
        await month.by_app(NOW)
        book.asked.clear()

        assert (await month.by_app(NOW))[APP].cpu_core_seconds == 200
        assert max(book.asked) <= 2

    async def test_it_goes_on_with_the_hours(self):
        book = Book()
        month = MonthSoFar(book)
        for hours in range(8):
            now = NOW - 7 * HOUR + hours * HOUR
            book.add(now)
            book.add(now, cpu=2.0, app_id=OTHER)
            found = await month.by_app(now)

        assert {app_id: usage.cpu_core_seconds for app_id, usage in found.items()} == {APP: 8.0, OTHER: 16.0}

    async def test_what_is_reported_after_the_hour_counts_too(self):
        book = Book()
        month = MonthSoFar(book)
        just_after = NOW.replace(hour=11, minute=0, second=1)
        await month.by_app(just_after)
        book.add(just_after - timedelta(seconds=2))

        assert (await month.by_app(just_after))[APP].cpu_core_seconds == 1.0

    async def test_a_new_month_begins_with_nothing(self):
        book = Book()
        month = MonthSoFar(book)
        book.add(NOW)
        await month.by_app(NOW)
        april = datetime(2026, 4, 1, 0, 10, tzinfo=UTC)
        assert await month.by_app(april) == {}
        book.add(april)

        assert (await month.by_app(april))[APP].cpu_core_seconds == 1.0


class TestPages:
    @pytest.fixture
    async def shop(self, plane):
        """An app whose function used a core for a second an hour ago, and each day before, for forty days."""
        app, live = await plane.deploy("f")
        plane.clock.move((NOW - plane.clock.now()).total_seconds())
        rows = [
            FunctionUsage(
                begins_at=(NOW - days * DAY).replace(hour=9, minute=0),
                app_id=app.id,
                function_id=live.id,
                usage=Usage(cpu_core_seconds=1.0),
            )
            for days in range(40)
        ]
        async with plane.store.transaction() as tx:
            await tx.usages.add(rows, {}, NOW)
        return app, live

    @pytest.fixture
    def recent(self, plane):
        return RecentCosts(usage=plane.usage, costs=plane.costs, clock=plane.clock)

    async def test_a_bill_has_today_the_month_and_each_day_also_those_without_use(self, recent, shop, plane):
        app, live = shop
        plane.clock.move(DAY.total_seconds())  # the first of a month, on which nothing was used yet
        for subject in (app.id, live.id):
            bill = await recent.of(subject, PRICES)

            assert [row["cost"] for row in (bill.today, bill.month, bill.total)] == ["0.000000000", "0.000000000", "60.000000000"]
            assert (len(bill.days), bill.days[0]["name"], bill.days[-1]["name"]) == (DAYS, "2026-03-02", "2026-04-01")
            assert [(row["id"], row["cost"]) for row in bill.functions] == [(live.id, "60.000000000")]

    async def test_all_of_the_longest_month_is_in_it(self, recent, shop):
        app, _ = shop
        bill = await recent.of(app.id, PRICES)
        assert [row["cpu_core_seconds"] for row in (bill.today, bill.month, bill.total)] == [1.0, 31.0, 31.0]

    async def test_a_list_tells_the_same_and_asks_the_disk_at_most_every_few_seconds(self, recent, shop, plane, monkeypatch):
        app, _ = shop
        first = await recent.by_app()
        assert (first.today[app.id].cpu_core_seconds, first.month[app.id].cpu_core_seconds) == (1.0, 31.0)
        assert await recent.by_app() is first
        plane.clock.move(6)
        assert await recent.by_app() is not first

    async def test_days_and_apps_come_to_the_same(self, recent, shop, plane):
        app, _ = shop
        bill = await recent.of(app.id, PRICES)
        rows = await plane.usage.rows(NOW - timedelta(days=30, hours=10, minutes=30), app_id=app.id)
        assert summed(rows).cpu_core_seconds == sum(row["cpu_core_seconds"] for row in bill.days) == bill.total["cpu_core_seconds"]
