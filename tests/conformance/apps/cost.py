"""What is used, to be read off a bill."""

import time

import modal

app = modal.App("cost", tags={"team": "shop"})


@app.function(scaledown_window=2)
def burn(seconds: float) -> float:
    """CPU time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds


@app.function(scaledown_window=60, min_containers=1)
def stay() -> None:
    """Memory, over a restart of the engine."""
