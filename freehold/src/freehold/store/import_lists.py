"""Which modules starts have imported from their image's packages, as files: `<home>/imports/<image id>.<app id>.json`."""

import json
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

log = structlog.get_logger()

_MOST_FILES = 200  # those of the newest starts are kept
_MOST_FUNCTIONS = 100  # of one app


class ImportLists:
    """A file holds `{"functions": {function id: [module, …]}}`, each list in the order in which modules were imported first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = anyio.Lock()

    async def of(self, image_id: str, app_id: str) -> Sequence[str]:
        """All that the app's functions import over this image, in an order in which it can be imported."""
        lists = await anyio.to_thread.run_sync(_read, self._file(image_id, app_id))
        return list(dict.fromkeys(module for modules in lists.values() for module in modules))

    async def put(self, image_id: str, app_id: str, function_id: str, modules: Sequence[str], *, more: bool = False) -> None:
        """What the last start of this function has imported; with `more`, beside what is known of it."""
        async with self._lock:
            await anyio.to_thread.run_sync(_put, self._file(image_id, app_id), function_id, list(modules), more)

    def _file(self, image_id: str, app_id: str) -> Path:
        return self._folder / f"{image_id}.{app_id}.json"


def _read(file: Path) -> dict[str, list[str]]:
    try:
        functions = json.loads(file.read_text())["functions"]
        return {str(name): [str(module) for module in modules] for name, modules in functions.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _put(file: Path, function_id: str, modules: list[str], more: bool) -> None:
    """It is a cache: one that cannot be written is made up for by the next start."""
    lists = _read(file)
    known = lists.get(function_id, [])
    wanted = list(dict.fromkeys((*known, *modules))) if more else modules
    try:
        if wanted == known and file.exists():
            file.touch()
            return
        lists.pop(function_id, None)
        lists[function_id] = wanted
        _write(file, dict(list(lists.items())[-_MOST_FUNCTIONS:]))
    except OSError as error:
        log.warning("imports_not_kept", file=file.name, why=str(error))


def _write(file: Path, lists: dict[str, list[str]]) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"functions": lists}))
    fresh.replace(file)
    files = sorted(file.parent.glob("*.json"), key=lambda other: other.stat().st_mtime, reverse=True)
    for old in files[_MOST_FILES:]:
        old.unlink(missing_ok=True)
