"""Things that print, in every way there is."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time

import modal

app = modal.App("logs")


@app.function(scaledown_window=20)
def talk(word: str) -> str:
    print(f"{word} out 1")
    print(f"{word} err 2", file=sys.stderr)
    print(f"{word} out 3")
    logging.getLogger("app").warning("%s log 4", word)
    print(f"{word} out 5")
    return os.environ["MODAL_TASK_ID"]


@app.function(scaledown_window=20)
def talk_elsewhere(word: str) -> None:
    subprocess.run(["sh", "-c", f"sleep 0.2; echo {word} from a child"], check=True)
    sys.stdout.buffer.write(f"{word} bytes\n".encode())
    os.write(2, f"{word} by number\n".encode())


@app.function(scaledown_window=20, max_containers=1)
@modal.concurrent(max_inputs=10)
async def talk_together(number: int) -> str | None:
    for step in range(5):
        print(f"together {number}.{step}")
        await asyncio.sleep(0.02)
    return modal.current_input_id()


@app.function(scaledown_window=20, max_containers=1)
@modal.concurrent(max_inputs=10)
def talk_in_threads(number: int) -> str | None:
    for step in range(5):
        print(f"threads {number}.{step}", "x" * 2000)
        time.sleep(0.02)
    return modal.current_input_id()


@app.function(scaledown_window=20)
@modal.batched(max_batch_size=4, wait_ms=500)
def talk_as_batch(numbers: list[int]) -> list[int]:
    print(f"batch of {len(numbers)}")
    return numbers


@app.function(scaledown_window=20)
def talk_after(word: str) -> None:
    """Output of a thread that outlives its input is nobody's."""
    threading.Thread(target=lambda: (time.sleep(0.3), print(f"{word} late"))).start()
    print(f"{word} in time")


@app.function(scaledown_window=20)
def exit_at_once(word: str) -> None:
    print(f"{word} last words")
    print(f"{word} unfinished", end="")
    os._exit(7)


@app.function(memory=(64, 128), scaledown_window=20)
def eat(word: str) -> int:
    print(f"{word} is hungry")
    return len(bytearray(512 * 1024 * 1024))


@app.function(scaledown_window=20)
def look_like_marks() -> None:
    print("a\x1eb\x1e\x1ec")
    sys.stdout.write("\x1e")


@app.function(scaledown_window=20, timeout=900)
def flood(seconds: float, line: int = 100) -> int:
    """Prints without end in every second second, and is silent in those between. How many bytes it was."""
    data = (b"y" * (line - 1) + b"\n") * (64 * 1024 // line) if line else b"z" * 64 * 1024
    printed, end = 0, time.time() + seconds
    while time.time() < end:
        if int(time.time()) % 2:
            printed += os.write(1, data)
        else:
            time.sleep(0.01)
    return printed


@app.function(scaledown_window=60)
def add_one(number: int) -> int:
    return number + 1
