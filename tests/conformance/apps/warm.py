"""A function that is never cold."""

import os

import modal

app = modal.App("warm")


@app.function(min_containers=1, scaledown_window=2)
def always_there() -> str:
    return os.environ["MODAL_TASK_ID"]
