"""Functions that ask for GPUs, and say which they see."""

import glob
import os
import time

import modal

app = modal.App("gpus")


def devices(seconds: float = 0) -> tuple[str, list[str], str]:
    time.sleep(seconds)
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", ""), sorted(glob.glob("/dev/nvidia*")), os.environ.get("CUDA_VISIBLE_DEVICES", "")


@app.function(gpu="T4", region="us-west-2", cloud="aws", scaledown_window=2)
def one(seconds: float = 0) -> tuple[str, list[str], str]:
    return devices(seconds)


@app.function(gpu="T4:2", scaledown_window=2)
def two() -> tuple[str, list[str], str]:
    return devices()


@app.function(gpu=["H100", "A100", "T4"], scaledown_window=2)
def whichever(seconds: float = 0) -> tuple[str, list[str], str]:
    return devices(seconds)


@app.function(scaledown_window=2)
def none() -> tuple[str, list[str], str]:
    return devices()


@app.cls(scaledown_window=2)
class Model:
    @modal.method()
    def devices(self) -> tuple[str, list[str], str]:
        return devices()
