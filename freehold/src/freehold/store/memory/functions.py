"""Functions in memory."""

from collections.abc import Sequence

from freehold.domain.functions import Definition, Function, UserClass
from freehold.domain.ids import AppId, ClassId, DefinitionId, FunctionId
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, required


class Functions:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Function] = Rows(undo)
        self._definitions: Rows[str, Definition] = Rows(undo)
        self._classes: Rows[str, UserClass] = Rows(undo)

    async def put(self, function: Function) -> None:
        self._rows.put(function.id, function)

    async def get(self, function_id: FunctionId) -> Function:
        return required(self._rows.get(function_id), missing.function(function_id))

    async def find_bound(self, base_id: FunctionId, serialized_params: bytes, options: bytes) -> Function | None:
        wanted = (base_id, serialized_params, options)
        return next((row for row in self._rows if (row.base_id, row.serialized_params, row.options) == wanted), None)

    async def of_app(self, app_id: AppId) -> Sequence[Function]:
        return sorted((row for row in self._rows if row.app_id == app_id), key=lambda row: (row.tag, row.id))

    async def bound_to(self, base_id: FunctionId) -> Sequence[Function]:
        return sorted((row for row in self._rows if row.base_id == base_id), key=lambda row: row.id)

    async def put_definition(self, definition: Definition) -> None:
        self._definitions.put(definition.id, definition)

    async def get_definition(self, definition_id: DefinitionId) -> Definition:
        return required(self._definitions.get(definition_id), missing.definition(definition_id))

    async def put_class(self, user_class: UserClass) -> None:
        self._classes.put(user_class.id, user_class)

    async def get_class(self, class_id: ClassId) -> UserClass:
        return required(self._classes.get(class_id), missing.user_class(class_id))
