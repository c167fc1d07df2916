"""An app with a module of its own that has the name of one in its image, beside one that has not."""

import os
from pathlib import Path

import modal

_SITE = "/usr/local/lib/python3.11/site-packages"
_HIDDEN = f"""RUN printf '%s\\n' "WHO = 'the image'" > {_SITE}/hidden.py"""
image = modal.Image.debian_slim(python_version="3.11").dockerfile_commands([_HIDDEN])
app = modal.App("zygotes-hidden", image=image)


def _who() -> tuple[str, bool]:
    import hidden

    return hidden.WHO, b"freehold_container.zygote" in Path("/proc/1/cmdline").read_bytes()


@app.function(single_use_containers=True)
def of_the_image() -> tuple[str, bool]:
    return _who()


@app.function(single_use_containers=True, image=image.add_local_file(Path(__file__).with_name("hidden_module.txt"), "/root/hidden.py"))
def of_the_app() -> tuple[str, bool]:
    return _who()


@app.function(single_use_containers=True)
def task_id() -> str:
    return os.environ["MODAL_TASK_ID"]
