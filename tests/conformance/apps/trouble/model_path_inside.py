"""Opens a model file where it is not."""

import pickle

import modal

app = modal.App("trouble-model-path-inside")


@app.function()
def predict() -> None:
    with open("/root/iris_model.pkl", "rb") as file:
        pickle.load(file)
