"""Containers that outlive their engine: what they remember shows that they are the same."""

import os
import time

import modal

app = modal.App("adoption", image=modal.Image.debian_slim())
_seen: list[str] = []


@app.function(scaledown_window=300)
def remember(word: str, seconds: float = 0) -> tuple[str, list[str]]:
    """Which container it is, and all words that it was told so far."""
    _seen.append(word)
    print(f"told {word}", flush=True)
    time.sleep(seconds)
    return os.environ["MODAL_TASK_ID"], list(_seen)


@app.function(scaledown_window=300)
def chatter(lines: int) -> int:
    """After a while, prints more than any pipe holds."""
    print("begun", flush=True)
    time.sleep(4)
    for number in range(lines):
        print(f"line {number} {'x' * 1000}", flush=True)
    return lines


@app.function(scaledown_window=300)
@modal.fastapi_endpoint()
def site() -> str:
    return os.environ["MODAL_TASK_ID"]


@app.cls(scaledown_window=300)
class Counter:
    start: int = modal.parameter(default=0)

    @modal.enter()
    def begin(self) -> None:
        self.count = self.start

    @modal.method()
    def next(self) -> int:
        self.count += 1
        return self.count


@app.function(scaledown_window=300)
def outer(word: str) -> tuple[str, list[str]]:
    """Calls another function that takes a while."""
    return remember.remote(word, 6)
