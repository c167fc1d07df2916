"""Serves the model that train.py wrote: `freehold deploy app.py`, then POST four measurements of a flower."""

from pathlib import Path

import modal

app = modal.App("iris-classifier")

# The versions that trained the model: a pickle is read by what wrote it.
image = (
    modal.Image.debian_slim()
    .pip_install("scikit-learn==1.9.1", "joblib==1.6.0", "numpy==2.4.6")
    .add_local_file(Path(__file__).with_name("iris_model.pkl"), "/root/iris_model.pkl")
)


@app.function(image=image)
@modal.fastapi_endpoint(method="POST")
def predict(item: dict) -> dict:
    import joblib
    import numpy as np

    model = joblib.load("/root/iris_model.pkl")
    features = np.array(item["features"]).reshape(1, -1)
    prediction = model.predict(features)[0]

    class_names = ["setosa", "versicolor", "virginica"]
    return {"prediction": int(prediction), "class_name": class_names[prediction]}
