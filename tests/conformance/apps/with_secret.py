"""A function with a secret of a name that changes."""

import os

import modal

SECRET = "passing"

app = modal.App("with-secret")


@app.function(secrets=[modal.Secret.from_name(SECRET)])
def word() -> str:
    return os.environ["WORD"]
