"""The smallest app: `freehold run app.py --name Ada` prints what a container answered."""

import modal

app = modal.App("hello")


@app.function()
def greet(name: str) -> str:
    print(f"Greeting {name}")
    return f"Hello, {name}!"


@app.local_entrypoint()
def main(name: str = "world") -> None:
    print(greet.remote(name))
