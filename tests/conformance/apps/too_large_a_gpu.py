"""Asks for what no machine of the tests has."""

import modal

app = modal.App("too-large-a-gpu")


@app.function(gpu="B200:8")
def never() -> None: ...
