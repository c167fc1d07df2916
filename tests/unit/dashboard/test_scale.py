"""Lists stay quick however much there is: every page of one is read from an index, in its order; with a million calls, in a fifth of a second."""

import sqlite3
from types import SimpleNamespace

import pytest
from fakes.clock import FakeClock
from fakes.large_store import MAP, fill, fill_map

from freehold.control.services.call_history import CallHistory
from freehold.control.services.call_records import CallRecords
from freehold.control.services.journal import Journal
from freehold.control.services.listings import PAGE, Listings
from freehold.store.sql.store import SqlStore

LONGEST = 0.2  # seconds

QUERIES = {
    "calls": ("select * from calls order by created_at desc, id desc limit 50", "ix_calls_created_at"),
    "calls of a function": (
        "select * from calls where function_id = 'f' order by created_at desc, id desc limit 50",
        "ix_calls_function_id_created_at",
    ),
    "failures": ("select id from inputs where status > 1 order by finished_at desc limit 1000", "ix_inputs_failed"),
    "what failed of a call": (
        "select idx, status from inputs where call_id = 'c' and +inputs.idx >= 200 and status > 1 order by idx limit 200",
        "ix_inputs_failed_of_call",
    ),
    "what of a call has no result": (
        "select idx from inputs where call_id = 'c' and +inputs.idx >= 200 and finished_at is null order by inputs.rowid limit 200",
        "ix_inputs_unfinished",
    ),
    "how many of calls failed": (
        "select call_id, status, count(*) from inputs where call_id in ('c', 'd') and status > 1 group by call_id, status",
        "COVERING INDEX ix_inputs_failed_of_call",
    ),
    "how many of calls ended, and when": (
        "select call_id, count(*), max(finished_at) from inputs where call_id in ('c', 'd') and finished_at is not null group by call_id",
        "COVERING INDEX ix_inputs_finished",
    ),
    "how many of calls have no result": (
        "select call_id, count(*) from inputs where call_id in ('c', 'd') and finished_at is null group by call_id",
        "ix_inputs_unfinished",
    ),
    "containers": ("select * from tasks order by enqueued_at desc, id desc limit 50", "ix_tasks_enqueued_at"),
    "containers of an app": (
        "select * from tasks where app_id = 'a' order by enqueued_at desc, id desc limit 50",
        "ix_tasks_app_id_enqueued_at",
    ),
    "what an app used": (
        "select hour, resource, sum(amount) from usage_hours where hour >= 1 and hour < 2 and app_id = 'a' group by hour, resource",
        "ix_usage_hours_app_id_hour",
    ),
    "what a function used": (
        "select hour, resource, sum(amount) from usage_hours where hour >= 1 and hour < 2 and function_id in ('f', 'g') group by hour, resource",
        "ix_usage_hours_function_id_hour",
    ),
}


@pytest.fixture
async def store(tmp_path):
    store = SqlStore(tmp_path / "freehold.db")
    await store.open()
    yield store
    await store.close()


def records(store):
    calls = SimpleNamespace(live=list, find_live=lambda _: None, find_input=lambda _: None, history=CallHistory())
    return CallRecords(store=store, calls=calls, journal=Journal(store=store, clock=FakeClock()))


def listings(store):
    journal = Journal(store=store, clock=FakeClock())
    return Listings(store=store, records=records(store), journal=journal)


@pytest.mark.parametrize("name", QUERIES)
async def test_a_page_of_a_list_is_read_from_an_index(store, tmp_path, name):
    query, index = QUERIES[name]
    with sqlite3.connect(tmp_path / "freehold.db") as database:
        plan = " | ".join(row[3] for row in database.execute(f"explain query plan {query}"))
    database.close()
    assert index in plan
    assert "FOR ORDER BY" not in plan.replace("LAST TERM OF ORDER BY", "")


async def test_all_pages_together_are_the_whole_list(store, tmp_path):
    fill(tmp_path / "freehold.db", calls=3 * PAGE, tasks=PAGE + 7)
    found, before = [], None
    while True:
        page = await listings(store).calls(before)
        found += [call.record.id for call in page.items]
        if (before := page.after) is None:
            break
    assert found == [f"fc-{n:022}" for n in reversed(range(3 * PAGE))]
    first = await listings(store).tasks(None)
    assert len((await listings(store).tasks(first.after)).items) == 7


async def test_of_a_call_with_many_inputs_few_are_read(store, tmp_path):
    fill(tmp_path / "freehold.db", calls=1, tasks=0)
    fill_map(tmp_path / "freehold.db", inputs=20_000)
    call = await records(store).get(MAP)
    assert (call.tally.total, call.tally.unfinished, call.tally.by_status) == (20_000, 20, {1: 19_780, 2: 200})
    assert len(call.inputs) < 700
    assert [item.idx for item in call.inputs][:200] == list(range(200))
    assert {item.idx for item in call.inputs} >= {*range(0, 19_000, 100), *range(19_980, 20_000)}
    assert len((await listings(store).calls(None)).items[0].inputs) == 0
    last = await records(store).call_of(f"in-map{15_555:019}")
    assert last.inputs[-1].idx == 15_555
