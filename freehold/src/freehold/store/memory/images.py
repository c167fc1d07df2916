"""Images in memory."""

from collections.abc import Sequence

from freehold.domain.ids import ImageId
from freehold.domain.images import Image
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, page, required
from freehold.store.ports import Place


class Images:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Image] = Rows(undo)

    async def put(self, image: Image) -> None:
        self._rows.put(image.id, image)

    async def get(self, image_id: ImageId) -> Image:
        return required(self._rows.get(image_id), missing.image(image_id))

    async def find_by_key(self, key: str) -> Image | None:
        return max((row for row in self._rows if row.key == key), key=lambda row: (row.created_at, row.id), default=None)

    async def unfinished(self) -> Sequence[Image]:
        found = [row for row in self._rows if not row.is_finished]
        return sorted(found, key=lambda row: (row.created_at, row.id))

    async def page(self, before: Place | None, limit: int) -> Sequence[Image]:
        return page(self._rows, lambda row: (row.created_at, row.id), before, limit)
