"""A script with a helper module beside it."""

import modal

image = modal.Image.debian_slim().add_local_python_source("tools")
app = modal.App("with-tools", image=image)


@app.function()
def greet(name: str) -> str:
    import tools

    return tools.shout(f"hello {name}")
