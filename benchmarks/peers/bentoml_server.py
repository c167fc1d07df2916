"""The iris model on BentoML, with an async API in the process that serves HTTP."""

import os

import bentoml
import joblib


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False}, traffic={"timeout": 30})
class Flower:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(route="/predict")
    async def predict(self, features: list[float]) -> dict:
        return {"prediction": int(self.model.predict([features])[0])}
