"""One image for each way to say what should be in it."""

import os
import subprocess
from pathlib import Path

import modal

HERE = Path(__file__).parent
MATERIAL = HERE / "material"

app = modal.App("images")
base = modal.Image.debian_slim()


def read(path: str) -> str:
    return Path(path).read_text().strip()


def write_weights(count: int) -> None:
    print(f"writing {count} weights")
    Path("/weights.txt").write_text(" ".join(str(number) for number in range(count)))


commands = base.run_commands("echo first > /lines.txt", "echo second >> /lines.txt")


@app.function(image=commands)
def run_commands() -> str:
    return read("/lines.txt")


@app.function(image=base.pip_install("iniconfig==2.0.0"))
def pip_install() -> str:
    from importlib.metadata import version

    return version("iniconfig")


@app.function(image=base.uv_pip_install("iniconfig==2.1.0"))
def uv_pip_install() -> str:
    from importlib.metadata import version

    return version("iniconfig")


@app.function(image=base.apt_install("tree"))
def apt_install() -> str:
    return subprocess.run(["tree", "--version"], capture_output=True, text=True, check=True).stdout


@app.function(image=base.env({"PLACE": "here", "PATH_LIKE": "/a:/b"}).run_commands("echo $PLACE > /place"))
def env() -> tuple[str, str, str]:
    return os.environ["PLACE"], os.environ["PATH_LIKE"], read("/place")


@app.function(image=base.workdir("/srv/place").run_commands("echo made here > relative.txt"))
def workdir() -> tuple[str, str]:
    return os.getcwd(), read("/srv/place/relative.txt")


def with_files(copy: bool) -> modal.Image:
    return (
        base.add_local_file(MATERIAL / "file.txt", "/data/file.txt", copy=copy)
        .add_local_dir(MATERIAL / "folder", "/data/folder", copy=copy)
        .add_local_python_source("mathlib", copy=copy)
    )


def files_here() -> tuple[str, str, int]:
    from mathlib import total

    return read("/data/file.txt"), read("/data/folder/inner/two.txt"), total([1, 2, 3])


@app.function(image=with_files(copy=False))
def files_mounted() -> tuple[str, str, int]:
    return files_here()


@app.function(image=with_files(copy=True).run_commands("cat /data/file.txt /data/folder/one.txt > /both.txt"))
def files_copied() -> tuple[str, str, int, str]:
    return (*files_here(), read("/both.txt"))


dockerfile = base.dockerfile_commands(
    "ARG FLAVOUR=plain",
    'SHELL ["/bin/bash", "-c"]',
    "RUN [[ $FLAVOUR == p* ]] && echo $FLAVOUR > /flavour",
    "ENV TASTE=sweet",
    "COPY folder /copied",
    "ADD folder/one.txt /added/",
    "RUN useradd --create-home baker",
    "USER baker",
    "RUN id --user --name > /tmp/who",
    "USER root",
    r"RUN printf '#!/bin/sh\nexport ENTERED=yes\nexec \"$@\"\n' > /entry.sh && chmod +x /entry.sh",
    'ENTRYPOINT ["/entry.sh"]',
    'CMD ["sleep", "1"]',
    "WORKDIR /root",
    context_dir=MATERIAL,
)


@app.function(image=dockerfile)
def dockerfile_commands() -> dict[str, str]:
    return {
        "arg": read("/flavour"),
        "env": os.environ["TASTE"],
        "copy": read("/copied/inner/two.txt"),
        "add": read("/added/one.txt"),
        "user": read("/tmp/who"),
        "entrypoint": os.environ["ENTERED"],
    }


from_file = modal.Image.from_dockerfile(MATERIAL / "Dockerfile", context_dir=MATERIAL, build_args={"GREETING": "good day"})


@app.function(image=from_file)
def from_dockerfile() -> tuple[str, str, str]:
    return read("/opt/place/greeting.txt"), read("/opt/place/file.txt"), os.environ["FROM_FILE"]


@app.function(image=base.run_function(write_weights, args=(4,)))
def run_function() -> str:
    return read("/weights.txt")


secret = modal.Secret.from_dict({"BUILD_TOKEN": "open-sesame"})


@app.function(image=base.run_commands("echo ${#BUILD_TOKEN} > /length", secrets=[secret]))
def build_secret() -> tuple[str, bool]:
    return read("/length"), "BUILD_TOKEN" in os.environ


@app.function(image=modal.Image.debian_slim())
def client_inside() -> tuple[str, bool]:
    """The version of modal in here, and whether it came with its bytecode."""
    cached = modal.__spec__.cached
    return modal.__version__, cached is not None and os.path.exists(cached)
