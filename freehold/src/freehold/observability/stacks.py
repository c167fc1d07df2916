"""Where everything in this process stands: each task of the event loop by what it awaits, each thread by what it runs."""

import asyncio
import gc
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

_DEEPEST = 100  # what awaits another that awaits it would have no end


def where_all_stand(loop: asyncio.AbstractEventLoop) -> str:
    """For people. May be asked from any thread, also while the loop is stuck."""
    tasks = [f"task {task.get_name()}\n{_lines(_awaited(task))}" for task in asyncio.all_tasks(loop)]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 — the only way to them
    threads = [f"thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}" for ident, frame in frames.items()]
    return "\n".join([*tasks, *threads])


def _awaited(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """From the outermost coroutine to where it waits. `Task.get_stack` knows only the outermost of one that waits."""
    one: Any = task.get_coro()
    for _ in range(_DEEPEST):
        if (frame := _part(one, "frame")) is not None:
            yield frame
        one = _part(one, "await") or _part(one, "yieldfrom") or _behind(one)
        if one is None:
            return


def _part(one: Any, name: str) -> Any:
    """Of a coroutine, a generator, or both."""
    return next((found for kind in ("cr", "gi", "ag") if (found := getattr(one, f"{kind}_{name}", None)) is not None), None)


def _behind(one: Any) -> Any:
    """What `anext` and its like stand for: they say it to nobody but the garbage collector."""
    if one is None or _part(one, "code") is not None:
        return None
    return next((other for other in gc.get_referents(one) if _part(other, "frame") is not None), None)


def _lines(frames: Iterator[FrameType]) -> str:
    return "".join(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_qualname}\n' for frame in frames)
