"""Images in SQL."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, select

from freehold.domain.ids import ImageId
from freehold.domain.images import Image, ImageConfig, ImageState
from freehold.store import missing
from freehold.store.ports import Place
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import images

_UNFINISHED = (ImageState.WANTED.value, ImageState.BUILDING.value)


class SqlImages:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, image: Image) -> None:
        await statements.put(self._connection, images, _row(image))

    async def get(self, image_id: ImageId) -> Image:
        row = await statements.required(self._connection, select(images).where(images.c.id == image_id), missing.image(image_id))
        return _image(row)

    async def find_by_key(self, key: str) -> Image | None:
        query = select(images).where(images.c.key == key).order_by(images.c.created_at.desc(), images.c.id.desc())
        row = await statements.one(self._connection, query)
        return _image(row) if row else None

    async def unfinished(self) -> Sequence[Image]:
        query = select(images).where(images.c.state.in_(_UNFINISHED)).order_by(images.c.created_at, images.c.id)
        return [_image(row) for row in await self._connection.execute(query)]

    async def page(self, before: Place | None, limit: int) -> Sequence[Image]:
        page = statements.page(select(images), images.c.created_at, images.c.id, before, limit)
        return [_image(row) for row in await self._connection.execute(page)]


def _row(image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "key": image.key,
        "state": image.state.value,
        "request": image.request,
        "created_at": image.created_at,
        "builder_version": image.builder_version,
        "layers": list(image.layers),
        "config": asdict(image.config),
        "error": image.error,
        "app_id": image.app_id,
        "build_function_id": image.build_function_id,
    }


def _image(row: Row[Any]) -> Image:
    return Image(
        id=row.id,
        key=row.key,
        state=ImageState(row.state),
        request=row.request,
        created_at=row.created_at,
        builder_version=row.builder_version,
        layers=tuple(row.layers),
        config=_config(row.config),
        error=row.error,
        app_id=row.app_id,
        build_function_id=row.build_function_id,
    )


def _config(stored: dict[str, Any]) -> ImageConfig:
    """JSON knows no tuples."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    return ImageConfig(**values)
