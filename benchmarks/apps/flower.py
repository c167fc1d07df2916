"""The iris endpoint as one would write it for load: an async route, the model loaded once."""

from pathlib import Path

import modal

MODEL = Path(__file__).parents[2] / "build" / "bench_model.pkl" if modal.is_local() else Path("/root/model.pkl")

image = (
    modal.Image.debian_slim().pip_install("scikit-learn==1.9.1", "joblib==1.6.0", "numpy==2.4.6").add_local_file(MODEL, "/root/model.pkl")
)
app = modal.App("bench-flower", image=image)


@app.cls(max_containers=1, scaledown_window=600)
@modal.concurrent(max_inputs=100)
class Flower:
    @modal.enter()
    def load(self) -> None:
        import joblib

        self.model = joblib.load("/root/model.pkl")

    @modal.fastapi_endpoint(method="POST")
    async def predict(self, item: dict) -> dict:
        return {"prediction": int(self.model.predict([item["features"]])[0])}
