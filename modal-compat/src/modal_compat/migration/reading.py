"""What the rewriting must know of the whole program before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider, QualifiedNameProvider

from modal_compat.names import STUB_VARIABLE, OldName


@dataclass(frozen=True)
class Left:
    """An old name that stays, because only a person can say what it is to be."""

    line: int
    name: OldName
    why: str

    def __str__(self) -> str:
        return f"`{self.name.old}` stays: {self.why}. Write {self.name.new}."


class Reading(cst.CSTVisitor):
    """How modal is called here, which variables are mounts, and what stands where."""

    def __init__(self, program: MetadataWrapper) -> None:
        super().__init__()
        self._positions = program.resolve(PositionProvider)
        self._qualified = program.resolve(QualifiedNameProvider)
        self.modal = ""  # what the package is called, if it is imported as such
        self.imported: set[str] = set()  # from it, by the names that they have here
        self.assigned: dict[str, cst.BaseExpression] = {}  # to top-level variables
        self.of_stub: list[cst.BaseExpression] = []  # what a variable of that name is
        self.has_workdir = False
        self.app_image: cst.BaseExpression | None = None
        self.left: list[Left] = []
        self._depth = 0

    def visit_Import(self, node: cst.Import) -> None:
        for alias in node.names:
            if alias.evaluated_name.partition(".")[0] == "modal" and (alias.evaluated_name == "modal" or not alias.asname):
                self.modal = alias.evaluated_alias or "modal"

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if module_of(node) == "modal" and not isinstance(node.names, cst.ImportStar):
            self.imported |= {alias.evaluated_alias or alias.evaluated_name for alias in node.names}

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        del node
        self._depth += 1

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        del original_node
        self._depth -= 1

    def visit_Assign(self, node: cst.Assign) -> None:
        target = node.targets[0].target
        if self._depth == 0 and len(node.targets) == 1 and isinstance(target, cst.Name):
            self.assigned[target.value] = node.value
            self.of_stub += [node.value] if target.value == STUB_VARIABLE.old else []

    def visit_Call(self, node: cst.Call) -> None:
        if attribute_of(node) == "workdir":
            self.has_workdir = True
        if self.is_modal(node.func, "App", "Stub") and (image := keyword(node, "image")):
            self.app_image = image.value

    def is_modal(self, node: cst.CSTNode, *names: str) -> bool:
        """Whether it is this part of modal, under whatever name."""
        return bool(self.modal_name(node) in names)

    def modal_name(self, node: cst.CSTNode) -> str:
        """`Mount.from_local_file` for `modal.Mount.from_local_file`; empty for what is not modal's."""
        names: Any = self._qualified.get(node)
        for found in (names() if callable(names) else names) or ():  # libcst computes them when they are asked for
            if found.name.startswith("modal."):
                return str(found.name.removeprefix("modal."))
        return ""

    def leave_to_person(self, node: cst.CSTNode, name: OldName, why: str) -> None:
        left = Left(self._positions[node].start.line, name, why)
        if left not in self.left:
            self.left.append(left)


def module_of(node: cst.ImportFrom) -> str:
    return "" if node.module is None or node.relative else cst.Module([]).code_for_node(node.module)


def attribute_of(node: cst.Call) -> str:
    """`function` of `app.function(…)`."""
    return node.func.attr.value if isinstance(node.func, cst.Attribute) else ""


def keyword(node: cst.Call, name: str) -> cst.Arg | None:
    return next((arg for arg in node.args if arg.keyword and arg.keyword.value == name), None)


def text(node: cst.BaseExpression | None) -> str | None:
    """Of a literal string; of anything else nothing."""
    value = node.evaluated_value if isinstance(node, (cst.SimpleString, cst.ConcatenatedString)) else None
    return value if isinstance(value, str) else None
