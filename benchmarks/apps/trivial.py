"""The smallest functions, each configured for what it measures."""

import os
import time

import modal
from stopwatch import process_started

image = modal.Image.debian_slim().add_local_python_source("stopwatch")
app = modal.App("bench-trivial", image=image)


@app.function(single_use_containers=True)
def cold() -> dict[str, object]:
    """Each call gets a container of its own, and tells when it reached which point."""
    return {"task_id": os.environ["MODAL_TASK_ID"], "process": process_started(), "imported": IMPORTED, "entered": IMPORTED}


@app.function(max_containers=1)
def add(x: int, y: int = 1) -> int:
    return x + y


@app.function(max_containers=1)
@modal.concurrent(max_inputs=32)
async def add_together(x: int, y: int = 1) -> int:
    return x + y


IMPORTED = time.time()
