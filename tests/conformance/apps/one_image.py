"""An app with one step to build, edited by tests."""

import modal

COMMAND = "cat /proc/sys/kernel/random/uuid > /stamp"
DOCKERFILE = ""
FORCE = False

image = modal.Image.debian_slim().run_commands(COMMAND, force_build=FORCE).dockerfile_commands(*filter(None, [DOCKERFILE]))
app = modal.App("one-image", image=image)


@app.function()
def stamp() -> str:
    with open("/stamp") as file:
        return file.read().strip()
