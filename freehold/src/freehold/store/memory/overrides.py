"""Overrides in memory."""

from collections.abc import Sequence

from freehold.domain.ids import FunctionId
from freehold.domain.overrides import AutoscalerOverride
from freehold.store.memory.rows import Rows, Undo


class Overrides:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, tuple[FunctionId, AutoscalerOverride]] = Rows(undo)

    async def put(self, function_id: FunctionId, override: AutoscalerOverride) -> None:
        self._rows.put(function_id, (function_id, override))

    async def find(self, function_id: FunctionId) -> AutoscalerOverride | None:
        found = self._rows.get(function_id)
        return found[1] if found else None

    async def function_ids(self) -> Sequence[FunctionId]:
        return sorted(function_id for function_id, _ in self._rows)

    async def delete(self, function_ids: Sequence[FunctionId]) -> None:
        for function_id in function_ids:
            self._rows.drop(function_id)
