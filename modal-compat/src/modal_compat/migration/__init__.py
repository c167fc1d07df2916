"""Rewrites a program to today's names, leaving every other character as it was. Needs libcst (the extra `migrate`)."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import libcst
from libcst.metadata import MetadataWrapper

from modal_compat.migration.reading import Left, Reading
from modal_compat.migration.rewriting import Rewriting


@dataclass(frozen=True)
class Migration:
    before: str
    after: str
    left: tuple[Left, ...]  # what a person must decide

    def diff(self, name: str) -> str:
        """As `diff -u` prints it; empty where nothing changes."""
        lines = (self.before.splitlines(keepends=True), self.after.splitlines(keepends=True))
        return "".join(difflib.unified_diff(*lines, fromfile=name, tofile=name))


def migrate(source: str) -> Migration:
    """Raises SyntaxError for what is no Python."""
    try:
        program = MetadataWrapper(libcst.parse_module(source))
    except libcst.ParserSyntaxError as error:
        raise SyntaxError(str(error)) from error
    reading = Reading(program)
    program.visit(reading)
    rewriting = Rewriting(reading)
    after = program.visit(rewriting)
    return Migration(source, after.code, tuple(sorted(reading.left, key=lambda left: left.line)))
