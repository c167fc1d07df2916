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
