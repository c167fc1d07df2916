"""YAML files with the line of every value, so that each error can say where."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from modalkit.errors import ConfigError

Loc = tuple[str | int, ...]


class Document:
    """One file: its `data`, and where each part of it stands."""

    def __init__(self, path: Path, data: dict[str, Any], lines: dict[Loc, int]) -> None:
        self.path = path
        self.data = data
        self._lines = lines

    def where(self, loc: Loc) -> str:
        """`file:line` of a value, or of what it would be in."""
        while loc and loc not in self._lines:
            loc = loc[:-1]
        return f"{self.path}:{self._lines.get(loc, 1)}"

    def has(self, loc: Loc) -> bool:
        return loc in self._lines


def read(path: Path) -> Document:
    """Raises ConfigError: no such file, not YAML, a key given twice, or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: is not UTF-8 text"
        raise ConfigError(msg) from error
    return parse(text, path)


@lru_cache(maxsize=8)  # settings are asked for more than once, and PyYAML takes milliseconds
def parse(text: str, path: Path) -> Document:
    """As `read`, of text that is already here. Nobody changes what a document holds."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = {} if root is None else yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or "is not YAML"
        if problem.startswith("expected <block end>"):
            problem = f"the indentation of this line fits none of those above ({problem})"
        msg = f"{path}:{line}: {problem}"
        raise ConfigError(msg) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        msg = f"{path}: is not YAML: {error}"
        raise ConfigError(msg) from error
    except RecursionError as error:
        raise _too_deep(path) from error
    if not isinstance(data, dict):
        msg = f"{path}:1: holds {type(data).__name__}; a mapping with app_settings and model_settings belongs here"
        raise ConfigError(msg)
    lines: dict[Loc, int] = {}
    try:
        if root is not None:
            _note_lines(root, (), lines, path)
    except RecursionError as error:
        raise _too_deep(path) from error
    return Document(path, data, lines)


def _too_deep(path: Path) -> ConfigError:
    return ConfigError(f"{path}: is nested too deeply, or within itself")


def _note_lines(node: yaml.Node, loc: Loc, lines: dict[Loc, int], path: Path) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            at = (*loc, str(key.value))
            if at in lines:
                msg = f"{path}:{key.start_mark.line + 1}: {key.value!r} is given twice, first in line {lines[at]}"
                raise ConfigError(msg)
            lines[at] = key.start_mark.line + 1
            _note_lines(value, at, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*loc, index), lines, path)
