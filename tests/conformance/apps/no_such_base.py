"""An image that no source has."""

import modal

app = modal.App("no-such-base", image=modal.Image.from_registry("registry.invalid/nobody/nothing:1"))


@app.function()
def never() -> None:
    pass
