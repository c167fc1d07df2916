"""What becomes of an input when its attempt ends without a result, and how long a crashing function must wait."""

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from freehold.domain.tasks import ExitKind, TaskExit

MAX_LOSSES = 8  # attempts lost to the machinery, not to the function, before we give up
_NOT_STARTED_BEFORE_GIVING_UP = 3  # in a row; a machine under load may fail to make a container once
# Looked for first where a container has died of it.
MORE_MEMORY = "\nGive the function more, as in @app.function(memory=2048) (MiB; of a pair, the second is the limit), or load less at once."
_NO_ROOM = "no space left on device"  # the kernel's words, whoever passes them on
_KILLED = 128 + 9  # SIGKILL: by no code of the function's
_FIRST_PAUSE = timedelta(seconds=0.5)
_LONGEST_PAUSE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often an input that failed is tried again, and after which pauses."""

    retries: int = 0
    first_pause: timedelta = timedelta(seconds=1)
    backoff: float = 1.0  # each pause is so many times the one before
    longest_pause: timedelta = timedelta(seconds=60)

    def pause_before(self, retry: int) -> timedelta | None:
        """The pause before the user's retry with this number, counted from 1; None if there is no such retry."""
        if retry > self.retries:
            return None
        longest = self.longest_pause / self.first_pause if self.first_pause else 1.0
        return self.first_pause * min(_power(self.backoff, retry - 1), longest)


class Fate(StrEnum):
    QUEUE_AGAIN = "queue again"
    FAIL = "fail"
    FAIL_OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    fate: Fate
    text: str = ""


def after_exit(end: TaskExit, losses: int) -> Verdict:
    """The fate of an input that was running on a task when that ended. `losses` counts this one."""
    match end.kind:
        case ExitKind.OUT_OF_MEMORY:
            return Verdict(fate=Fate.FAIL_OUT_OF_MEMORY, text=_told("The container ran out of memory and was killed", end) + MORE_MEMORY)
        case ExitKind.CRASHED | ExitKind.FINISHED:
            return Verdict(fate=Fate.FAIL, text=_told(f"The container exited with code {end.code} while running this input", end))
        case _:
            return after_loss(losses)


def after_loss(losses: int) -> Verdict:
    """The fate of an input whose container was lost by no doing of its own. `losses` counts this one."""
    if losses >= MAX_LOSSES:
        return Verdict(fate=Fate.FAIL, text=f"Given up after {losses} containers were lost while running this input.")
    return Verdict(fate=Fate.QUEUE_AGAIN)


def is_hopeless(end: TaskExit, failed_starts: int) -> bool:
    """Whether the waiting inputs should be failed now: user code that dies at start will do so again.

    What the machine does to a start may be different the next time, and a full disk is no fault of the function.
    """
    if end.kind is not ExitKind.NOT_STARTED and end.code != _KILLED:
        return True
    return failed_starts >= _NOT_STARTED_BEFORE_GIVING_UP and _NO_ROOM not in end.detail.lower()


def start_failure(end: TaskExit) -> str:
    """What callers are told when containers keep dying before they ask for inputs."""
    if end.kind is ExitKind.OUT_OF_MEMORY:
        return _told("The container ran out of memory while starting", end) + MORE_MEMORY
    if end.kind is ExitKind.NOT_STARTED:
        return f"The container could not be started: {end.detail}"
    return _told(f"The container exited with code {end.code} before it was ready", end)


def pause_after(failed_starts: int) -> timedelta:
    """How long to wait before the next start after so many failures in a row: doubling, bounded."""
    if failed_starts <= 0:
        return timedelta(0)
    doublings = min(failed_starts - 1, 10)
    return min(_FIRST_PAUSE * float(2**doublings), _LONGEST_PAUSE)


def _power(base: float, exponent: int) -> float:
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def _told(what: str, end: TaskExit) -> str:
    return f"{what}. Its last output:\n{end.detail}" if end.detail else f"{what}, and printed nothing."
