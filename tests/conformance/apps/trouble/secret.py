"""Wants a secret that nobody has made."""

import os

import modal

app = modal.App("trouble-secret")


@app.function(secrets=[modal.Secret.from_name("api-keys")])
def key() -> str:
    return os.environ["API_KEY"]
