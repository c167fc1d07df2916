"""Functions that ask for GPUs, and say which they see."""

import glob
import os

import meeting
import modal

app = modal.App("gpus", image=meeting.image, volumes=meeting.volumes)


def devices(place: str = "", count: int = 0) -> tuple[str, list[str], str]:
    """After a meeting with others, if there is to be one."""
    if place:
        meeting.meet(place, count)
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", ""), sorted(glob.glob("/dev/nvidia*")), os.environ.get("CUDA_VISIBLE_DEVICES", "")


@app.function(gpu="T4", region="us-west-2", cloud="aws", scaledown_window=2)
def one(place: str = "", count: int = 0) -> tuple[str, list[str], str]:
    return devices(place, count)


@app.function(gpu="T4:2", scaledown_window=2)
def two() -> tuple[str, list[str], str]:
    return devices()


@app.function(gpu=["H100", "A100", "T4"], scaledown_window=2)
def whichever(place: str = "", count: int = 0) -> tuple[str, list[str], str]:
    return devices(place, count)


@app.function(scaledown_window=2)
def none() -> tuple[str, list[str], str]:
    return devices()


@app.cls(scaledown_window=2)
class Model:
    @modal.method()
    def devices(self) -> tuple[str, list[str], str]:
        return devices()
