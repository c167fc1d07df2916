"""Classes: what a container does once, and what it does for each call."""

import asyncio
import os
from collections.abc import Iterator

import modal

app = modal.App("classes")


@app.cls(max_containers=1)
class Counter:
    @modal.enter()
    def start(self) -> None:
        self.entered = getattr(self, "entered", 0) + 1
        self.calls = 0

    @modal.method()
    def count(self) -> tuple[int, int]:
        self.calls += 1
        return self.entered, self.calls

    @modal.method()
    def down_from(self, n: int) -> Iterator[int]:
        yield from range(n, 0, -1)


@app.cls(scaledown_window=2)
class Guest:
    name: str = modal.parameter()
    age: int = modal.parameter(default=30)

    @modal.enter()
    def arrive(self) -> None:
        print(f"welcome {self.name}")

    @modal.method()
    def introduce(self) -> str:
        return f"{self.name}, {self.age}"

    @modal.method()
    def container(self) -> str:
        return os.environ["MODAL_TASK_ID"]

    @modal.exit()
    def leave(self) -> None:
        print(f"goodbye {self.name}")


@app.cls()
class AsyncThing:
    @modal.enter()
    async def start(self) -> None:
        await asyncio.sleep(0)
        self.ready = True

    @modal.method()
    async def is_ready(self) -> bool:
        await asyncio.sleep(0)
        return self.ready


@app.cls(secrets=[modal.Secret.from_dict({"COLOUR": "red"})])
class Settings:
    @modal.method()
    def colour(self) -> str:
        return os.environ["COLOUR"]


@app.cls()
class Broken:
    @modal.enter()
    def start(self) -> None:
        message = "the engine does not turn over"
        raise RuntimeError(message)

    @modal.method()
    def drive(self) -> None:
        pass
