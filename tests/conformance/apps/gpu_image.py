"""An image of which two steps ask for a GPU."""

import glob
from pathlib import Path

import modal

SALT = ""


def look() -> None:
    Path("/function").write_text(" ".join(glob.glob("/dev/nvidia*")))


image = (
    modal.Image.debian_slim()
    .run_commands(f"echo {SALT}; ls /dev/nvidia* > /step || echo none > /step", gpu="T4")
    .run_function(look, gpu="T4", force_build=True)
)
app = modal.App("gpu-image", image=image)


@app.function()
def seen() -> tuple[str, str]:
    return Path("/step").read_text().strip(), Path("/function").read_text().strip()
