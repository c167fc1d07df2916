"""Usages in memory."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from freehold.domain.ids import AppId, FunctionId
from freehold.domain.usage import NOTHING, FunctionUsage, Total, Usage
from freehold.store.memory.rows import Rows, Undo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Usages:
    def __init__(self, undo: Undo) -> None:
        self._hours: Rows[tuple[datetime, FunctionId], FunctionUsage] = Rows(undo)
        self._totals: Rows[str, Total] = Rows(undo)

    async def add(self, hourly: Sequence[FunctionUsage], totals: Mapping[str, Usage], at: datetime) -> None:
        for row in hourly:
            found = self._hours.get((row.begins_at, row.function_id))
            self._hours.put((row.begins_at, row.function_id), replace(row, usage=found.usage + row.usage) if found else row)
        for subject, usage in totals.items():
            known = self._totals.get(subject)
            self._totals.put(subject, Total(usage=(known.usage if known else NOTHING) + usage, at=at))

    async def sums(
        self,
        since: datetime,
        until: datetime,
        *,
        step: timedelta | None = None,
        app_id: str = "",
        function_ids: Sequence[FunctionId] | None = None,
    ) -> Sequence[FunctionUsage]:
        found: dict[tuple[datetime, AppId, FunctionId], Usage] = defaultdict(lambda: NOTHING)
        for row in self._hours:
            is_meant = app_id in ("", row.app_id) and (function_ids is None or row.function_id in function_ids)
            if is_meant and since <= row.begins_at < until:
                begins_at = row.begins_at - (row.begins_at - _EPOCH) % step if step else since
                found[begins_at, row.app_id, row.function_id] += row.usage
        return [FunctionUsage(begins_at=at, app_id=app, function_id=id_, usage=usage) for (at, app, id_), usage in sorted(found.items())]

    async def totals(self, subjects: Sequence[str]) -> Mapping[str, Total]:
        return {subject: found for subject in subjects if (found := self._totals.get(subject)) is not None}

    async def delete_before(self, *, hours: datetime, totals: datetime) -> None:
        for row in list(self._hours):
            if row.begins_at < hours:
                self._hours.drop((row.begins_at, row.function_id))
        for subject, total in self._totals.items():
            if total.at < totals:
                self._totals.drop(subject)
