"""The iris model of the benchmarks in a ModalKit pipeline."""

from typing import Any

from modalkit.inference_pipeline import InferencePipeline
from modalkit.iomodel import InputModel, OutputModel


class FlowerInput(InputModel):
    features: list[float]


class FlowerOutput(OutputModel):
    prediction: int


class FlowerInference(InferencePipeline):
    def __init__(self, model_name: str, all_model_data_folder: str, common_settings: dict[str, Any], *, weights: str) -> None:
        import joblib

        super().__init__(model_name, all_model_data_folder, common_settings)
        self.model = joblib.load(f"{all_model_data_folder}/{weights}")

    def preprocess(self, inputs: list[FlowerInput]) -> list[list[float]]:
        return [item.features for item in inputs]

    def predict(self, data: list[list[float]]) -> Any:
        return self.model.predict(data)

    def postprocess(self, raw: Any) -> list[FlowerOutput]:
        return [FlowerOutput.model_construct(prediction=int(label)) for label in raw]
