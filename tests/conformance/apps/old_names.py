"""An app as they were written in 2024: each function says in its container what became of its old names."""

import asyncio
import os
import time

import modal
from modal import Stub
from modal.gpu import T4

stub = Stub("old-names")
here = modal.Mount.from_local_file(__file__, remote_path="/data/here.py")
image = modal.Image.debian_slim().copy_local_file(__file__, "/copied/")


@stub.function(image=image, mounts=[here], keep_warm=0, concurrency_limit=1, container_idle_timeout=2)
def files() -> list[str]:
    return [path for path in ("/data/here.py", "/copied/old_names.py") if os.path.exists(path)]


@stub.function(allow_concurrent_inputs=4, concurrency_limit=1, container_idle_timeout=2)
async def together(seconds: float) -> tuple[float, float]:
    began = time.time()
    await asyncio.sleep(seconds)
    return began, time.time()


@stub.cls(container_idle_timeout=2, gpu=T4() if os.environ.get("WITH_GPU") else None)
class Model:
    def __enter__(self):
        self.words = ["entered"]

    def __exit__(self, *error):
        print("left", self.words, error)

    @modal.method()
    def say(self, word: str) -> list[str]:
        return [*self.words, word]


@stub.function(container_idle_timeout=2)
def asks_another(word: str) -> list[str]:
    return modal.Cls.lookup("old-names", "Model")().say.remote(word)


@stub.function(
    container_idle_timeout=2, network_file_systems={"/shared": modal.NetworkFileSystem.from_name("old-files", create_if_missing=True)}
)
def shared(text: str) -> str:
    with open("/shared/a.txt", "a") as file:
        file.write(text)
    with open("/shared/a.txt") as file:
        return file.read()
