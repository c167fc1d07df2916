"""Changing the arguments of a call without disturbing how it is laid out."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst


def without(call: cst.Call, *names: str) -> cst.Call:
    """Without these keywords. What now comes last ends as the last one did."""
    kept = [arg for arg in call.args if not (arg.keyword and arg.keyword.value in names)]
    if kept and call.args[-1] is not kept[-1]:
        kept[-1] = _ending_as(kept[-1], call.args[-1])
    changed = call.with_changes(args=kept)
    return changed if kept else changed.with_changes(whitespace_before_args=cst.SimpleWhitespace(""))


def _ending_as(arg: cst.Arg, last: cst.Arg) -> cst.Arg:
    """With the comma and the line's end of the last one, and its own comment."""
    changed = arg.with_changes(comma=last.comma, whitespace_after_arg=last.whitespace_after_arg)
    space, end = (each.comma.whitespace_after if isinstance(each.comma, cst.Comma) else None for each in (arg, last))
    if not isinstance(space, cst.ParenthesizedWhitespace) or not isinstance(end, cst.ParenthesizedWhitespace):
        return changed
    return changed.with_changes(comma=cst.Comma(whitespace_after=end.with_changes(first_line=space.first_line)))


def renamed(call: cst.Call, old: str, new: str) -> cst.Call:
    return call.with_changes(args=[_renamed(arg, old, new) for arg in call.args])


def _renamed(arg: cst.Arg, old: str, new: str) -> cst.Arg:
    return arg.with_changes(keyword=cst.Name(new)) if arg.keyword and arg.keyword.value == old else arg


def with_value(call: cst.Call, name: str, value: cst.BaseExpression, *, instead_of: str = "") -> cst.Call:
    """With this keyword: where it is, else in the place of another one, else at the end."""
    for place in (name, instead_of):
        if any(arg.keyword and arg.keyword.value == place for arg in call.args):
            replaced = [
                arg.with_changes(keyword=cst.Name(name), value=value) if arg.keyword and arg.keyword.value == place else arg
                for arg in call.args
            ]
            return call.with_changes(args=replaced)
    return call.with_changes(args=[*call.args, named(name, value)])


def named(name: str, value: cst.BaseExpression) -> cst.Arg:
    return cst.Arg(value, keyword=cst.Name(name), equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")))


def plain(args: Sequence[cst.Arg]) -> list[cst.Arg]:
    """As they stand in a call on one line."""
    return [arg.with_changes(comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=cst.SimpleWhitespace("")) for arg in args]


def method(value: cst.BaseExpression, name: str, args: Sequence[cst.Arg]) -> cst.Call:
    """`value.name(args)`."""
    return cst.Call(cst.Attribute(_atom(value), cst.Name(name)), plain(args))


def _atom(value: cst.BaseExpression) -> cst.BaseExpression:
    if value.lpar or isinstance(value, (cst.Name, cst.Attribute, cst.Call, cst.Subscript)):
        return value
    return value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def string(value: str) -> cst.SimpleString:
    return cst.SimpleString('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')
