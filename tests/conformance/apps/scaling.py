"""Functions with different wishes about how many containers they have."""

import os
import time

import meeting
import modal

app = modal.App("scaling", image=meeting.image, volumes=meeting.volumes)


def work(seconds: float = 0, place: str = "", count: int = 0) -> str:
    """The container, after a while, or after a meeting with other inputs."""
    if place:
        meeting.meet(place, count)
    time.sleep(seconds)
    return os.environ["MODAL_TASK_ID"]


@app.function(scaledown_window=2)
def plain(place: str = "", count: int = 0) -> str:
    return work(0, place, count)


@app.function(scaledown_window=60)
def kept() -> str:
    return work()


@app.function(max_containers=2, scaledown_window=2)
def at_most_two(seconds: float, place: str = "") -> str:
    return work(seconds, place)


@app.function(buffer_containers=1, scaledown_window=2)
def one_more(place: str) -> str:
    return work(0, place)


@app.function(max_containers=1, scaledown_window=2)
@modal.concurrent(max_inputs=8)
def many_at_once(place: str, count: int) -> str:
    return work(0, place, count)


@app.function(max_containers=1, scaledown_window=2)
@modal.concurrent(max_inputs=4, target_inputs=2)
def aims_lower(seconds: float) -> str:
    return work(seconds)


@app.function(single_use_containers=True)
def used_once() -> str:
    return work()


@app.function(scaledown_window=2)
@modal.concurrent(max_inputs=4, target_inputs=2)
def aims_at_two(place: str) -> str:
    return work(0, place)


@app.function(max_containers=1, scaledown_window=60)
@modal.concurrent(max_inputs=4, target_inputs=2)
def takes_four(place: str = "", count: int = 0) -> str:
    return work(0, place, count)


@app.cls(scaledown_window=2)
class Sized:
    x: int = modal.parameter(default=0)

    @modal.method()
    def container(self, seconds: float = 0, place: str = "", count: int = 0) -> str:
        return work(seconds, place, count)


@app.cls(scaledown_window=2, max_containers=1)
class Batched:
    @modal.batched(max_batch_size=2, wait_ms=100)
    def sizes(self, numbers: list[int]) -> list[int]:
        return [len(numbers)] * len(numbers)


@app.function(cpu=512, memory=10_000_000, scaledown_window=2)
def wants_a_bigger_machine() -> str:
    return work()
