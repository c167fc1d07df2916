"""A class whose state is worth a snapshot: a second of preparation, and a model."""

import time
from pathlib import Path

import modal

MODEL = Path(__file__).parents[2] / "examples" / "iris" / "iris_model.pkl" if modal.is_local() else Path("/root/iris_model.pkl")

image = (
    modal.Image.debian_slim()
    .pip_install("scikit-learn==1.9.1", "joblib==1.6.0", "numpy==2.4.6")
    .add_local_file(MODEL, "/root/iris_model.pkl")
)
app = modal.App("bench-snapshot", image=image)


@app.cls(enable_memory_snapshot=True)
class Snapshot:
    @modal.enter(snap=True)
    def prepare(self) -> None:
        import joblib

        time.sleep(1)
        self.model = joblib.load("/root/iris_model.pkl")

    @modal.method()
    def predict(self, number: int) -> int:
        return int(self.model.predict([[5.1, 3.5, 1.4, 0.2]])[0]) + number
