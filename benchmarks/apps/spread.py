"""A function in four containers that are always there, each with one input at a time."""

import os

import modal

app = modal.App("bench-spread")


@app.function(min_containers=4, max_containers=4)
def add(x: int, y: int = 1) -> tuple[int, str]:
    """The sum, and who made it."""
    return x + y, os.environ["MODAL_TASK_ID"]
