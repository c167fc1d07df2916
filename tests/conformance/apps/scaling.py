"""Functions with different wishes about how many containers they have."""

import os
import time

import modal

app = modal.App("scaling")


def work(seconds: float) -> str:
    time.sleep(seconds)
    return os.environ["MODAL_TASK_ID"]


@app.function(scaledown_window=2)
def plain(seconds: float = 0) -> str:
    return work(seconds)


@app.function(max_containers=2, scaledown_window=2)
def at_most_two(seconds: float) -> str:
    return work(seconds)


@app.function(buffer_containers=1, scaledown_window=2)
def one_more(seconds: float) -> str:
    return work(seconds)


@app.function(max_containers=1, scaledown_window=2)
@modal.concurrent(max_inputs=8)
def many_at_once(seconds: float) -> str:
    return work(seconds)


@app.function(max_containers=1, scaledown_window=2)
@modal.concurrent(max_inputs=4, target_inputs=2)
def aims_lower(seconds: float) -> str:
    return work(seconds)


@app.function(single_use_containers=True)
def used_once() -> str:
    return work(0)


@app.function(scaledown_window=2)
@modal.concurrent(max_inputs=4, target_inputs=2)
def aims_at_two(seconds: float) -> str:
    return work(seconds)


@app.function(max_containers=1, scaledown_window=4)
@modal.concurrent(max_inputs=4, target_inputs=2)
def takes_four(seconds: float) -> tuple[float, float]:
    started = time.time()
    work(seconds)
    return started, time.time()


@app.cls(scaledown_window=2)
class Sized:
    x: int = modal.parameter(default=0)

    @modal.method()
    def container(self, seconds: float = 0) -> str:
        return work(seconds)


@app.cls(scaledown_window=2, max_containers=1)
class Batched:
    @modal.batched(max_batch_size=2, wait_ms=100)
    def sizes(self, numbers: list[int]) -> list[int]:
        return [len(numbers)] * len(numbers)


@app.function(cpu=512, memory=10_000_000, scaledown_window=2)
def wants_a_bigger_machine() -> str:
    return work(0)
