"""`/predict_sync` of the iris model in this process: by ModalKit, and as one writes the same FastAPI app by hand."""

import os
import sys
from pathlib import Path
from typing import Any

import joblib
from fastapi import FastAPI

_FOLDER = Path(__file__).parent / "kit_flower"


def by_hand() -> FastAPI:
    sys.path.insert(0, str(_FOLDER))
    from flower import FlowerInput, FlowerOutput

    model = joblib.load(os.environ["MODEL"])
    app = FastAPI()

    @app.post("/predict_sync")
    def predict_sync(item: FlowerInput) -> FlowerOutput:
        return FlowerOutput(prediction=int(model.predict([item.features])[0]))

    return app


def by_modalkit() -> Any:
    sys.path.insert(0, str(_FOLDER))
    from modalkit.testing import TestClient

    return TestClient(_FOLDER / "app.py").app
