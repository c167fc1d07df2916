"""Whether the models' entries are what the pipeline's constructor takes."""

import inspect
from collections.abc import Sequence
from typing import Any

from modalkit._sources import nearest
from modalkit._yaml import Document
from modalkit.inference_pipeline import InferencePipeline

GIVEN = ("model_name", "all_model_data_folder", "common_settings")  # by the service itself
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def pipeline_faults(pipeline: Any) -> list[str]:
    """A pipeline that could not answer anything."""
    predict = getattr(pipeline, "predict", None)
    if callable(predict) and predict is not InferencePipeline.predict:
        return []
    return [f"{pipeline.__module__}: {pipeline.__name__} has no predict()"]


def entry_faults(pipeline: Any, name: str, entry: dict[str, Any], documents: Sequence[Document]) -> list[str]:
    """Keywords of an entry that the constructor does not know, and those that it needs and nobody gives."""
    parameters = inspect.signature(pipeline).parameters
    takes = {key: each for key, each in parameters.items() if each.kind in _BY_NAME}
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    unknown = [] if takes_any else [key for key in entry if key not in takes]
    missing = [key for key, each in takes.items() if each.default is inspect.Parameter.empty and key not in entry and key not in GIVEN]
    free = [key for key in takes if key not in entry and key not in GIVEN]
    return [
        f"{_place(name, key, documents)}: model {name!r}: {pipeline.__name__} takes no {key!r}{nearest(key, free)}" for key in unknown
    ] + [f"{_place(name, None, documents)}: model {name!r} gives no {key!r}, which {pipeline.__name__} needs" for key in missing]


def _place(name: str, key: str | None, documents: Sequence[Document]) -> str:
    at = ("model_settings", "model_entries", name, *([key] if key else []))
    found = [each for each in reversed(documents) if each.has(at)]
    return found[0].where(at) if found else ".".join(at)
