"""Starts whose time goes to known places."""

import modal

image = modal.Image.debian_slim().pip_install("tomli==2.2.1")
app = modal.App("coldstart", image=image)

with image.imports():
    import time

    import tomli

    time.sleep(0.3)  # what a slow import looks like


@app.function(single_use_containers=True)
def version() -> str:
    return str(tomli.__name__)


@app.cls(single_use_containers=True)
class Slow:
    @modal.enter()
    def load(self) -> None:
        time.sleep(0.4)

    @modal.method()
    def run(self) -> str:
        time.sleep(0.2)
        return "done"


@app.function(single_use_containers=True)
def late() -> str:
    from pip._vendor import tomli  # a package that the image has and nobody else imports

    return "tomli" if tomli else ""
