"""A function that many call at once: one container each."""

import os
import time

import modal

app = modal.App("bench-burst", image=modal.Image.debian_slim())


@app.function(max_containers=40, scaledown_window=2, cpu=0.01, memory=32)
def work(seconds: float) -> tuple[float, str]:
    """When it began, and in which container; it stays busy for so long, so that the others need containers of their own."""
    began = time.time()
    time.sleep(seconds)
    return began, os.environ["MODAL_TASK_ID"]
