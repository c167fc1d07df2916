"""Classes with state that can be forked. Each answer comes from a container of its own, and says whether that was forked from such state."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import modal

VERSION = 1
IS_TASK = bool(os.environ.get("MODAL_TASK_ID"))

app = modal.App("snapshots", image=modal.Image.debian_slim(python_version="3.11"))
each = {"enable_memory_snapshot": True, "single_use_containers": True}
_kept: list[object] = []


def _answer(**facts: object) -> dict[str, object]:
    of_snapshot = "freehold_container.snapshot" in sys.modules
    return {"task": os.environ["MODAL_TASK_ID"], "of_snapshot": of_snapshot, "version": VERSION, **facts}


@app.cls(**each)
class State:
    @modal.enter(snap=True)
    def prepare(self) -> None:
        print("the hook runs", flush=True)
        self.made = random.SystemRandom().random()
        self.headers = os.environ["MODAL_OVERRIDE_HEADERS"]
        Path("/tmp/prepared").write_text("by the hook")
        Path("/etc/os-release").unlink()
        self.file = Path("/usr/bin/env").open("rb")  # noqa: SIM115 — it stays open
        self.file.seek(1)

    @modal.enter()
    def arrive(self) -> None:
        self.arrived = os.environ["MODAL_TASK_ID"]

    @modal.exit()
    def leave(self) -> None:
        print(f"bye of {os.environ['MODAL_TASK_ID']}", flush=True)

    @modal.method()
    def look(self) -> dict[str, object]:
        print(f"looks: {modal.current_input_id()}", flush=True)
        prepared = Path("/tmp/prepared").read_text()
        Path("/tmp/prepared").write_text("by a task")
        return _answer(
            made=self.made,
            arrived=self.arrived,
            chance=random.random(),
            files=(prepared, Path("/etc/os-release").exists(), self.file.read(3)),
            headers=self.headers,
            input=modal.current_input_id(),
            status=Path("/proc/self/status").read_text(),
            environment=dict(os.environ),
            arguments=(sys.argv, sys.path, sys.orig_argv[1:]),
        )


@app.cls(**each)
class Asynchronous:
    @modal.enter(snap=True)
    async def prepare(self) -> None:
        self.lock = asyncio.Lock()
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.background = asyncio.create_task(self._speak())  # noqa: TID251 — what users do
        self.thread = await asyncio.to_thread(threading.get_ident)

    async def _speak(self) -> None:
        while True:
            await self.said.put("ready")
            await asyncio.sleep(0.01)

    @modal.method()
    async def look(self) -> dict[str, object]:
        async with self.lock:
            while not self.said.empty():
                self.said.get_nowait()
            said = await asyncio.wait_for(self.said.get(), 5)
            return _answer(said=said, thread=await asyncio.to_thread(lambda: "ran"))

    @modal.method()
    async def count(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            await asyncio.sleep(0)
            yield number


@app.cls(**each)
class Page:
    @modal.enter(snap=True)
    def prepare(self) -> None:
        self.made = random.SystemRandom().random()

    @modal.fastapi_endpoint()
    async def look(self) -> dict[str, object]:
        return _answer(made=self.made, loop=type(asyncio.get_running_loop()).__module__)


@app.cls(**each)
class Guest:
    name: str = modal.parameter()

    @modal.enter(snap=True)
    def prepare(self) -> None:
        self.greeting = f"welcome {self.name}"

    @modal.method()
    def look(self) -> dict[str, object]:
        return _answer(greeting=self.greeting)


made_at_import = random.SystemRandom().random()


@app.function(**each)
def plain_function() -> dict[str, object]:
    return _answer(made=made_at_import)


@app.cls(secrets=[modal.Secret.from_name("snapshots")], **each)
class Secretive:
    @modal.enter(snap=True)
    def prepare(self) -> None:
        self.read = os.environ["WORD"]

    @modal.method()
    def look(self) -> dict[str, object]:
        return _answer(read=self.read, word=os.environ["WORD"])


@app.cls(enable_memory_snapshot=True, single_use_containers=True, startup_timeout=20)
class Unfit:
    """Whatever a hook may leave behind that a fork would be without, or share with the others."""

    how: str = modal.parameter()

    @modal.enter(snap=True)
    def prepare(self) -> None:
        getattr(self, f"_{self.how}")()

    def _threads(self) -> None:
        threading.Thread(target=time.sleep, args=(1000,), name="my-worker", daemon=True).start()

    def _processes(self) -> None:
        _kept.append(subprocess.Popen(["/bin/sleep", "1000"]))

    def _connections(self) -> None:
        _kept.append(asyncio.new_event_loop().run_until_complete(_listen()))

    def _files(self) -> None:
        _kept.append(Path("/tmp/log").open("w"))  # noqa: SIM115 — it stays open

    def _memory(self) -> None:
        Path("/dev/shm/left").write_text("something")

    def _raises(self) -> None:
        if not IS_TASK:
            message = "only in the template"
            raise RuntimeError(message)

    def _hangs(self) -> None:
        if not IS_TASK:
            time.sleep(1000)

    def _ends(self) -> None:
        if not IS_TASK:
            os._exit(0)

    def _asks(self) -> None:
        modal.Function.from_name("snapshots", "plain_function").hydrate()

    @modal.method()
    def look(self) -> dict[str, object]:
        return _answer(how=self.how)


async def _listen() -> object:
    return await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)


@app.cls(enable_memory_snapshot=True)
class Raises:
    @modal.enter(snap=True)
    def prepare(self) -> None:
        message = "the model is not there"
        raise ValueError(message)

    @modal.method()
    def look(self) -> None: ...


@app.cls(**each)
class Fragile:
    """It works once: in a fork, its first input ends the process as native code does that does not outlive a fork."""

    @modal.enter(snap=True)
    def prepare(self) -> None:
        self.made_in = os.environ.get("MODAL_TASK_ID")

    @modal.enter()
    def arrive(self) -> None:
        if not self.made_in:
            os.abort()

    @modal.method()
    def look(self) -> dict[str, object]:
        return _answer()


@app.cls(enable_memory_snapshot=True, max_containers=1)
class Lasting:
    @modal.enter(snap=True)
    def prepare(self) -> None:
        self.made = random.SystemRandom().random()

    @modal.method()
    def look(self) -> dict[str, object]:
        return _answer(made=self.made)
