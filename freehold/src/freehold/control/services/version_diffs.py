"""What a version of an app changed: which functions came and went, which of their settings differ, and which files of their code."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from modal_proto import api_pb2

from freehold.domain.apps import Deployment, Layout
from freehold.domain.deployments import may_come_back
from freehold.domain.errors import NotFound
from freehold.domain.ids import AppId, FunctionId, MountId
from freehold.store.ports import Store, Transaction

_LONGEST = 120  # characters of a value
_MOST_FILES = 20
_NOT_SETTINGS = {"mount_ids", "function_name", "definition_id", "object_dependencies", "function_serialized", "class_serialized"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDiff:
    """`settings` are name, before, after; `files` paths with `+`, `-` or `~` before them."""

    tag: str
    change: str  # added, removed, changed
    settings: Sequence[tuple[str, str, str]] = ()
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    deployment: Deployment
    is_live: bool
    may_come_back: bool
    diffs: Sequence[FunctionDiff] = field(default=())


class VersionDiffs:
    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def of_app(self, app_id: AppId, most: int) -> Sequence[Version]:
        """The newest versions of an app, each with what it changed beside the one before it."""
        async with self._store.transaction() as tx:
            live = (await tx.apps.get(app_id)).version
            history = list((await tx.apps.deployments(app_id))[: most + 1])
            found = []
            for index, item in enumerate(history[:most]):
                before = history[index + 1].layout if index + 1 < len(history) else Layout()
                diffs = await _diffs(tx, before, item.layout) if index + 1 < len(history) else ()
                is_live = item.version == live
                found.append(Version(deployment=item, is_live=is_live, may_come_back=may_come_back(item, live), diffs=diffs))
        return found


async def _diffs(tx: Transaction, before: Layout, after: Layout) -> list[FunctionDiff]:
    found = [FunctionDiff(tag=_name(tag), change="added") for tag in sorted(after.function_ids.keys() - before.function_ids.keys())]
    found += [FunctionDiff(tag=_name(tag), change="removed") for tag in sorted(before.function_ids.keys() - after.function_ids.keys())]
    for tag in sorted(after.function_ids.keys() & before.function_ids.keys()):
        old = await _message(tx, before, before.function_ids[tag])
        new = await _message(tx, after, after.function_ids[tag])
        if old is not None and new is not None and (diff := await _diff(tx, _name(tag), old, new)) is not None:
            found.append(diff)
    return found


async def _diff(tx: Transaction, tag: str, old: api_pb2.Function, new: api_pb2.Function) -> FunctionDiff | None:
    settings = [(name, *pair) for name, pair in _differing(old, new).items()]
    files = _changed_files(await _files(tx, old), await _files(tx, new))
    return FunctionDiff(tag=tag, change="changed", settings=settings, files=files) if settings or files else None


async def _message(tx: Transaction, layout: Layout, function_id: FunctionId) -> api_pb2.Function | None:
    definition_id = layout.definition_ids.get(function_id)
    if definition_id is None:
        return None
    with suppress(NotFound):
        return api_pb2.Function.FromString((await tx.functions.get_definition(definition_id)).payload)
    return None


def _differing(old: api_pb2.Function, new: api_pb2.Function) -> Mapping[str, tuple[str, str]]:
    names = {field.name for message in (old, new) for field, _ in message.ListFields()} - _NOT_SETTINGS
    return {name: (_text(old, name), _text(new, name)) for name in sorted(names) if getattr(old, name) != getattr(new, name)}


def _text(message: api_pb2.Function, name: str) -> str:
    value = getattr(message, name)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    words = " ".join(str(value).split()) if not isinstance(value, str) else value
    return (words if len(words) <= _LONGEST else words[:_LONGEST] + "…") or "not set"


async def _files(tx: Transaction, message: api_pb2.Function) -> Mapping[str, str]:
    """Path → digest of what its mounts show."""
    found: dict[str, str] = {}
    for mount_id in message.mount_ids:
        with suppress(NotFound):
            found |= {file.path: file.digest for file in (await tx.mounts.get(MountId(mount_id))).tree.files}
    return found


def _changed_files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    signs = {path: "+" if path not in old else "-" if path not in new else "~" for path in {*old, *new} if old.get(path) != new.get(path)}
    lines = [f"{sign} {path}" for path, sign in sorted(signs.items())]
    more = len(lines) - _MOST_FILES
    return lines[:_MOST_FILES] + ([f"… and {more} more"] if more > 0 else [])


def _name(tag: str) -> str:
    return tag.removesuffix(".*")
