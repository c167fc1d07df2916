"""Mounts as what an image adds: `modal.Mount.from_local_file("a")` is `.add_local_file("a", "/a")` of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import libcst as cst

from modal_compat.migration import calls
from modal_compat.migration.reading import Reading, attribute_of, keyword, text

Addition = tuple[str, tuple[cst.Arg, ...]]  # the method and its arguments
_FROM = {
    "Mount.from_local_file": "add_local_file",
    "Mount.from_local_dir": "add_local_dir",
    "Mount.from_local_python_packages": "add_local_python_source",
}
_MORE = ("add_local_file", "add_local_dir")
_TRUE = cst.Name("True")


class Unclear(Exception):
    """Why only a person can say what it is to be."""


def added(image: cst.BaseExpression, additions: Sequence[Addition], *, copy: bool = False) -> cst.BaseExpression:
    for method, args in additions:
        image = calls.method(image, method, (*args, calls.named("copy", _TRUE)) if copy else args)
    return image


def additions_of(reading: Reading, mounts: cst.BaseExpression) -> list[Addition]:
    """Of a list of mounts. Raises Unclear."""
    if not isinstance(mounts, (cst.List, cst.Tuple)):
        msg = "it is no list here"
        raise Unclear(msg)
    return [addition for element in mounts.elements for addition in of_mount(reading, element.value)]


def of_mount(reading: Reading, mount: cst.BaseExpression, seen: frozenset[str] = frozenset()) -> list[Addition]:
    """Of one mount: made here, made and added to, or assigned to a variable at the top. Raises Unclear."""
    if isinstance(mount, cst.Name) and mount.value in reading.assigned and mount.value not in seen:
        return of_mount(reading, reading.assigned[mount.value], seen | {mount.value})
    if isinstance(mount, cst.Call):
        if method := _FROM.get(reading.modal_name(mount.func)):
            return [(method, _args(method, mount))]
        if attribute_of(mount) in _MORE and isinstance(mount.func, cst.Attribute):
            method = attribute_of(mount)
            return [*of_mount(reading, mount.func.value, seen), (method, _args(method, mount))]
    msg = "where it comes from is not seen here"
    raise Unclear(msg)


def _args(method: str, mount: cst.Call) -> tuple[cst.Arg, ...]:
    if method == "add_local_python_source":
        _refuse(mount, "remote_dir", "condition")
        return tuple(mount.args)
    _refuse(mount, "recursive")
    given = [arg for arg in mount.args if not (arg.keyword and arg.keyword.value in ("remote_path", "condition"))]
    local, *more = given
    remote = keyword(mount, "remote_path") or (more[0] if more else None)
    condition = keyword(mount, "condition")
    return (
        local,
        calls.named("remote_path", place(local, remote.value if remote else None)),
        *([calls.named("ignore", _unless(condition.value))] if condition else ()),
    )


def _refuse(mount: cst.Call, *names: str) -> None:
    for name in names:
        if keyword(mount, name):
            msg = f"`{name}=` has no successor"
            raise Unclear(msg)


def place(local: cst.Arg, remote: cst.BaseExpression | None) -> cst.BaseExpression:
    """Where it goes, as an absolute path. Raises Unclear."""
    if remote is not None:
        written = text(remote)
        return remote if written is None or written.startswith("/") else calls.string(str(PurePosixPath("/", written)))
    written = text(local.value)
    if written is None:
        msg = "its `remote_path=` depends on what is not seen here"
        raise Unclear(msg)
    return calls.string(str(PurePosixPath("/", PurePosixPath(written).name)))


def _unless(condition: cst.BaseExpression) -> cst.BaseExpression:
    """`ignore=` for `condition=`, which is asked the opposite and of a string."""
    asked = cst.Call(
        condition
        if isinstance(condition, (cst.Name, cst.Attribute))
        else condition.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()]),
        [cst.Arg(cst.Call(cst.Name("str"), [cst.Arg(cst.Name("path"))]))],
    )
    return cst.Lambda(cst.Parameters([cst.Param(cst.Name("path"))]), cst.UnaryOperation(cst.Not(), asked))


def of_copy(reading: Reading, call: cst.Call) -> tuple[str, list[cst.Arg]]:
    """The successor of `image.copy_local_…(…)` and its arguments. Raises Unclear."""
    method = attribute_of(call).replace("copy_", "add_")
    remote = keyword(call, "remote_path") or next((arg for arg in call.args[1:] if not arg.keyword), None)
    target = _copied_to(reading, call.args[0], remote.value if remote else calls.string("."), is_file=method == "add_local_file")
    ignore = [arg for arg in call.args if arg.keyword and arg.keyword.value == "ignore"]
    return method, [call.args[0], calls.named("remote_path", target), *ignore, calls.named("copy", _TRUE)]


def _copied_to(reading: Reading, local: cst.Arg, remote: cst.BaseExpression, *, is_file: bool) -> cst.BaseExpression:
    written = text(remote)
    if written is None:
        return remote
    if not written.startswith("/") and reading.has_workdir:
        msg = "its target is relative to the image's working directory"
        raise Unclear(msg)
    target = str(PurePosixPath("/", written))
    is_folder = written.endswith(("/", ".")) or ("." in (text(local.value) or "") and "." not in PurePosixPath(target).name)
    return calls.string(target if not is_file or not is_folder else target.rstrip("/") + "/")
