"""Imports what its image lacks."""

import modal

app = modal.App("trouble-package-inside")


@app.function()
def predict() -> None:
    import sklearn  # noqa: F401
