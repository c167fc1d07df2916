"""An app that is deployed again and again."""

import time

import modal

VERSION = 1

app = modal.App("deploy")


@app.function()
def version(seconds: float = 0) -> int:
    print(f"version {VERSION} answers")
    time.sleep(seconds)
    return VERSION
