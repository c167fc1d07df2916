"""Programs as their users write them, and what this modal makes of them."""

import importlib.util
import itertools
import re
import warnings
from dataclasses import dataclass
from typing import Any

import modal
import pytest
from modal._functions import _Function
from modal._utils.async_utils import synchronizer

import modal_compat
from modal_compat import telling

_numbers = itertools.count()


@dataclass(frozen=True)
class Outcome:
    declared: list[dict[str, Any]]  # what modal was told of each function
    result: Any  # the program's variable of that name
    warnings: list[str]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Imports a program, as a deploy does. Nothing is asked of a server."""
    modal_compat.install(modal)
    declared: list[dict[str, Any]] = []
    stock = _Function._from_local

    def from_local(*args: Any, **options: Any) -> Any:
        declared.append({name: plain(value) for name, value in options.items() if name != "app"})
        return stock(*args, **options)

    monkeypatch.setattr(_Function, "_from_local", staticmethod(from_local))
    for kind in (modal.Function, modal.Cls, modal.Dict, modal.Queue, modal.Secret, modal.Volume):
        monkeypatch.setattr(kind, "hydrate", lambda found, client=None: found)
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)

    def run(source: str) -> Outcome:
        declared.clear()
        telling.forget()
        path = tmp_path / f"program_{next(_numbers)}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(__import__("sys").modules, path.stem, module)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            spec.loader.exec_module(module)
        assert {each.filename for each in told if "is an old name" in str(each.message)} <= {str(path)}, "each names the program's own line"
        return Outcome(list(declared), plain(getattr(module, "result", None)), [str(each.message) for each in told])

    return run


def plain(value: Any) -> Any:
    """What can be compared: images by the files that they add, other objects by what they say of themselves."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    inner = synchronizer._translate_in(value)
    if isinstance(inner, modal._image._Image):
        return _files(inner)
    return repr(inner) if isinstance(inner, modal._object._Object) else value


def _files(image: Any) -> list[Any]:
    found: list[Any] = []
    for each in image._deps() if image._deps else ():
        if isinstance(each, modal._image._Image):
            found += _files(each)
        elif isinstance(each, modal.mount._Mount):
            found += [_entry(entry) for entry in each.entries]
    return [*found, re.sub(r" at 0x[0-9a-f]+", "", repr(image))]


def _entry(entry: Any) -> Any:
    return type(entry).__name__, {name: str(value) for name, value in vars(entry).items() if name not in ("ignore", "recursive")}
