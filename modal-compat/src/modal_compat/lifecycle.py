"""Classes whose `__enter__` and `__exit__` were what containers ran at their start and end."""

from __future__ import annotations

from typing import Any, Callable

from modal_compat import names
from modal_compat.insides import inner
from modal_compat.telling import tell

_HOOKS = {"enter": (names.AENTER, names.ENTER), "exit": (names.AEXIT, names.EXIT)}


def with_hooks(modal: Any, decorated: Any) -> Any:
    """The class, or what `@modal.concurrent` and the like made of it, with hooks for what it has of the old kind."""
    user_class = _class_of(modal, decorated)
    for kind, old in _HOOKS.items() if user_class else ():
        found = next((name for name in old if _function(user_class, name.old)), None)
        if found:
            tell(found)
            setattr(user_class, f"_old_{kind}", getattr(modal, kind)()(_hook(modal, user_class, found)))
    return decorated


def _class_of(modal: Any, decorated: Any) -> Any:
    if isinstance(decorated, type):
        return decorated
    if not isinstance(decorated, modal.partial_function.PartialFunction):
        return None
    return getattr(inner(decorated), "user_cls", None)


def _function(user_class: Any, name: str) -> Callable[..., Any] | None:
    found = next((vars(parent)[name] for parent in user_class.__mro__ if name in vars(parent)), None)
    return found if callable(found) else None


def _hook(modal: Any, user_class: Any, name: names.OldName) -> Callable[[Any], Any]:
    function = _function(user_class, name.old)
    is_exit = name in _HOOKS["exit"]

    def hook(instance: Any) -> Any:
        """In containers only: of an instance on this machine, modal itself runs them."""
        if modal.is_local() or function is None:
            return None
        return function(instance, None, None, None) if is_exit else function(instance)

    hook.__name__ = hook.__qualname__ = name.bare
    return hook
