"""Endpoints that are started from nothing."""

from pathlib import Path

import modal

MODEL = Path(__file__).parents[2] / "examples" / "iris" / "iris_model.pkl" if modal.is_local() else Path("/root/iris_model.pkl")

app = modal.App("bench-cold")
iris_image = (
    modal.Image.debian_slim()
    .pip_install("scikit-learn==1.9.1", "joblib==1.6.0", "numpy==2.4.6")
    .add_local_file(MODEL, "/root/iris_model.pkl")
)


@app.function(image=modal.Image.debian_slim())
@modal.fastapi_endpoint()
def endpoint() -> dict:
    return {"ok": True}


@app.function(image=iris_image)
@modal.fastapi_endpoint(method="POST")
def iris(item: dict) -> dict:
    import joblib

    model = joblib.load("/root/iris_model.pkl")
    return {"prediction": int(model.predict([item["features"]])[0])}
