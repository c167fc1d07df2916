"""Runs a function in an image that is known by its id only."""

import sys

import modal

app = modal.App("image-by-id")
image = modal.Image.from_id(sys.argv[1]) if modal.is_local() else None


@app.function(image=image, serialized=True)
def lines():
    with open("/lines.txt") as file:
        return file.read().split()


with app.run():
    print("lines:", lines.remote())
