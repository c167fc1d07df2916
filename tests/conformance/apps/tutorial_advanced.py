"""The tutorial's advanced snippets, each with something in the place of its comment. The packages for the GPU are left out: gigabytes."""

import modal

app = modal.App("tutorial-advanced")


@app.function(
    gpu="T4",  # or "A10G", "A100", etc.
    image=modal.Image.debian_slim(),
)
def gpu_predict(text: str):
    import os

    return text.upper(), os.environ.get("NVIDIA_VISIBLE_DEVICES", "")


def predict_single(item):
    return sum(item)


@app.function()
def batch_predict(items: list):
    # Process multiple items efficiently
    return [predict_single(item) for item in items]


@app.function(schedule=modal.Period(hours=24))
def daily_model_update():
    return "updated"


@app.function(secrets=[modal.Secret.from_name("api-keys")])
def secure_predict():
    import os

    api_key = os.environ["API_KEY"]
    return len(api_key)
