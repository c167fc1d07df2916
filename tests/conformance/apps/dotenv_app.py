"""Reads the .env file beside it."""

import os

import modal

app = modal.App("dotenv")


@app.function(secrets=[modal.Secret.from_dotenv(__file__)])
def from_dotenv() -> str:
    return os.environ["FROM_DOTENV"]
