"""What can be known of a service class without running it: its models, its default, and what its pipeline takes."""

import difflib
import inspect
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

from modalkit.errors import InferenceError
from modalkit.settings import Settings


def default_model(app_cls: Any) -> str:
    """The default of `model_name`; empty for a class without that parameter, or where that has none."""
    given = getattr(app_cls, "model_name", "")
    default = getattr(given, "default", given)
    return default if isinstance(default, str) else ""


def has_model_parameter(app_cls: Any) -> bool:
    """Whether `model_name` is a `modal.parameter`: whether each model has containers of its own."""
    return hasattr(getattr(app_cls, "model_name", ""), "default")


def streams(app_cls: Any) -> bool:
    """Whether the pipeline answers piece by piece, so that its class has other methods for the engine."""
    return callable(getattr(app_cls.inference_implementation, "stream", None))


def input_type(app_cls: Any) -> Any:
    """The type of one input, from the hints of the pipeline's first step; None where they say nothing."""
    pipeline = getattr(app_cls, "inference_implementation", None)
    for name in ("preprocess", "predict"):
        step = getattr(pipeline, name, None)
        if step is not None and (found := _item_type(step)) is not None:
            return found
    return None


class Catalogue:
    """The names of an app's models. `may_use` tells of each whether who asks now may use it."""

    def __init__(self, app_cls: Any, settings: Settings, may_use: Callable[[str], bool] = lambda _: True) -> None:
        self._may_use = may_use
        self.default = default_model(app_cls)
        entries = settings.model_settings.model_entries
        self.names: tuple[str, ...] = tuple(entries) or (self.default,)
        self.is_shared = settings.model_settings.share_containers

    @property
    def visible(self) -> tuple[str, ...]:
        """The models that this caller may use."""
        return tuple(filter(self._may_use, self.names))

    def choose(self, name: str | None) -> str:
        """The model of a request. Raises InferenceError: 403 for a model that this caller may not use, 404 for a name that is not in the catalogue."""
        chosen = name or self.default
        if not self._may_use(chosen):
            msg = f"This API key may not use model {chosen!r}."
            raise InferenceError(msg, status=403, kind="forbidden")
        if chosen in self.names:
            return chosen
        near = difflib.get_close_matches(chosen, self.names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.names)}."
        msg = f"There is no model {chosen!r}; {hint}" if chosen else f"Name a model by model_name; {hint}"
        raise InferenceError(msg, status=404, kind="unknown_model")


def _item_type(step: Any) -> Any:
    hints = _hints(step)
    for parameter in list(inspect.signature(step).parameters)[1:2]:  # after self
        hint = hints.get(parameter)
        if get_origin(hint) is list and (args := get_args(hint)) and _is_concrete(args[0]):
            return args[0]
    return None


def _hints(step: Any) -> dict[str, Any]:
    try:
        return get_type_hints(step)
    except (NameError, TypeError):  # names that only a type checker sees
        return {}


def _is_concrete(hint: Any) -> bool:
    return hint is not Any and (isinstance(hint, type) or get_origin(hint) in (Union, types.UnionType, list, dict, tuple))
