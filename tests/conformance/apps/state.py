"""What must survive the engine."""

import os
import time

import modal

app = modal.App("state", image=modal.Image.debian_slim().run_commands("cat /proc/sys/kernel/random/uuid > /stamp"))


@app.function()
def stamp() -> str:
    with open("/stamp") as file:
        return file.read().strip()


@app.function()
def large(size: int) -> bytes:
    return b"x" * size


@app.function(secrets=[modal.Secret.from_name("survivor")])
def secret() -> str:
    return os.environ["SURVIVOR"]


@app.function()
def slow(seconds: float, answer: str) -> str:
    time.sleep(seconds)
    return answer


@app.function()
def fail() -> None:
    message = "kept for later"
    raise LookupError(message)
