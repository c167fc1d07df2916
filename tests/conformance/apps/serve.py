"""A web endpoint that is edited while it is served."""

import modal

VERSION = 1

app = modal.App("serve")


@app.function()
@modal.fastapi_endpoint()
def version() -> int:
    return VERSION
