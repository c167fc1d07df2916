"""What every table in memory is made of."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Generic, TypeVar

from freehold.domain.errors import NotFound
from freehold.store.ports import Place

K = TypeVar("K")
V = TypeVar("V")

Undo = list[Callable[[], object]]


class Rows(Generic[K, V]):
    """A table: key → value. Every change notes how to take it back."""

    def __init__(self, undo: Undo) -> None:
        self._values: dict[K, V] = {}
        self._undo = undo

    def __iter__(self) -> Iterator[V]:
        return iter(self._values.values())

    def items(self) -> list[tuple[K, V]]:
        return list(self._values.items())

    def get(self, key: K) -> V | None:
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        self._note(key)
        self._values[key] = value

    def drop(self, key: K) -> None:
        self._note(key)
        self._values.pop(key, None)

    def _note(self, key: K) -> None:
        if key in self._values:
            self._undo.append(partial(self._values.__setitem__, key, self._values[key]))
        else:
            self._undo.append(partial(self._values.pop, key, None))


def required(found: V | None, error: NotFound) -> V:
    if found is None:
        raise error
    return found


def page(rows: Iterable[V], place_of: Callable[[V], Place], before: Place | None, limit: int) -> list[V]:
    return sorted((row for row in rows if before is None or place_of(row) < before), key=place_of, reverse=True)[:limit]
