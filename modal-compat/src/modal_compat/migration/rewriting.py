"""The rewriting itself: what each old name becomes, where that can be said from the program's text."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from modal_compat import names
from modal_compat.migration import calls, mounts
from modal_compat.migration.reading import Reading, attribute_of, keyword, module_of, text

_DECORATORS = ("function", "cls")
_HOOKS = {"__enter__": "enter", "__aenter__": "enter", "__exit__": "exit", "__aexit__": "exit"}
_HOOK_NAMES = {name.old: name for name in (names.ENTER, names.AENTER, names.EXIT, names.AEXIT)}
_SUCCESSORS = {  # parts of modal that only have another name
    **{name.old.removeprefix("modal."): name.successor for name in (names.STUB, names.WEB_ENDPOINT)},
    "build": "enter",
    "NetworkFileSystem": "Volume",
}
_LOOKUPS = {name.old.removeprefix("modal."): name for name in names.LOOKUPS}
_COPIES = {name.bare: name for name in (names.COPY_LOCAL_FILE, names.COPY_LOCAL_DIR)}
_GONE = ("Mount", "gpu")  # after which nothing is called any more


class Rewriting(cst.CSTTransformer):
    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self._reading = reading
        self._wanted: set[str] = set()  # of modal, by programs that import its parts
        self._mounts: set[str] = set()  # variables that nobody reads any more

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        method = attribute_of(original_node)
        if method in (*_DECORATORS, "with_options"):
            return self._decorator(original_node, updated_node)
        if method == "run_function":
            return self._run_function(original_node, updated_node)
        if method == "copy_mount":
            return self._copy_mount(original_node, updated_node)
        if method in _COPIES:
            return self._copy(original_node, updated_node)
        if method == "keep_warm":
            return _keep_warm(updated_node)
        return self._modals(original_node, updated_node)

    def _modals(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        """Calls of modal's own functions."""
        name = self._reading.modal_name(original.func)
        if name in ("App", "Stub") and original in self._reading.of_stub:
            self._leave(original, names.STUB_VARIABLE, "other files may import it")
        if name.startswith("gpu."):
            return self._gpu(original, updated)
        if name in ("App", "Stub") and keyword(original, "mounts"):
            self._leave(original, names.MOUNTS, "each function's image must add them")
        if name in _LOOKUPS:
            return calls.without(updated, "namespace", "workspace")
        if name in ("web_endpoint", "asgi_app", "wsgi_app"):
            return calls.without(updated, "wait_for_response")
        return calls.without(updated, "force", "timeout") if name == "build" else updated

    def _decorator(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        """@app.function, @app.cls and with_options. What becomes another decorator is for the function or class to see to."""
        for old, name in names.RENAMED.items():
            updated = _with_least_window(calls.renamed(updated, old, name.successor), name)
        if any(keyword(original, old) for old in names.DROPPED):
            updated = calls.without(updated, *names.DROPPED)
        updated = self._mounted(original, self._with_volumes(original, updated))
        inputs = keyword(original, "allow_concurrent_inputs")
        if inputs and attribute_of(original) == "with_options":
            return _with_concurrency(updated, inputs)
        return updated

    def _mounted(self, original: cst.Call, updated: cst.Call) -> cst.Call:
        additions = self._mounts_of(original, updated)
        if additions is None:
            return updated
        if not additions:
            return calls.without(updated, "mounts")
        image = keyword(updated, "image")
        value = mounts.added(image.value if image else self._default_image(), additions)
        changed = calls.with_value(updated, "image", value, instead_of="mounts")
        return calls.without(changed, "mounts")

    def _mounts_of(self, original: cst.Call, updated: cst.Call) -> list[mounts.Addition] | None:
        """What its `mounts` add; None where it is to stay as it is: it has none, or only a person can tell."""
        given = keyword(original, "mounts")
        if not given or not isinstance(updated.func, cst.Attribute):
            return None
        try:
            additions = mounts.additions_of(self._reading, given.value)
        except mounts.Unclear as why:
            self._leave(original, names.MOUNTS, str(why))
            return None
        self._note_unread(given.value)
        return additions

    def _default_image(self) -> cst.BaseExpression:
        if self._reading.app_image is not None:
            return self._reading.app_image
        return calls.method(self._modal("Image"), "debian_slim", ())

    def _run_function(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        additions = self._mounts_of(original, updated)
        if additions is None:
            return updated
        assert isinstance(updated.func, cst.Attribute)
        image = mounts.added(updated.func.value, additions, copy=True)
        return calls.without(updated.with_changes(func=updated.func.with_changes(value=image)), "mounts")

    def _copy_mount(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        mount, *rest = original.args
        if rest and text(rest[0].value) not in ("/", ".", "./"):
            self._leave(original, names.COPY_MOUNT, "its folder must be put before that of each file")
            return updated
        try:
            additions = mounts.of_mount(self._reading, mount.value)
        except mounts.Unclear as why:
            self._leave(original, names.COPY_MOUNT, str(why))
            return updated
        self._note_unread(mount.value)
        assert isinstance(updated.func, cst.Attribute)
        return mounts.added(updated.func.value, additions, copy=True)

    def _copy(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        try:
            method, args = mounts.of_copy(self._reading, original)
        except mounts.Unclear as why:
            self._leave(original, _COPIES[attribute_of(original)], str(why))
            return updated
        assert isinstance(updated.func, cst.Attribute)
        return updated.with_changes(func=updated.func.with_changes(attr=cst.Name(method)), args=calls.plain(args))

    def _note_unread(self, given: cst.BaseExpression) -> None:
        elements = [element.value for element in given.elements] if isinstance(given, (cst.List, cst.Tuple)) else [given]
        self._mounts |= {element.value for element in elements if isinstance(element, cst.Name)}

    def _with_volumes(self, original: cst.Call, updated: cst.Call) -> cst.Call:
        systems = keyword(updated, "network_file_systems")
        if not systems:
            return updated
        volumes = keyword(updated, "volumes")
        if not volumes:
            return calls.renamed(updated, "network_file_systems", "volumes")
        if not isinstance(systems.value, cst.Dict) or not isinstance(volumes.value, cst.Dict):
            self._leave(original, names.NETWORK_FILE_SYSTEMS, "it and `volumes=` are to be one")
            return updated
        both = volumes.value.with_changes(elements=[*volumes.value.elements, *systems.value.elements])
        return calls.without(calls.with_value(updated, "volumes", both), "network_file_systems")

    def _gpu(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        kind = self._reading.modal_name(original.func).partition(".")[2]
        size, count = keyword(updated, "size"), keyword(updated, "count") or next((arg for arg in updated.args if not arg.keyword), None)
        named_size = text(size.value) if size else None
        if kind not in names.GPU_TYPES or (size and named_size is None) or len(updated.args) > bool(size) + bool(count):
            self._leave(original, names.GPU, "what it asks for is not seen here")
            return updated
        number = count.value if count else cst.Integer("1")
        if isinstance(number, cst.Integer):
            return calls.string(names.gpu(kind, int(number.evaluated_value), named_size))
        start = cst.FormattedStringText(names.gpu(kind, size=named_size) + ":")
        return cst.FormattedString([start, cst.FormattedStringExpression(number)], start='f"', end='"')

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        name = self._reading.modal_name(original_node)
        if name in _SUCCESSORS and isinstance(updated_node.value, cst.Name):
            return updated_node.with_changes(attr=cst.Name(_SUCCESSORS[name]))
        if name in _LOOKUPS:
            return updated_node.with_changes(attr=cst.Name("from_name"))
        if name.removesuffix(".aio") in _LOOKUPS:
            self._leave(original_node, _LOOKUPS[name.removesuffix(".aio")], "`from_name` is not awaited")
        if original_node.attr.value == names.WEB_URL.bare and self._reading.modal:
            self._leave(original_node, names.WEB_URL, "whether it is a function's is not seen here")
        return updated_node

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        """Parts of modal that were imported by their own name."""
        name = self._reading.modal_name(original_node)
        if name in _SUCCESSORS and original_node.value == name and name in self._reading.imported:
            return cst.Name(_SUCCESSORS[name])
        return updated_node

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return updated_node.with_changes(keyword=original_node.keyword)  # which is nobody's name

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        del node
        return False

    def leave_ImportFrom(self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom) -> cst.ImportFrom | cst.RemovalSentinel:
        if isinstance(updated_node.names, cst.ImportStar):
            return updated_node
        module = module_of(original_node)
        if module == "modal.gpu":
            return cst.RemoveFromParent()
        if module != "modal":
            return updated_node
        kept: dict[str, cst.ImportAlias] = {}
        for alias in updated_node.names:
            new = _SUCCESSORS.get(alias.evaluated_name, alias.evaluated_name)
            if new not in _GONE:
                kept.setdefault(alias.evaluated_alias or new, alias.with_changes(name=cst.Name(new)))
        return _importing(updated_node, list(kept.values())) if kept else cst.RemoveFromParent()

    def leave_Import(self, original_node: cst.Import, updated_node: cst.Import) -> cst.Import:
        del original_node
        aliases = [
            alias.with_changes(name=cst.Name("modal")) if alias.evaluated_name == "modal.gpu" and not alias.asname else alias
            for alias in updated_node.names
        ]
        return updated_node.with_changes(names=aliases)

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        del original_node
        return updated_node.with_changes(decorators=self._decorators(updated_node.decorators))

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        changed = updated_node.with_changes(decorators=self._decorators(updated_node.decorators))
        if not any(isinstance(each.decorator, cst.Call) and attribute_of(each.decorator) == "cls" for each in original_node.decorators):
            return changed
        if not isinstance(changed.body, cst.IndentedBlock):
            return changed
        taken = {item.name.value for item in changed.body.body if isinstance(item, cst.FunctionDef)}
        body = [self._hook(item, taken) for item in changed.body.body]
        return changed.with_changes(body=changed.body.with_changes(body=body))

    def _hook(self, item: cst.BaseStatement, taken: set[str]) -> cst.BaseStatement:
        if not isinstance(item, cst.FunctionDef) or item.name.value not in _HOOKS:
            return item
        kind = _HOOKS[item.name.value]
        decorator = cst.Decorator(cst.Call(self._modal(kind)))
        changed = item.with_changes(decorators=[*item.decorators, decorator], name=cst.Name(kind if kind not in taken else f"at_{kind}"))
        return _without_unused(changed) if kind == "exit" else changed

    def _decorators(self, decorators: Sequence[cst.Decorator]) -> list[cst.Decorator]:
        """With `@modal.concurrent` below what had `allow_concurrent_inputs=`, and what enters a container once."""
        result: list[cst.Decorator] = []
        for each in decorators:
            call = each.decorator
            inputs = keyword(call, "allow_concurrent_inputs") if isinstance(call, cst.Call) else None
            if isinstance(call, cst.Call) and inputs:
                result.append(each.with_changes(decorator=calls.without(call, "allow_concurrent_inputs")))
                result.append(cst.Decorator(cst.Call(self._modal("concurrent"), [calls.named("max_inputs", inputs.value)])))
            elif not any(each.decorator.deep_equals(other.decorator) for other in result):
                result.append(each)
        return result

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        del original_node
        body = [self._importing_wanted(line) for line in updated_node.body if not self._is_unread(line, updated_node)]
        return updated_node.with_changes(body=body)

    def _is_unread(self, line: cst.BaseStatement | cst.SimpleStatementLine, program: cst.Module) -> bool:
        """A mount that was assigned for the calls that have its files themselves now."""
        if not isinstance(line, cst.SimpleStatementLine) or not isinstance(line.body[0], cst.Assign):
            return False
        target = line.body[0].targets[0].target
        return isinstance(target, cst.Name) and target.value in self._mounts and _count(program, target.value) == 1

    def _importing_wanted(self, line: cst.BaseStatement | cst.SimpleStatementLine) -> cst.BaseStatement | cst.SimpleStatementLine:
        if not isinstance(line, cst.SimpleStatementLine) or not self._wanted:
            return line
        first = line.body[0]
        if not isinstance(first, cst.ImportFrom) or module_of(first) != "modal" or isinstance(first.names, cst.ImportStar):
            return line
        there = {alias.evaluated_name for alias in first.names}
        more = [cst.ImportAlias(cst.Name(name)) for name in sorted(self._wanted - there)]
        self._wanted.clear()
        return line.with_changes(body=[_importing(first, [*first.names, *more]), *line.body[1:]])

    def _modal(self, name: str) -> cst.BaseExpression:
        """A part of modal, as this program calls it."""
        if self._reading.modal:
            return cst.Attribute(cst.Name(self._reading.modal), cst.Name(name))
        self._wanted.add(name)
        return cst.Name(name)

    def _leave(self, node: cst.CSTNode, name: names.OldName, why: str) -> None:
        self._reading.leave_to_person(node, name, why)


def _importing(statement: cst.ImportFrom, aliases: Sequence[cst.ImportAlias]) -> cst.ImportFrom:
    """What ends a list in parentheses may be a comma; elsewhere it must not."""
    *others, last = aliases
    others = [alias if isinstance(alias.comma, cst.Comma) else alias.with_changes(comma=_COMMA) for alias in others]
    if not statement.lpar:
        last = last.with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return statement.with_changes(names=[*others, last])


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def _with_least_window(call: cst.Call, name: names.OldName) -> cst.Call:
    window = keyword(call, name.successor)
    if name is not names.IDLE_TIMEOUT or not window or not isinstance(window.value, cst.Integer):
        return call
    least = max(int(window.value.evaluated_value), names.LEAST_WINDOW)
    return calls.with_value(call, name.successor, cst.Integer(str(least)))


def _with_concurrency(call: cst.Call, inputs: cst.Arg) -> cst.Call:
    changed = calls.without(call, "allow_concurrent_inputs")
    assert isinstance(changed.func, cst.Attribute)
    value = changed if changed.args else changed.func.value
    return calls.method(value, "with_concurrency", [calls.named("max_inputs", inputs.value)])


def _keep_warm(call: cst.Call) -> cst.BaseExpression:
    if not call.args or not isinstance(call.func, cst.Attribute):
        return call
    manager = cst.Attribute(call.func.value, cst.Name("autoscaler"))
    return calls.method(manager, "update", [calls.named("min_containers", call.args[0].value)])


def _without_unused(function: cst.FunctionDef) -> cst.FunctionDef:
    """An exit hook has no parameters but `self`; what reads them still gets None."""
    me, *others = function.params.params
    star = function.params.star_arg
    names_ = [param.name.value for param in (*others, *([star] if isinstance(star, cst.Param) else []))]
    if any(_count(function.body, name) for name in names_):
        return function
    return function.with_changes(params=cst.Parameters([me.with_changes(comma=cst.MaybeSentinel.DEFAULT)]))


def _count(node: cst.CSTNode, name: str) -> int:
    found = _Names(name)
    node.visit(found)
    return found.count


class _Names(cst.CSTVisitor):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.count = 0

    def visit_Name(self, node: cst.Name) -> None:
        self.count += node.value == self._name
