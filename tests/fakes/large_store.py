"""What a busy year leaves in a store, written to its file at once."""

import sqlite3
import time
from pathlib import Path

from modal_proto import api_pb2

from freehold.domain.ids import AppId, CallId, FunctionId

APP, FUNCTION = AppId("ap-0000000000000000000000"), FunctionId("fu-0000000000000000000000")
MAP = CallId("fc-map0000000000000000000")
PAYLOAD = api_pb2.FunctionInput(args=bytes(500)).SerializeToString()
START = int(time.time() - 86_400) * 1_000_000  # microseconds since 1970: what is much older is forgotten


def fill(path: Path, *, calls: int, tasks: int) -> None:
    """Each call has one input and one try; one of a hundred failed."""
    with sqlite3.connect(path) as database:
        database.executemany(
            "insert into calls (id, function_id, app_id, kind, invocation, created_at, parent_input_id, is_cancelled)"
            " values (?, ?, ?, 'unary', 'async', ?, '', 0)",
            ((f"fc-{n:022}", FUNCTION, APP, START + n * 1000) for n in range(calls)),
        )
        database.executemany(
            "insert into inputs (id, call_id, idx, created_at, finished_at, payload, result, status) values (?, ?, 0, ?, ?, x'', x'', ?)",
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


def fill_map(path: Path, *, inputs: int, unfinished: int = 20) -> None:
    """One call, the last that was made: one input of a hundred failed, the last ones have no result yet."""
    with sqlite3.connect(path) as database:
        made = START + 10**10
        database.execute(
            "insert into calls (id, function_id, app_id, kind, invocation, created_at, parent_input_id, is_cancelled)"
            " values (?, ?, ?, 'map', 'async', ?, '', 0)",
            (MAP, FUNCTION, APP, made),
        )
        database.executemany(
            "insert into inputs (id, call_id, idx, created_at, finished_at, payload, result, status) values (?, ?, ?, ?, ?, ?, x'', ?)",
            (
                (
                    f"in-map{n:019}",
                    MAP,
                    n,
                    made,
                    *((made + n, PAYLOAD, 1 + (n % 100 == 0)) if n < inputs - unfinished else (None, b"", None)),
                )
                for n in range(inputs)
            ),
        )
        database.executemany(
            "insert into attempts (input_id, number, call_id, task_id, started_at, ended_at, outcome) values (?, 0, ?, 'ta', ?, ?, '')",
            ((f"in-map{n:019}", MAP, made, made + n) for n in range(inputs - unfinished)),
        )
    database.close()
