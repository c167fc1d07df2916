"""What keeping pages live may cost: seconds of CPU, earned as time goes by and spent by what really ran."""

from collections.abc import Coroutine, Generator
from functools import partial
from time import thread_time
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SHARE = 0.03  # of a core: with what is not seen from here, the store's thread, it comes to less than a twentieth
_SAVED, _OWED = 2.0, 60.0  # seconds of which the share is saved at most, and owed at most


class Budget:
    def __init__(self) -> None:
        self._left = 0.0

    @property
    def is_left(self) -> bool:
        return self._left > 0

    def earn(self, seconds: float) -> None:
        self._left = min(self._left + _SHARE * seconds, _SHARE * _SAVED)

    def spend(self, seconds: float) -> None:
        self._left = max(self._left - seconds, -_SHARE * _OWED)

    @coroutine
    def metered(self, work: Coroutine[Any, Any, T]) -> Generator[Any, None, T]:
        """Awaits it, and spends the seconds of CPU that this thread gives to it; what it waits for costs nothing."""
        step = partial(work.send, None)
        while True:
            began = thread_time()
            try:
                awaited = step()
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self.spend(thread_time() - began)
            try:
                yield awaited
                step = partial(work.send, None)
            except BaseException as error:  # noqa: BLE001 — a cancellation too is the work's own affair
                step = partial(work.throw, error)
