"""The class that users write: from inputs to outputs, in three steps over lists.

    class Iris(InferencePipeline):
        def __init__(self, model_name, all_model_data_folder, common_settings, *, weights: str) -> None:
            super().__init__(model_name, all_model_data_folder, common_settings)
            self.model = joblib.load(Path(all_model_data_folder) / weights)

        def preprocess(self, inputs: list[IrisInput]) -> np.ndarray:
            return np.array([item.features for item in inputs])

        def predict(self, data: np.ndarray) -> np.ndarray:
            return self.model.predict(data)

        def postprocess(self, raw: np.ndarray) -> list[IrisOutput]:
            return [IrisOutput(prediction=int(label)) for label in raw]

Each step may be `async`. A step with two parameters is given the inputs first: `predict(inputs, data)`, `postprocess(inputs, raw)`.
Steps of one instance never run at the same time. A batch that fails is run again in halves, down to the one item that is at fault: steps
must not change what they are given. A plain class with `predict(items)`, which returns one output an item, is enough for simple models.
"""

from collections.abc import Iterable
from typing import Any

__all__ = ["InferencePipeline", "StreamingPipeline"]


class InferencePipeline:
    """One loaded model.

    `model_name` is its name in `model_settings.model_entries`; `all_model_data_folder` the folder of all models' files;
    `common_settings` is `model_settings.common`; the keys of the model's own entry arrive as further keyword arguments.
    An exception here makes the model not ready; the reason is shown by `GET /health/ready`.
    """

    def __init__(self, model_name: str, all_model_data_folder: str, common_settings: dict[str, Any], **model_entry: Any) -> None:
        self.model_name = model_name
        self.all_model_data_folder = all_model_data_folder
        self.common_settings = common_settings
        self.model_entry = model_entry

    def warmup(self) -> None:
        """Called once after loading, before the first request: compile, fill caches."""

    def preprocess(self, inputs: list[Any]) -> Any:
        """From the inputs of a batch to what `predict` takes; the inputs themselves unless overridden."""
        return inputs

    def predict(self, data: Any) -> Any:
        """The model's work for a batch."""
        raise NotImplementedError

    def postprocess(self, raw: Any) -> list[Any]:
        """From the work's result to one output for each input, in order; the result itself unless overridden."""
        return list(raw)

    def unload(self) -> None:
        """Called when the model leaves memory: evicted, replaced by newer weights, or its container ends."""


class StreamingPipeline(InferencePipeline):
    """A pipeline that can also answer one input piece by piece."""

    def stream(self, item: Any) -> Iterable[Any]:
        """The pieces of the answer to one input, each JSON or a pydantic model; a generator, which may be async."""
        raise NotImplementedError
