"""The YAML source of settings, and errors that say file, line and the nearest valid key."""

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, YamlConfigSettingsSource

from modalkit._yaml import Document, Loc, read
from modalkit.errors import ConfigError

CONFIG_VARIABLE = "MODALKIT_CONFIG"

# The guide's word for a setting and today's word of the SDK; one of both may be given.
SYNONYMS = {
    "concurrency_limit": "max_containers",
    "container_idle_timeout": "scaledown_window",
    "keep_warm": "min_containers",
    "allow_concurrent_inputs": "max_inputs",
    "allow_concurrent_inputs_handler": "handler_max_inputs",
}


class YamlSource(YamlConfigSettingsSource):
    """The files of `MODALKIT_CONFIG`, else `model_config["yaml_file"]`, merged: later wins, mappings are merged key by key."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        self.documents = [read(path) for path in config_files(settings_cls)]
        if faults := [fault for document in self.documents for fault in _unknown_keys(document, settings_cls)]:
            raise ConfigError("\n".join(faults))
        merged: dict[str, Any] = {}
        for document in self.documents:
            merged = merge(merged, in_todays_words(document.data, settings_cls))
        # Not its parent's constructor, which reads the file itself and forgets where things stand.
        InitSettingsSource.__init__(self, settings_cls, {key: value for key, value in merged.items() if value is not None})


def config_files(settings_cls: type[BaseSettings]) -> list[Path]:
    """The YAML files in order, the later one stronger."""
    if named := os.environ.get(CONFIG_VARIABLE, "").strip():
        return [Path(name.strip()) for name in named.split(",") if name.strip()]
    given: Any = settings_cls.model_config.get("yaml_file")
    if given is None:
        return []
    return [_found(Path(given))] if isinstance(given, (str, Path)) else [_found(Path(each)) for each in given]


def _found(path: Path) -> Path:
    """A file of the current folder, or beside the app: `modal deploy folder/app.py` puts that folder first on the path."""
    beside = Path(sys.path[0] if sys.path else "") / path
    return beside if not path.exists() and beside.exists() else path


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `over` says; lists are replaced, mappings merged."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def in_todays_words(data: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The same with every synonym under its successor's name."""
    words, keys = getattr(model, "SYNONYMS", {}), _keys_of(model)
    return {
        words.get(key, key): in_todays_words(value, inner) if isinstance(value, dict) and (inner := _section(keys.get(key))) else value
        for key, value in data.items()
    }


def explain(error: ValidationError, documents: Sequence[Document], settings_cls: type[BaseModel]) -> str:
    """One line for each fault: where it stands, what is wrong, what was given."""
    return "\n".join(_explain_one(fault, documents, settings_cls) for fault in error.errors())


def _explain_one(fault: Any, documents: Sequence[Document], settings_cls: type[BaseModel]) -> str:
    loc = tuple(fault["loc"])
    key, where = ".".join(map(str, loc)), _where(loc, documents)
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}{_nearest(str(loc[-1]), _valid_keys(settings_cls, loc[:-1]))}"
    given = "" if isinstance(fault["input"], dict) else f" (given: {fault['input']!r})"
    return f"{where}: {key}: {fault['msg'].removeprefix('Value error, ')}{given}"


def _where(loc: Loc, documents: Sequence[Document]) -> str:
    for document in reversed(documents):
        for known in (loc, *_by_other_words(loc)):
            if document.has(known):
                return document.where(known)
        if len(loc) > 1 and document.has(loc[:-1]):
            return document.where(loc[:-1])
    return "environment or arguments" if not documents else documents[-1].where(loc)


def _by_other_words(loc: Loc) -> list[Loc]:
    """The same place under the guide's word for the key."""
    return [(*loc[:i], old, *loc[i + 1 :]) for i, part in enumerate(loc) for old, new in SYNONYMS.items() if new == part]


def _unknown_keys(document: Document, model: type[BaseModel]) -> list[str]:
    return list(_unknown_below(document, document.data, model, ()))


def _unknown_below(document: Document, data: Any, model: type[BaseModel], loc: Loc) -> Any:
    if not isinstance(data, dict):
        return
    valid = _keys_of(model)
    for old, new in getattr(model, "SYNONYMS", {}).items():
        if old in data and new in data:
            first, second = document.where((*loc, old)), document.where((*loc, new))
            yield f"{second}: {new!r} says the same as {old!r} ({first}): keep one of them"
    for key, value in data.items():
        at = (*loc, str(key))
        if key not in valid:
            yield f"{document.where(at)}: unknown key {'.'.join(map(str, at))!r}{_nearest(str(key), valid)}"
        elif inner := _section(valid[key]):
            yield from _unknown_below(document, value, inner, at)


def _keys_of(model: type[BaseModel]) -> dict[str, Any]:
    keys: dict[str, Any] = {name: field.annotation for name, field in model.model_fields.items()}
    return keys | {old: keys[new] for old, new in getattr(model, "SYNONYMS", {}).items()}


def _section(annotation: Any) -> type[BaseModel] | None:
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel) and annotation is each:
            return each
    return None


def _valid_keys(model: type[BaseModel], loc: Loc) -> dict[str, Any]:
    for part in loc:
        inner = _section(_keys_of(model).get(str(part)))
        if inner is None:
            return {}
        model = inner
    return _keys_of(model)


def _nearest(key: str, valid: dict[str, Any]) -> str:
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    if near:
        return f": did you mean {near[0]!r}?"
    return f"; known here: {', '.join(sorted(valid))}" if valid else ""
