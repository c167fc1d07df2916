"""Functions that read secrets."""

import os

import modal

app = modal.App("secrets")


@app.function(secrets=[modal.Secret.from_dict({"FROM_DICT": "dictionary", "SHARED": "first"})])
def from_dict() -> str:
    return os.environ["FROM_DICT"]


@app.function(secrets=[modal.Secret.from_name("conformance")])
def from_name() -> str:
    return os.environ["PASSWORD"]


@app.function(secrets=[modal.Secret.from_name("conformance", required_keys=["PASSWORD"]), modal.Secret.from_dict({"PASSWORD": "later"})])
def later_wins() -> str:
    return os.environ["PASSWORD"]


@app.function(secrets=[modal.Secret.from_name("conformance")])
def fails() -> None:
    message = "this has nothing to do with the secret"
    raise RuntimeError(message)
