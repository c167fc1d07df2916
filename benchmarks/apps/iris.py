"""The iris endpoint, with a stopwatch in it."""

import os
import time
from pathlib import Path

import modal
from stopwatch import process_started

MODEL = Path(__file__).parents[2] / "examples" / "iris" / "iris_model.pkl" if modal.is_local() else Path("/root/iris_model.pkl")

image = (
    modal.Image.debian_slim()
    .pip_install("scikit-learn==1.9.1", "joblib==1.6.0", "numpy==2.4.6")
    .add_local_file(MODEL, "/root/iris_model.pkl")
    .add_local_python_source("stopwatch")
)
app = modal.App("bench-iris", image=image)

with image.imports():
    import joblib


@app.cls(single_use_containers=True)
class Iris:
    @modal.enter()
    def load(self) -> None:
        self.model = joblib.load("/root/iris_model.pkl")
        self.entered = time.time()

    @modal.fastapi_endpoint(method="POST")
    def predict(self, item: dict) -> dict:
        return {
            "prediction": int(self.model.predict([item["features"]])[0]),
            "task_id": os.environ["MODAL_TASK_ID"],
            "process": process_started(),
            "imported": IMPORTED,
            "entered": self.entered,
        }


IMPORTED = time.time()
