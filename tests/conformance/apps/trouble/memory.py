"""Fills more memory than it may, as soon as it is imported."""

import modal

app = modal.App("trouble-memory")

if not modal.is_local():
    weights = bytearray(1 << 30)


@app.function(memory=(128, 256))
def predict() -> int:
    return len(weights)
