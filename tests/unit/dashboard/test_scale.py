"""Lists stay quick however much there is: every page of one is read from an index, in its order; with a million calls, in a fifth of a second."""

import sqlite3
import time
from types import SimpleNamespace

import pytest
from fakes.clock import FakeClock

from freehold.control.services.call_history import CallHistory
from freehold.control.services.call_records import CallRecords
from freehold.control.services.journal import Journal
from freehold.control.services.listings import PAGE, Listings
from freehold.domain.ids import AppId, FunctionId
from freehold.store.sql.store import SqlStore

APP, FUNCTION = AppId("ap-0000000000000000000000"), FunctionId("fu-0000000000000000000000")
START = 1_700_000_000_000_000  # microseconds since 1970
LONGEST = 0.2  # seconds

QUERIES = {
    "calls": ("select * from calls order by created_at desc, id desc limit 50", "ix_calls_created_at"),
    "calls of a function": (
        "select * from calls where function_id = 'f' order by created_at desc, id desc limit 50",
        "ix_calls_function_id_created_at",
    ),
    "failures": ("select id from inputs where status > 1 order by finished_at desc limit 1000", "ix_inputs_failed"),
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


def fill(path, *, calls, tasks):
    """Each call has one input and one try; one of a hundred failed."""
    with sqlite3.connect(path) as database:
        database.executemany(
            "insert into calls (id, function_id, app_id, kind, invocation, created_at, parent_input_id, is_cancelled)"
            " values (?, ?, ?, 'unary', 'async', ?, '', 0)",
            ((f"fc-{n:022}", FUNCTION, APP, START + n * 1000) for n in range(calls)),
        )
        database.executemany(
            "insert into inputs (id, call_id, idx, created_at, finished_at, payload, result, status) values (?, ?, 0, ?, ?, x'00', x'00', ?)",
            ((f"in-{n:022}", f"fc-{n:022}", START + n * 1000, START + n * 1000 + 500, 1 + (n % 100 == 0)) for n in range(calls)),
        )
        database.executemany(
            "insert into attempts (input_id, number, call_id, task_id, started_at, ended_at, outcome) values (?, 0, ?, 'ta', ?, ?, '')",
            ((f"in-{n:022}", f"fc-{n:022}", START + n * 1000, START + n * 1000 + 500) for n in range(calls)),
        )
        database.executemany(
            "insert into tasks (id, app_id, function_id, definition_id, state, enqueued_at) values (?, ?, ?, 'de', 'ended', ?)",
            ((f"ta-{n:022}", APP, FUNCTION, START + n * 1000) for n in range(tasks)),
        )
    database.close()


def listings(store):
    journal = Journal(store=store, clock=FakeClock())
    calls = SimpleNamespace(live=list, history=CallHistory())
    records = CallRecords(store=store, calls=calls, journal=journal)
    return Listings(store=store, calls=calls, records=records, journal=journal)


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


@pytest.mark.long(reason="it loads a million calls")
@pytest.mark.timeout(600)
async def test_a_million_calls_and_ten_thousand_containers_are_listed_in_a_moment(store, tmp_path):
    fill(tmp_path / "freehold.db", calls=1_000_000, tasks=10_000)
    lists = listings(store)
    middle = (await lists.calls(None)).after
    looks = {
        "calls": lambda: lists.calls(None),
        "older calls": lambda: lists.calls(middle),
        "calls of a function": lambda: lists.calls(middle, function_ids=[FUNCTION]),
        "containers": lambda: lists.tasks(None),
        "containers of a function": lambda: lists.tasks(None, app_id=APP, function_ids={FUNCTION}),
        "failures": lists.failures,
        "failures of an app": lambda: lists.failures(APP),
    }
    took = {}
    for name, look in looks.items():
        began = time.perf_counter()
        await look()
        took[name] = time.perf_counter() - began
    assert max(took.values()) < LONGEST, took
