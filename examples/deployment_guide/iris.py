"""The model of the guide's app: iris flowers by scikit-learn."""

from pathlib import Path
from typing import Any

from pydantic import Field

from modalkit.inference_pipeline import InferencePipeline
from modalkit.iomodel import AsyncInputModel, InputModel, OutputModel

CLASS_NAMES = ["setosa", "versicolor", "virginica"]


class MyInput(InputModel, strict=True):
    """One flower: sepal length and width, petal length and width, in centimetres."""

    features: list[float] = Field(min_length=4, max_length=4)


class MyOutput(OutputModel):
    """What the flower is."""

    prediction: int
    class_name: str


MyAsyncInput = AsyncInputModel[MyInput]


class MyInference(InferencePipeline):
    def __init__(
        self, model_name: str, all_model_data_folder: str, common_settings: dict[str, Any], *, weights: str = "iris.joblib"
    ) -> None:
        import joblib

        super().__init__(model_name, all_model_data_folder, common_settings)
        self.model = joblib.load(Path(all_model_data_folder) / weights)

    def preprocess(self, inputs: list[MyInput]) -> Any:
        import numpy as np

        return np.array([item.features for item in inputs])

    def predict(self, data: Any) -> Any:
        return self.model.predict(data)

    def postprocess(self, raw: Any) -> list[MyOutput]:
        return [MyOutput(prediction=int(label), class_name=CLASS_NAMES[label]) for label in raw]
