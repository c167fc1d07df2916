"""Wants a package that does not exist."""

import modal

app = modal.App("trouble-package")
image = modal.Image.debian_slim().pip_install("scikit-lern-that-nobody-made")


@app.function(image=image)
def predict() -> None:
    pass
