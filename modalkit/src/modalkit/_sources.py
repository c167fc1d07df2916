"""The YAML source of settings, and errors that say file, line and the nearest valid key."""

import difflib
import os
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, YamlConfigSettingsSource

from modalkit._yaml import Document, Loc, read

CONFIG_VARIABLE = "MODALKIT_CONFIG"

# The guide's word for a setting and today's word of the SDK; one of both may be given.
SYNONYMS = {
    "concurrency_limit": "max_containers",
    "container_idle_timeout": "scaledown_window",
    "keep_warm": "min_containers",
    "allow_concurrent_inputs": "max_inputs",
    "allow_concurrent_inputs_handler": "handler_max_inputs",
}


_MAY_BE_SECRET = frozenset(
    {"headers", "env", "url", "idempotency_url", "options", "model_entries", "common"}
)  # values that no message repeats


class YamlSource(YamlConfigSettingsSource):
    """The files of `MODALKIT_CONFIG`, else `model_config["yaml_file"]`, merged: later wins, mappings are merged key by key.

    `faults` are the keys that nothing knows, and those that are said twice in two words; `Settings` tells them with all others.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        self.documents = [read(path) for path in config_files(settings_cls)]
        self.faults = [fault for document in self.documents for fault in _unknown_keys(document, settings_cls)]
        merged: dict[str, Any] = {}
        for document in self.documents:
            merged = merge(merged, in_todays_words(_known(document.data, settings_cls), settings_cls))
        # Not its parent's constructor, which reads the file itself and forgets where things stand.
        InitSettingsSource.__init__(self, settings_cls, {key: value for key, value in merged.items() if value is not None})


class InTodaysWords(PydanticBaseSettingsSource):
    """Another source with every synonym under its successor's name, so that it replaces what the YAML says in either word."""

    def __init__(self, source: PydanticBaseSettingsSource) -> None:
        super().__init__(source.settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        return in_todays_words(self._source(), self.settings_cls)


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
    """The same with every synonym under its successor's name, but where both are given: the model refuses that."""
    words = {old: new for old, new in getattr(model, "SYNONYMS", {}).items() if new not in data}
    keys = _keys_of(model)
    return {
        words.get(key, key): in_todays_words(value, inner) if isinstance(value, dict) and (inner := _section(keys.get(key))) else value
        for key, value in data.items()
    }


def explain(error: ValidationError, documents: Sequence[Document], settings_cls: type[BaseSettings]) -> list[str]:
    """One line for each fault: where it stands, what is wrong, what was given."""
    lines: dict[str, list[str]] = {}
    for fault in error.errors():
        start, words = _explain_one(fault, documents, settings_cls)
        lines.setdefault(start, []).append(words)  # a value of several types has a fault for each
    return [start + " or ".join(dict.fromkeys(words)) for start, words in lines.items()]


def unknown_names(arguments: Mapping[str, Any], settings_cls: type[BaseSettings]) -> list[str]:
    """The arguments that mean a section which there is not. Variables that do are told by `modalkit check`: a stray one stops no container."""
    valid = _keys_of(settings_cls)
    unknown = [name for name in arguments if name not in valid and not name.startswith("_")]
    return [f"arguments: unknown key {name!r}{nearest(name, valid)}" for name in unknown]


def in_order(faults: Iterable[str]) -> list[str]:
    """Each fault once, as its file has them from top to bottom."""

    def place(fault: str) -> tuple[str, int]:
        found = re.match(r"(.+?):(\d+): ", fault)
        return (found[1], int(found[2])) if found else ("", 0)

    return sorted(dict.fromkeys(faults), key=place)


def variable_of(loc: Loc, settings_cls: type[BaseSettings]) -> str:
    """The environment variable that says the same as a key of the file."""
    delimiter = str(settings_cls.model_config.get("env_nested_delimiter") or "__")
    return f"{settings_cls.model_config.get('env_prefix', '')}{delimiter.join(map(str, loc))}".upper()


def _explain_one(fault: Any, documents: Sequence[Document], settings_cls: type[BaseSettings]) -> tuple[str, str]:
    loc, kind = tuple(fault["loc"]), fault["type"]
    known, where = _found_at(loc, documents, settings_cls)
    key = ".".join(map(str, loc if kind in ("extra_forbidden", "missing") else known))
    if kind == "extra_forbidden":
        return f"{where}: unknown key {key!r}", nearest(str(loc[-1]), _valid_keys(settings_cls, loc[:-1]))
    words = "a mapping belongs here" if kind == "model_type" else fault["msg"].removeprefix("Value error, ")
    is_shown = not isinstance(fault["input"], dict) and _MAY_BE_SECRET.isdisjoint(loc)
    given = f" (given: {fault['input']!r})" if is_shown else ""
    return f"{where}: {key}: ", words + given


def _found_at(loc: Loc, documents: Sequence[Document], settings_cls: type[BaseSettings]) -> tuple[Loc, str]:
    """As much of a place as something says, in the words that say it, and what does: a variable, which is stronger, or a line of a file."""
    variables = _variables(settings_cls)
    for part in (loc[:end] for end in range(len(loc), 0, -1)):
        for known in (part, *_by_other_words(part)):
            if (name := variable_of(known, settings_cls)) in variables:
                return known, f"{variables[name]}: {name}"
            for document in reversed(documents):
                if document.has(known):
                    return known, document.where(known)
    return loc, documents[-1].where(loc) if documents else "environment or arguments"


def _variables(settings_cls: type[BaseSettings]) -> dict[str, str]:
    """The names of all environment variables, and where each is said."""
    env_file = settings_cls.model_config.get("env_file")
    in_file = dotenv_values(str(env_file)) if env_file and Path(str(env_file)).exists() else {}
    return {name.upper(): str(env_file) for name in in_file} | {name.upper(): "environment" for name in os.environ}


def _by_other_words(loc: Loc) -> list[Loc]:
    """The same place under the guide's word for the key."""
    return [(*loc[:i], old, *loc[i + 1 :]) for i, part in enumerate(loc) for old, new in SYNONYMS.items() if new == part]


def _unknown_keys(document: Document, model: type[BaseModel]) -> list[str]:
    return list(_unknown_below(document, document.data, model, ()))


def _unknown_below(document: Document, data: Any, model: type[BaseModel], loc: Loc) -> Iterator[str]:
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
            yield f"{document.where(at)}: unknown key {'.'.join(map(str, at))!r}{nearest(str(key), valid)}"
        elif inner := _section(valid[key]):
            yield from _unknown_below(document, value, inner, at)
        elif (inner := _section_of_each(valid[key])) and isinstance(value, dict):
            for name, each in value.items():
                yield from _unknown_below(document, each, inner, (*at, str(name)))


def _known(data: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """`data` without empty sections, and without keys whose faults are told by themselves: unknown ones, a synonym beside its successor."""
    valid = _keys_of(model)
    for old, new in getattr(model, "SYNONYMS", {}).items():
        if old in data and new in data:
            valid.pop(old)
    return {
        key: _known_below(value, valid[key]) for key, value in data.items() if key in valid and not (value is None and _section(valid[key]))
    }


def _known_below(value: Any, annotation: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if inner := _section(annotation):
        return _known(value, inner)
    if inner := _section_of_each(annotation):
        return {name: _known_below(each, inner) for name, each in value.items()}
    return value


def _keys_of(model: type[BaseModel]) -> dict[str, Any]:
    keys: dict[str, Any] = {name: field.annotation for name, field in model.model_fields.items()}
    return keys | {old: keys[new] for old, new in getattr(model, "SYNONYMS", {}).items()}


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, or may hold."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return next((each for each in members if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _section_of_each(annotation: Any) -> type[BaseModel] | None:
    """Of a mapping from names to sections: what each of them is."""
    return _section(get_args(annotation)[1]) if get_origin(annotation) is dict else None


def _valid_keys(model: type[BaseModel], loc: Loc) -> dict[str, Any]:
    """The keys of the section at a place; none where there is no section."""
    annotation: Any = model
    for part in loc:
        section = _section(annotation)
        annotation = _keys_of(section).get(str(part)) if section else next(iter(get_args(annotation)[1:]), None)
    found = _section(annotation)
    return _keys_of(found) if found else {}


def nearest(key: str, valid: Iterable[str]) -> str:
    """What a person may have meant, as the end of a sentence."""
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    if near:
        return f": did you mean {near[0]!r}?"
    return f"; known here: {', '.join(sorted(valid))}" if valid else ""
