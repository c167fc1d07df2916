"""Functions about which people ask why."""

import os
import time

import modal

app = modal.App("why")


@app.function(max_containers=1, scaledown_window=2)
def one_by_one(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


@app.cls(scaledown_window=2)
class NeverReady:
    @modal.enter()
    def start(self) -> None:
        os._exit(3)  # as a native library that crashes does

    @modal.method()
    def run(self) -> None:
        pass
