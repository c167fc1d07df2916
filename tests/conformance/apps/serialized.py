"""A function that is sent as it is, with what it closes over, and whose source is in no container."""

import sys

import modal

app = modal.App("serialized")
factor = int(sys.argv[1])


@app.function(serialized=True, name="scale", include_source=False)
def scale(x):
    return factor * x


with app.run():
    print("scaled:", scale.remote(7))
