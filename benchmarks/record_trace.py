"""Records traces/waves.json on a real engine: when inputs came, how long they waited and ran, how long containers took to start.

`make simulate` replays it, so that what the simulation says can be held against what the engine did.
"""

import json
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modal
from engine import HOME, running_engine

TRACE = Path(__file__).parent / "traces" / "waves.json"
_SECONDS = 60
_MICRO = 1_000_000

_INPUTS = """
    SELECT functions.tag, inputs.created_at, attempts.started_at, inputs.finished_at
    FROM inputs JOIN calls ON calls.id = inputs.call_id JOIN functions ON functions.id = calls.function_id
    JOIN attempts ON attempts.input_id = inputs.id
    WHERE calls.app_id = ? AND inputs.finished_at IS NOT NULL AND inputs.created_at >= ? ORDER BY inputs.created_at
"""
_STARTS = "SELECT enqueued_at, ready_at FROM tasks WHERE app_id = ? AND ready_at IS NOT NULL AND enqueued_at >= ? ORDER BY enqueued_at"


def main() -> None:
    with running_engine() as engine:
        engine.deploy("waves.py")
        modal.Function.from_name("bench-waves", "quick").remote(0)  # what is made once for all containers is there
        engine.settle()
        began = time.time()
        calls = list(_waves(random.Random(1)))  # noqa: S311 — the same waves each time
        for call in calls:
            call.get(timeout=120)
        engine.settle()
        trace = _read(HOME / "freehold.db", str(modal.App.lookup("bench-waves").app_id), began)
    TRACE.parent.mkdir(exist_ok=True)
    TRACE.write_text(json.dumps(trace) + "\n")
    print(f"{len(trace['inputs'])} inputs and {len(trace['cold_starts'])} cold starts in {TRACE.name}")


def _waves(chance: random.Random) -> Iterator[Any]:
    """Bursts of quick calls, a slow one now and then, and a steady trickle to the function that may have two containers."""
    functions = {name: modal.Function.from_name("bench-waves", name) for name in ("quick", "slow", "narrow")}
    for second in range(_SECONDS):
        started = time.monotonic()
        for _ in range(8 if second % 15 < 2 else int(second % 3 == 0)):  # noqa: PLR2004
            yield functions["quick"].spawn(round(chance.expovariate(1 / 0.3), 3))
        if second % 10 == 0:
            yield functions["slow"].spawn(3)
        yield functions["narrow"].spawn(round(chance.uniform(0.2, 1.6), 3))
        time.sleep(max(0.0, 1 - (time.monotonic() - started)))


def _read(database: Path, app_id: str, since: float) -> dict[str, Any]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute(_INPUTS, (app_id, round(since * _MICRO))).fetchall()
        starts = connection.execute(_STARTS, (app_id, round(since * _MICRO))).fetchall()
    first = rows[0][1]
    inputs = [
        {
            "function": tag,
            "at": round((created - first) / _MICRO, 3),
            "waited": round((started - created) / _MICRO, 3),
            "took": round((finished - started) / _MICRO, 3),
        }
        for tag, created, started, finished in rows
    ]
    return {"inputs": inputs, "cold_starts": [round((ready - wanted) / _MICRO, 3) for wanted, ready in starts]}


if __name__ == "__main__":
    main()
