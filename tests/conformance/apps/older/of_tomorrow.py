"""A client that says it is of a version that nobody has made yet: it deploys an app, and calls its function."""

import modal_version

modal_version.__version__ = "9.9.9"

import modal

app = modal.App("of-tomorrow")


@app.function()
def double(x):
    return 2 * x


if __name__ == "__main__":
    with modal.enable_output():
        app.deploy(name="of-tomorrow")
    try:
        print(double.remote(2))
    except Exception as error:  # noqa: BLE001 — the test reads its words
        print(f"{type(error).__name__}: {error}")
