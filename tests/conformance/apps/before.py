"""The earlier of two versions of an app."""

import modal

app = modal.App("before")


@app.function()
def kept() -> str:
    return "before"


@app.function()
def gone() -> str:
    return "here again"


@app.cls()
class Basket:
    fruit: str = modal.parameter()

    @modal.method()
    def content(self) -> str:
        return self.fruit


@app.function()
@modal.fastapi_endpoint()
def page() -> str:
    return "before"
