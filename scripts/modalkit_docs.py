"""The reference pages of ModalKit: its YAML from `modalkit.settings`, its Python API from the public modules, its commands from click."""

import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import modalkit
from modalkit._sources import variable_of
from modalkit.cli import cli
from modalkit.settings import Settings

UNITS = ("milliseconds", "seconds", "bytes", "MiB", "cores")
KINDS = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything", type(None): ""}
WITHOUT = {"cli"}  # public modules with a page of their own


def yaml_page(note: str) -> str:
    sections = "\n".join(_section(model, loc) for model, loc in _sections(Settings, ()))
    return f"""# modalkit.yaml

{note}

Unknown keys are errors; `modalkit check` names each with its line and the nearest valid key, and `modalkit check --schema` prints a JSON Schema for
editors. Every key may also be said by the environment variable beside it, in `.env`, or in a later file of `MODALKIT_CONFIG=a.yaml,b.yaml`; mappings
are merged key by key. The first that speaks wins: arguments of `Settings(…)`, the environment, `.env`, the YAML files, files of a secrets directory.
In the environment, lists and mappings are JSON. Where two words are given for a key, either may be used, and both at once is an error.

{sections}"""


def api_page(note: str) -> str:
    modules = [each.name for each in pkgutil.iter_modules(modalkit.__path__) if not each.name.startswith("_") and each.name not in WITHOUT]
    return f"""# ModalKit's Python API

{note}

Everything else in the package begins with an underscore and may change at any time.

{"".join(_module(name) for name in modules)}"""


def commands_page(note: str) -> str:
    sections = "\n".join(_command(name, command) for name, command in cli.commands.items())
    return f"""# The modalkit command

{note}

{sections}"""


def _sections(model: type[BaseModel], loc: tuple[str, ...]) -> Iterator[tuple[type[BaseModel], tuple[str, ...]]]:
    """Every section, each before those within it."""
    if loc:
        yield model, loc
    for name, field in model.model_fields.items():
        for inner, suffix in _models_in(field.annotation):
            yield from _sections(inner, (*loc, name + suffix))


def _models_in(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix
        return
    inside = {list: "[]", tuple: "[]", dict: ".<name>"}.get(get_origin(annotation), "")
    for each in get_args(annotation):
        yield from _models_in(each, suffix + inside)


def _section(model: type[BaseModel], loc: tuple[str, ...]) -> str:
    rows = [_row(name, field, model, loc) for name, field in model.model_fields.items() if not _is_section(field)]
    table = _table(("key", "what it is", "default", "what it says", "environment"), rows)
    return f"## {'.'.join(loc)}\n\n{inspect.getdoc(model)}\n\n{table}"


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _row(name: str, field: FieldInfo, model: type[BaseModel], loc: tuple[str, ...]) -> str:
    old = [each for each, new in getattr(model, "SYNONYMS", {}).items() if new == name]
    keys = " or ".join(f"`{each}`" for each in (name, *old))
    in_list = any(not part.replace("_", "").isalnum() for part in loc)
    variable = "" if in_list else f"`{variable_of((*loc, name), Settings)}`"
    return f"| {keys} | {_kind(field)} | {_default(field)} | {_cell(field.description or '')} | {variable} |"


def _kind(field: FieldInfo) -> str:
    words = _type_words(field.annotation) + _bounds(field)
    numbers = {int, float} & set(_leaves(field.annotation))
    unit = next((unit for unit in UNITS if re.search(rf"\b{unit}\b", field.description or "", re.IGNORECASE)), "")
    return f"{words}, {unit}" if unit and numbers else words


def _type_words(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(filter(None, map(_type_words, args)))
    if origin in (list, tuple, dict):
        return _collection_words(origin, args)
    if origin is Literal:
        return " · ".join(f"`{each}`" for each in args)
    if args:  # Annotated
        return _type_words(args[0])
    if isinstance(annotation, type) and issubclass(annotation, (BaseModel, Enum)):
        return f"`{annotation.__name__}`" if annotation.__module__ != Settings.__module__ else "section"
    return KINDS.get(annotation, "anything")


def _collection_words(origin: Any, args: tuple[Any, ...]) -> str:
    if origin is dict:
        return f"mapping to {_type_words(args[1])}" if args[1] is not Any else "mapping"
    if origin is list or args[-1] is Ellipsis:
        return f"list of {_type_words(args[0])}"
    return f"[{', '.join(map(_type_words, args))}]"


def _leaves(annotation: Any) -> Iterator[Any]:
    if not get_args(annotation):
        yield annotation
    for each in get_args(annotation):
        yield from _leaves(each)


def _bounds(field: FieldInfo) -> str:
    low = high = ""
    for each in field.metadata:
        if isinstance(each, annotated_types.Ge):
            low = f"from {each.ge}"
        elif isinstance(each, annotated_types.Gt):
            low = f"above {each.gt}"
        elif isinstance(each, annotated_types.Le):
            high = f"to {each.le}"
        elif isinstance(each, annotated_types.Lt):
            high = f"below {each.lt}"
    return "".join(f" {part}" for part in (low, high) if part)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
    if value is None or value is PydanticUndefined or value in ("", [], {}, ()) or isinstance(value, BaseModel):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _table(headings: tuple[str, ...], rows: list[str]) -> str:
    if not rows:
        return ""
    return "\n".join([f"| {' | '.join(headings)} |", "|" + "---|" * len(headings), *rows, ""])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _module(name: str) -> str:
    module = importlib.import_module(f"modalkit.{name}")
    own = getattr(module, "__all__", None) or [key for key, each in vars(module).items() if _is_own(key, each, module)]
    members = "".join(_member(key, getattr(module, key)) for key in own)
    return f"## modalkit.{name}\n\n{inspect.getdoc(module)}\n\n{members}"


def _is_own(name: str, member: Any, module: Any) -> bool:
    is_kind = inspect.isclass(member) or inspect.isfunction(member)
    return is_kind and not name.startswith("_") and getattr(member, "__module__", "") == module.__name__ and not _is_of_the_yaml(member)


def _is_of_the_yaml(member: Any) -> bool:
    return inspect.isclass(member) and member is not Settings and member.__module__ == Settings.__module__


def _member(name: str, member: Any) -> str:
    doc = inspect.cleandoc(member.__doc__) if member.__doc__ else ""
    head = f"### {name}{_bases(member)}\n\n"
    if not inspect.isclass(member):
        return f"{head}    {name}{_signature(member)}\n\n{doc}\n\n"
    if issubclass(member, BaseModel):
        return f"{head}{doc}\n\n{_fields(member)}"
    if issubclass(member, Enum):
        return f"{head}{doc}\n\n{' · '.join(f'`{each.value}`' for each in member)}\n\n"
    constructor = f"    {name}{_signature(member)}\n\n" if "__init__" in vars(member) or hasattr(member, "__dataclass_fields__") else ""
    parts = [_method(key, each) for key, each in vars(member).items() if not key.startswith("_")]
    methods = "".join(parts) + "\n" if any(parts) else ""
    return f"{head}{constructor}{doc}\n\n{methods}"


def _bases(member: Any) -> str:
    if not inspect.isclass(member):
        return ""
    names = [base.__name__ for base in member.__bases__ if base is not object and not base.__name__.startswith("_")]
    return f" ({', '.join(names)})" if names else ""


def _fields(model: type[BaseModel]) -> str:
    own = vars(model).get("__annotations__", {})
    rows = [f"| `{name}` | {_kind(each)} | {_default(each)} |" for name, each in model.model_fields.items() if name in own]
    return _table(("field", "what it is", "default"), rows) + "\n" if rows else ""


def _method(name: str, member: Any) -> str:
    function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
    if isinstance(function, property) or type(function).__name__ == "cached_property":
        getter = function.fget if isinstance(function, property) else function.func
        return f"- `{name}`: {_one_paragraph(getter)}\n"
    raw = getattr(function, "raw_f", None) or function  # a method under one of modal's decorators
    if not inspect.isfunction(raw) or not raw.__doc__:
        return ""
    return f"- `{name}{_signature(raw)}`: {_one_paragraph(raw)}\n"


def _one_paragraph(member: Any) -> str:
    return " ".join((inspect.getdoc(member) or "").split())


def _signature(member: Any) -> str:
    try:
        signature = inspect.signature(member)
    except (TypeError, ValueError):
        return "(…)"
    parameters = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    text = str(signature.replace(parameters=parameters))
    return re.sub(r"(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"modalkit {name}")
    rows = [_option(each) for each in command.params if isinstance(each, click.Option)]
    table = _table(("option", "default", "what"), rows)
    usage = " ".join(command.collect_usage_pieces(context))
    return f"## modalkit {name}\n\n    modalkit {name} {usage}\n\n{inspect.cleandoc(command.help or '')}\n\n{table}"


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    default = (
        "" if option.default in (None, "", (), False, 0) or repr(option.default).startswith("Sentinel") else f"`{option.default}`".lower()
    )
    return f"| {names} | {default} | {_cell(option.help or '')} |"
