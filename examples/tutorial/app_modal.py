# This replaces everything above:

import modal

app = modal.App("iris-classifier")

@app.function(
    image=modal.Image.debian_slim().pip_install("scikit-learn", "joblib", "numpy"),
    mounts=[modal.Mount.from_local_file("iris_model.pkl", remote_path="/root/iris_model.pkl")]
)
@modal.web_endpoint(method="POST")
def predict(item: dict):
    import joblib
    import numpy as np

    model = joblib.load("/root/iris_model.pkl")
    features = np.array(item["features"]).reshape(1, -1)
    prediction = model.predict(features)[0]

    class_names = ["setosa", "versicolor", "virginica"]
    return {
        "prediction": int(prediction),
        "class_name": class_names[prediction]
    }
