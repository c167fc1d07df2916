"""Code that leaves a word when its container ends."""

import atexit
import os
import signal
import time
from collections.abc import Callable, Iterator

import modal
import modal.experimental

VERSION = 1

app = modal.App("ends")


class Farewells:
    @modal.enter()
    def arrive(self) -> None:
        atexit.register(print, "said at exit of the interpreter")

    @modal.method()
    def work(self, seconds: float = 0) -> str:
        print("at work")
        time.sleep(seconds)
        return os.environ["MODAL_TASK_ID"]

    @modal.method()
    def last_input(self) -> str:
        modal.experimental.stop_fetching_inputs()
        time.sleep(1)
        return os.environ["MODAL_TASK_ID"]

    @modal.exit()
    def leave(self) -> None:
        print("said by the exit hook")


@app.cls()
class Staying(Farewells):
    pass


@app.cls(scaledown_window=2)
class Brief(Farewells):
    pass


@app.cls(single_use_containers=True)
class Once(Farewells):
    pass


@app.cls(single_use_containers=True)
@modal.concurrent(max_inputs=5)
class OnceOfMany(Farewells):
    pass


@app.cls()
@modal.concurrent(max_inputs=4)
class Async:
    @modal.method()
    async def work(self, seconds: float = 0) -> str:
        import asyncio

        await asyncio.sleep(seconds)
        return os.environ["MODAL_TASK_ID"]

    @modal.exit()
    async def leave(self) -> None:
        print("said by the exit hook")


@app.cls(max_containers=1)
class Stubborn:
    @modal.method()
    def work(self, seconds: float = 0) -> str:
        time.sleep(seconds)
        return os.environ["MODAL_TASK_ID"]

    @modal.exit()
    def leave(self) -> None:
        print("starts an exit hook that does not end")
        time.sleep(600)


@app.function()
def deaf(seconds: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("hears nothing from now on")
    time.sleep(seconds)


@app.function()
def sleepy(seconds: float) -> str:
    time.sleep(seconds)
    return os.environ["MODAL_TASK_ID"]


@app.function()
def counting() -> Iterator[int]:
    try:
        for number in range(1000):
            yield number
            time.sleep(0.2)
    finally:
        print("said by the generator")


@app.function()
@modal.batched(max_batch_size=3, wait_ms=1000)
def batched(numbers: list[int]) -> list[str]:
    return [f"{os.environ['MODAL_TASK_ID']} {len(numbers)}" for _ in numbers]


@app.function(single_use_containers=True)
@modal.batched(max_batch_size=3, wait_ms=1000)
def batched_once(numbers: list[int]) -> list[str]:
    return [f"{os.environ['MODAL_TASK_ID']} {len(numbers)}" for _ in numbers]


@app.function()
@modal.asgi_app()
def site() -> Callable:
    async def application(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            print("said by the lifespan")
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": os.environ["MODAL_TASK_ID"].encode()})

    return application
