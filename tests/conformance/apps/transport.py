"""What a user may do that touches how inputs come and results go."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator

import modal

app = modal.App("transport")


@app.function(max_containers=1)
def square(x: int) -> int:
    return x * x


@app.function(max_containers=1)
@modal.concurrent(max_inputs=8)
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


meeting = threading.Barrier(4)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=8)
def meets(_count: int) -> str:
    meeting.wait(60)
    return os.environ["MODAL_TASK_ID"]


@app.function()
def count_to(n: int) -> Iterator[int]:
    yield from range(1, n + 1)


@app.function()
@modal.batched(max_batch_size=4, wait_ms=500)
def pairs(xs: list[int]) -> list[tuple[int, int]]:
    return [(x, len(xs)) for x in xs]


@app.function()
def calls_others(x: int) -> tuple[list[int], str, str]:
    """Results of what it calls, what it is told of a call that fails, and whose code carried all that."""
    results = [square.remote(x), *square.map([x, x + 1]), *count_to.remote_gen(2), square.spawn(x).get()]
    try:
        square.remote("no number")
    except TypeError as error:
        told = str(error)
    client = modal.client._Client._client_from_env
    return results, told, type(client._control_plane_stub.FunctionMap).__module__


@app.cls()
class Greeter:
    @modal.enter()
    def prepare(self) -> None:
        self.word = "hello"

    @modal.method()
    def greet(self, name: str) -> str:
        return f"{self.word} {name}"


@app.function(single_use_containers=True)
def pid_of_task() -> str:
    return os.environ["MODAL_TASK_ID"]


@app.function(max_containers=1)
def forked(x: int) -> int:
    """Work in processes that copy this one, its connections included."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(abs, [-x, -x]))


@app.function(restrict_modal_access=True)
def confined(x: int) -> int:
    return x + 1


@app.function()
def command_line() -> list[str]:
    return [os.path.basename(sys.argv[0]), *sys.argv[1:], sys.modules["__main__"].__spec__.name]
