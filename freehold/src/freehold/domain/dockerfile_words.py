"""The text level of Dockerfiles: logical lines, words, quotes and variables. What commands mean is `dockerfile.py`'s business."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from freehold.domain.errors import InvalidRequest

_HEREDOC = re.compile(r"""(?:^|\s)\d*<<(?P<strip>-?)(?P<quote>['"]?)(?P<name>[A-Za-z_]\w*)(?P=quote)(?=\s|$)""")
_NAME = re.compile(r"[A-Za-z_]\w*")
_SUBSTITUTION = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:(?P<rule>:?[-+?])(?P<word>.*))?", re.DOTALL)
_MULTILINE_VALUES = "ENV"  # the client writes `ENV KEY='…'` with whatever the value holds, newlines too
_HEREDOC_COMMANDS = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    name: str
    body: str
    literal: str  # as written, terminator included, for a shell that reads it itself


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalLine:
    """One command: continuation lines joined, comments gone, here-documents set apart."""

    command: str  # upper case
    rest: str
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.command} {self.rest}".strip()


def logical_lines(commands: Iterable[str]) -> Iterator[LogicalLine]:
    """The commands of a Dockerfile, given as its lines or as texts of several lines."""
    lines = iter("\n".join(commands).split("\n"))
    for line in lines:
        if _is_skipped(line):
            continue
        joined = _with_continuations(line, lines)
        command, *rest = joined.split(maxsplit=1)
        yield _logical_line(command.upper(), "".join(rest), lines)


def _logical_line(command: str, rest: str, following: Iterator[str]) -> LogicalLine:
    if command == _MULTILINE_VALUES:
        while _open_quote(rest) and (line := next(following, None)) is not None:
            rest = f"{rest}\n{line}"
    rest = rest.strip()  # now that all quotes are closed: a value may begin with an empty line
    if command not in _HEREDOC_COMMANDS:
        return LogicalLine(command=command, rest=rest)
    heredocs = tuple(_heredoc(found, following) for found in _HEREDOC.finditer(rest))
    return LogicalLine(command=command, rest=rest, heredocs=heredocs)


def _is_skipped(line: str) -> bool:
    text = line.strip()
    return not text or text.startswith("#")


def _with_continuations(line: str, following: Iterator[str]) -> str:
    joined = line
    while joined.rstrip().endswith("\\"):
        joined = joined.rstrip()[:-1]
        joined += next((line for line in following if not _is_skipped(line)), "")
    return joined


def _heredoc(found: re.Match[str], following: Iterator[str]) -> Heredoc:
    name = found["name"]
    raw: list[str] = []
    for line in following:
        stripped = line.lstrip("\t") if found["strip"] else line
        if stripped == name:
            body = "\n".join(part.lstrip("\t") if found["strip"] else part for part in raw)
            return Heredoc(name=name, body=body, literal="\n".join([*raw, line]))
        raw.append(line)
    msg = f"The here-document <<{name} has no end: add a line with only {name} after it."
    raise InvalidRequest(msg)


def split_words(text: str) -> list[str]:
    """Words separated by blanks outside quotes; quotes and backslashes are kept for `expand_word`."""
    words: list[str] = []
    word = ""
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'" and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            continue
        quote = _quote_after(quote, character)
        if character.isspace() and not quote:
            if word:
                words.append(word)
            word = ""
        else:
            word += character
        position += 1
    return [*words, word] if word else words


def _quote_after(quote: str, character: str) -> str:
    if character not in "'\"":
        return quote
    if not quote:
        return character
    return "" if character == quote else quote


def _open_quote(text: str) -> bool:
    quote = ""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        else:
            quote = _quote_after(quote, character)
    return bool(quote)


def expand_word(word: str, variables: Mapping[str, str]) -> str:
    """The word without its quotes and with `$NAME`, `${NAME}`, `${NAME:-x}`, `${NAME:+x}`, `${NAME:?x}` replaced."""
    return _Expansion(word, variables).result()


class _Expansion:
    """One pass over a word, by the rules of the shell: nothing is special in single quotes, `$` and backslash are in double ones."""

    def __init__(self, word: str, variables: Mapping[str, str]) -> None:
        self._word = word
        self._variables = variables
        self._position = 0
        self._out: list[str] = []
        self._in_double = False

    def result(self) -> str:
        special: Mapping[str, Callable[[], None]] = {"'": self._single, '"': self._double, "\\": self._escape, "$": self._variable}
        while self._position < len(self._word):
            character = self._word[self._position]
            self._position += 1
            special.get(character, lambda plain=character: self._out.append(plain))()
        if self._in_double:
            raise self._refusal(why="a double quote is not closed")
        return "".join(self._out)

    def _single(self) -> None:
        if self._in_double:
            self._out.append("'")
            return
        end = self._word.find("'", self._position)
        if end < 0:
            raise self._refusal(why="a single quote is not closed")
        self._out.append(self._word[self._position : end])
        self._position = end + 1

    def _double(self) -> None:
        self._in_double = not self._in_double

    def _escape(self) -> None:
        character = self._word[self._position : self._position + 1]
        self._position += 1
        kept = self._in_double and character not in ('"', "$", "\\")
        self._out.append("\\" + character if kept or not character else character)

    def _variable(self) -> None:
        if self._word.startswith("{", self._position):
            self._braced()
            return
        name = _NAME.match(self._word, self._position)
        if name is None:
            self._out.append("$")
            return
        self._position = name.end()
        self._out.append(self._variables.get(name[0], ""))

    def _braced(self) -> None:
        end = self._closing_brace(self._position + 1)
        inside = self._word[self._position + 1 : end]
        self._position = end + 1
        parts = _SUBSTITUTION.fullmatch(inside)
        if parts is None:
            raise self._refusal(why=f"${{{inside}}} is no substitution that Dockerfiles know")
        self._out.append(self._substituted(parts))

    def _substituted(self, parts: re.Match[str]) -> str:
        value = self._variables.get(parts["name"])
        rule = parts["rule"] or ""
        is_set = bool(value) if rule.startswith(":") else value is not None
        other = parts["word"] or ""
        match rule[-1:]:
            case "-" if not is_set:
                return expand_word(other, self._variables)
            case "+":
                return expand_word(other, self._variables) if is_set else ""
            case "?" if not is_set:
                raise self._refusal(why=f"{parts['name']} is not set: {other or 'give it a value'}")
            case _:
                return value or ""
        return value or ""

    def _closing_brace(self, position: int) -> int:
        depth = 1
        while position < len(self._word):
            depth += {"{": 1, "}": -1}.get(self._word[position], 0)
            if depth == 0:
                return position
            position += 1
        raise self._refusal(why="a '{' is not closed")

    def _refusal(self, *, why: str) -> InvalidRequest:
        msg = f"Cannot read {self._word[:200]!r} in a Dockerfile command: {why}."
        return InvalidRequest(msg)
