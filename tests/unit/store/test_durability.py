"""What is committed outlives the process, however it ends."""

import signal
import sys

import anyio

from freehold.domain.ids import CallId
from freehold.store.sql.store import SqlStore

_PROGRAM = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from freehold.domain.calls import CallKind, FunctionCall, Invocation
from freehold.store.sql.store import SqlStore

def call(name):
    return FunctionCall(id=name, function_id="fu-1", app_id="ap-1", kind=CallKind.UNARY, invocation=Invocation.ASYNC,
                        created_at=datetime.now(UTC))

async def main():
    store = SqlStore(Path(sys.argv[1]))
    await store.open()
    async with store.transaction() as tx:
        await tx.calls.write(calls=[call("fc-committed")])
    async with store.transaction() as tx:
        await tx.calls.write(calls=[call("fc-open")])
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_committed_call_survives_kill_9_and_an_open_transaction_leaves_nothing(tmp_path):
    path = tmp_path / "freehold.db"
    killed = await anyio.run_process([sys.executable, "-c", _PROGRAM, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = SqlStore(path)
    await store.open()
    async with store.transaction() as tx:
        assert await tx.calls.find(CallId("fc-committed")) is not None
        assert await tx.calls.find(CallId("fc-open")) is None
    await store.close()
