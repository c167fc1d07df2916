"""Where inputs wait for each other, in whatever containers they run, or until they are let go: a folder that all of them have mounted."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import modal

FOLDER = Path("/meeting")
LONGEST = 120  # seconds
PAUSE = 0.05

image = modal.Image.debian_slim().add_local_python_source("meeting")
volumes = {str(FOLDER): modal.Volume.from_name("meeting", create_if_missing=True)}


def meet(place: str, count: int = 0) -> None:
    """Waits until so many have come to this place; without a number, until somebody leaves `go` there."""
    for _ in _looks(FOLDER / place, count):
        time.sleep(PAUSE)


async def meet_async(place: str, count: int = 0) -> None:
    for _ in _looks(FOLDER / place, count):
        await asyncio.sleep(PAUSE)


def _looks(place: Path, count: int) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    (place / uuid4().hex).touch()
    deadline = time.monotonic() + LONGEST
    while not (place / "go").exists() and not 0 < count <= len(list(place.iterdir())):
        if time.monotonic() > deadline:
            message = f"Nobody came to {place}."
            raise TimeoutError(message)
        yield
