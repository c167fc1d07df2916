"""Functions, their definitions and classes in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from freehold.domain.functions import Definition, Function, UserClass
from freehold.domain.ids import AppId, ClassId, DefinitionId, FunctionId
from freehold.store import missing
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import classes, definitions, functions


class SqlFunctions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, function: Function) -> None:
        await statements.put(self._connection, functions, _function_row(function))

    async def get(self, function_id: FunctionId) -> Function:
        row = await statements.required(
            self._connection, select(functions).where(functions.c.id == function_id), missing.function(function_id)
        )
        return _function(row)

    async def find_bound(self, base_id: FunctionId, serialized_params: bytes, options: bytes) -> Function | None:
        query = select(functions).where(
            functions.c.base_id == base_id,
            functions.c.serialized_params == serialized_params,
            functions.c.options == options,
        )
        row = await statements.one(self._connection, query)
        return _function(row) if row else None

    async def of_app(self, app_id: AppId) -> Sequence[Function]:
        query = select(functions).where(functions.c.app_id == app_id).order_by(functions.c.tag, functions.c.id)
        return [_function(row) for row in await self._connection.execute(query)]

    async def bound_to(self, base_id: FunctionId) -> Sequence[Function]:
        query = select(functions).where(functions.c.base_id == base_id).order_by(functions.c.id)
        return [_function(row) for row in await self._connection.execute(query)]

    async def put_definition(self, definition: Definition) -> None:
        row = {
            "id": definition.id,
            "function_id": definition.function_id,
            "payload": definition.payload,
            "created_at": definition.created_at,
        }
        await statements.put(self._connection, definitions, row)

    async def get_definition(self, definition_id: DefinitionId) -> Definition:
        row = await statements.required(
            self._connection, select(definitions).where(definitions.c.id == definition_id), missing.definition(definition_id)
        )
        return Definition(id=row.id, function_id=row.function_id, payload=row.payload, created_at=row.created_at)

    async def put_class(self, user_class: UserClass) -> None:
        row = {"id": user_class.id, "app_id": user_class.app_id, "tag": user_class.tag, "payload": user_class.payload}
        await statements.put(self._connection, classes, row)

    async def get_class(self, class_id: ClassId) -> UserClass:
        row = await statements.required(self._connection, select(classes).where(classes.c.id == class_id), missing.user_class(class_id))
        return _class(row)


def _function_row(function: Function) -> dict[str, Any]:
    return {
        "id": function.id,
        "app_id": function.app_id,
        "tag": function.tag,
        "live_definition_id": function.live_definition_id,
        "base_id": function.base_id,
        "serialized_params": function.serialized_params,
        "options": function.options,
    }


def _function(row: Row[Any]) -> Function:
    return Function(
        id=row.id,
        app_id=row.app_id,
        tag=row.tag,
        live_definition_id=row.live_definition_id,
        base_id=row.base_id,
        serialized_params=row.serialized_params,
        options=row.options,
    )


def _class(row: Row[Any]) -> UserClass:
    return UserClass(id=row.id, app_id=row.app_id, tag=row.tag, payload=row.payload)
