"""The smallest functions, each configured for what it measures."""

import modal

app = modal.App("bench-trivial", image=modal.Image.debian_slim())


@app.function()
def cold() -> int:
    return 1


@app.function(max_containers=1)
def add(x: int, y: int = 1) -> int:
    return x + y


@app.function(max_containers=1)
@modal.concurrent(max_inputs=32)
async def add_together(x: int, y: int = 1) -> int:
    return x + y
