"""Three functions under waves of calls, to record how traffic, cold starts and service times look on a real engine."""

import time

import modal

app = modal.App("bench-waves")


@app.function(scaledown_window=5)
def quick(seconds: float) -> None:
    time.sleep(seconds)


@app.function(scaledown_window=5)
def slow(seconds: float) -> None:
    time.sleep(seconds)


@app.function(scaledown_window=5, max_containers=2)
def narrow(seconds: float) -> None:
    time.sleep(seconds)
