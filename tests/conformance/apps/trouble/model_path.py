"""Names a model file that is not there."""

import modal

app = modal.App("trouble-model-path")
image = modal.Image.debian_slim().add_local_file("iris_modle.pkl", "/root/iris_model.pkl")


@app.function(image=image)
def predict() -> None:
    pass
