"""Functions about which people ask why."""

import os

import meeting
import modal

app = modal.App("why", image=meeting.image, volumes=meeting.volumes)


@app.function(max_containers=1, scaledown_window=2)
def one_by_one(place: str = "") -> str:
    if place:
        meeting.meet(place)
    return os.environ["MODAL_TASK_ID"]


@app.cls(scaledown_window=2)
class NeverReady:
    @modal.enter()
    def start(self) -> None:
        os._exit(3)  # as a native library that crashes does

    @modal.method()
    def run(self) -> None:
        pass
