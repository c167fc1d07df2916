"""The later of two versions of an app: one function stays, some go, one is new."""

import modal

app = modal.App("after")


@app.function()
def kept() -> str:
    return "after"


@app.function()
def new() -> str:
    return "new"
