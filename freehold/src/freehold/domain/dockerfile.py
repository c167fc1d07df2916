"""Dockerfile commands as typed steps. Reading only: what a step does to an image is decided where images are built."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from freehold.domain.dockerfile_words import LogicalLine, expand_word, logical_lines, split_words
from freehold.domain.errors import InvalidRequest, NotSupported

Variables: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    text: str
    reference: str
    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`command` is a line for the image's shell, or the argv of the exec form."""

    text: str
    command: str | tuple[str, ...]
    ignored: tuple[str, ...] = ()  # options that change nothing here


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """COPY and ADD. `source` is a stage, an earlier image or a reference; empty means the build's context."""

    text: str
    patterns: tuple[str, ...]
    destination: str
    source: str = ""
    chmod: str = ""
    chown: str = ""
    unpacks: bool = False  # ADD: local tar archives are unpacked


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    text: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg:
    text: str
    name: str
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir:
    text: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    text: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint:
    text: str
    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd:
    text: str
    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    text: str
    argv: tuple[str, ...]


Step: TypeAlias = From | Run | Copy | Env | Arg | Workdir | User | Entrypoint | Cmd | Shell

_WITHOUT_EFFECT = frozenset({"LABEL", "EXPOSE", "VOLUME", "STOPSIGNAL", "MAINTAINER", "HEALTHCHECK"})
_ENV_KEY = re.compile(r"^[A-Za-z_][\w.-]*$")


def parse(commands: Iterable[str]) -> tuple[Step, ...]:
    """The steps, variables not yet replaced: their values are known only while building (`expanded`)."""
    return tuple(step for line in logical_lines(commands) for step in _steps_of(line))


def expanded(step: Step, variables: Variables) -> Step:
    """The step with variables replaced and quotes gone, where Dockerfiles do that. RUN, CMD and ENTRYPOINT leave it to a shell."""

    def word(text: str) -> str:
        return expand_word(text, variables)

    changes: dict[str, Any] = {}
    match step:
        case From(reference=reference):
            changes = {"reference": word(reference)}
        case Copy():
            changes = _copy_changes(step, word)
        case Env(pairs=pairs):
            changes = {"pairs": tuple((key, word(value)) for key, value in pairs)}
        case Arg(default=str(default)):
            changes = {"default": word(default)}
        case Workdir(path=path):
            changes = {"path": word(path)}
        case User(user=user):
            changes = {"user": word(user)}
    return replace(step, **changes)


def _copy_changes(step: Copy, word: Callable[[str], str]) -> dict[str, Any]:
    return {
        "patterns": tuple(_inside_context(word(pattern)) for pattern in step.patterns),
        "destination": word(step.destination),
        "source": word(step.source),
        "chmod": word(step.chmod),
        "chown": word(step.chown),
    }


def _steps_of(line: LogicalLine) -> tuple[Step, ...]:
    if line.command in _WITHOUT_EFFECT:
        return ()
    reader = _READERS.get(line.command)
    if reader is None:
        raise _refused_command(line)
    if not line.rest:
        msg = f"{line.command} needs something after it."
        raise InvalidRequest(msg)
    return reader(line)


def _refused_command(line: LogicalLine) -> InvalidRequest | NotSupported:
    if line.command == "ONBUILD":
        msg = "ONBUILD is not supported: put its command into the image that is built from this one."
        return NotSupported(msg)
    known = ", ".join(sorted([*_READERS, *_WITHOUT_EFFECT]))
    msg = f"Unknown Dockerfile command {line.command[:100]!r}. Known are: {known}."
    return InvalidRequest(msg)


def _from(line: LogicalLine) -> tuple[Step, ...]:
    _, rest = _options(line.rest)
    match rest.split():
        case [reference]:
            return (From(text=line.text, reference=reference),)
        case [reference, keyword, alias] if keyword.upper() == "AS":
            return (From(text=line.text, reference=reference, alias=alias.lower()),)
        case _:
            msg = f"Write FROM as `FROM image` or `FROM image AS name`, not {line.text[:200]!r}."
            raise InvalidRequest(msg)


def _run(line: LogicalLine) -> tuple[Step, ...]:
    options, rest = _options(line.rest)
    ignored = tuple(f"--{name}={value}" for name, value in options.items())
    return (Run(text=line.text, command=_with_heredocs(line, rest), ignored=ignored),)


def _with_heredocs(line: LogicalLine, rest: str) -> str | tuple[str, ...]:
    if not line.heredocs:
        return _command(rest)
    first = line.heredocs[0]
    alone = re.fullmatch(r"""<<-?['"]?\w+['"]?""", rest) is not None
    if alone and first.body.startswith("#!"):
        msg = "A RUN here-document with a '#!' line is not supported: write `RUN python <<EOF` instead."
        raise NotSupported(msg)
    if alone:
        return first.body
    return "\n".join([rest, *(heredoc.literal for heredoc in line.heredocs)])


def _copy(line: LogicalLine) -> tuple[Step, ...]:
    options, rest = _options(line.rest)
    if line.heredocs:
        msg = f"{line.command} with a here-document is not supported: write the file with `RUN cat > file <<EOF`."
        raise NotSupported(msg)
    unknown = sorted(set(options) - {"from", "chown", "chmod", "link"})
    if unknown:
        msg = f"{line.command} does not know --{unknown[0]} here. Known are --from, --chown, --chmod and --link."
        raise NotSupported(msg)
    words = _json_words(rest) or tuple(rest.split())
    if len(words) < 2:  # noqa: PLR2004 — a source and a destination
        msg = f"{line.command} needs a source and a destination: {line.text[:200]!r}."
        raise InvalidRequest(msg)
    if any("://" in word or word.startswith("git@") for word in words[:-1]):
        msg = f"{line.command} does not download. Use `RUN curl -fsSL … -o …`, or add the file from your machine."
        raise NotSupported(msg)
    return (
        Copy(
            text=line.text,
            patterns=words[:-1],
            destination=words[-1],
            source=options.get("from", ""),
            chmod=options.get("chmod", ""),
            chown=options.get("chown", ""),
            unpacks=line.command == "ADD",
        ),
    )


def _inside_context(pattern: str) -> str:
    """The pattern relative to the context's root; a leading slash means that root, as in Docker."""
    if ".." in pattern.split("/") or "\0" in pattern:
        msg = f"{pattern[:200]!r} leaves the build context: COPY and ADD take paths without '..'."
        raise InvalidRequest(msg)
    return pattern.lstrip("/") or "."


def _env(line: LogicalLine) -> tuple[Step, ...]:
    words = split_words(line.rest)
    if "=" not in words[0]:
        key, _, value = line.rest.partition(" ")
        return (Env(text=line.text, pairs=((_checked_key(key, line), value.strip()),)),)
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            msg = f"ENV takes KEY=value pairs; {word[:100]!r} has no '='. Quote values that contain blanks."
            raise InvalidRequest(msg)
        pairs.append((_checked_key(key, line), value))
    return (Env(text=line.text, pairs=tuple(pairs)),)


def _checked_key(key: str, line: LogicalLine) -> str:
    bare = key.strip("\"'")
    if not _ENV_KEY.match(bare):
        msg = f"{bare[:100]!r} cannot be the name of a variable in {line.command}."
        raise InvalidRequest(msg)
    return bare


def _arg(line: LogicalLine) -> tuple[Step, ...]:
    steps = []
    for word in split_words(line.rest):
        name, equals, default = word.partition("=")
        steps.append(Arg(text=line.text, name=_checked_key(name, line), default=default if equals else None))
    return tuple(steps)


def _shell(line: LogicalLine) -> tuple[Step, ...]:
    argv = _json_words(line.rest)
    if not argv:
        msg = 'SHELL takes a JSON list, such as SHELL ["/bin/bash", "-c"].'
        raise InvalidRequest(msg)
    return (Shell(text=line.text, argv=argv),)


_READERS: Mapping[str, Callable[[LogicalLine], tuple[Step, ...]]] = {
    "FROM": _from,
    "RUN": _run,
    "COPY": _copy,
    "ADD": _copy,
    "ENV": _env,
    "ARG": _arg,
    "SHELL": _shell,
    "WORKDIR": lambda line: (Workdir(text=line.text, path=line.rest),),
    "USER": lambda line: (User(text=line.text, user=line.rest),),
    "ENTRYPOINT": lambda line: (Entrypoint(text=line.text, command=_command(line.rest)),),
    "CMD": lambda line: (Cmd(text=line.text, command=_command(line.rest)),),
}


def _command(rest: str) -> str | tuple[str, ...]:
    """The exec form where it is a JSON list of strings, else the shell form, as Docker decides."""
    argv = _json_words(rest)
    return rest if argv is None else argv


def _json_words(text: str) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError:
        return None
    return tuple(words) if all(isinstance(word, str) for word in words) else None


def _options(rest: str) -> tuple[dict[str, str], str]:
    """Leading `--name=value` words and what follows them."""
    options = {}
    while rest.startswith("--"):
        word, _, rest = rest.partition(" ")
        name, _, value = word[2:].partition("=")
        options[name] = value
        rest = rest.lstrip()
    return options, rest
