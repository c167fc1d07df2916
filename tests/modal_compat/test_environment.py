"""The .pth file: in the environment of the `modal` on PATH, and gone again without a trace."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from modal_compat.environment import EnvironmentFailed, of_command, of_python

MOUNT = "import modal; print(modal.Mount.__module__)"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An environment with a `modal` command, first on PATH; its packages are ours, unless they are taken away."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    folder = tmp_path / "env"
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(
        f"import site; site.addsitedir({str(Path(sys.executable).parents[1] / packages.relative_to(folder))!r})\n"
    )
    script = folder / "bin" / "modal"
    script.write_text(f"#!{folder / 'bin' / 'python'}\nimport modal\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return packages


def python(place, code):
    ran = subprocess.run([place.parents[2] / "bin" / "python", "-c", code], capture_output=True, text=True, check=False)
    return (ran.stdout + ran.stderr).strip()


def test_each_python_of_that_environment_has_the_old_names(place):
    environment = of_command()
    environment.install()

    assert environment.packages == place
    assert python(place, MOUNT) == "modal_compat.mounts"
    assert environment.uninstall()
    assert "has no attribute 'Mount'" in python(place, MOUNT)
    assert not environment.uninstall()


def test_an_environment_without_this_package_gets_a_copy(place):
    (place / "ours.pth").unlink()
    (place / "modal").mkdir()
    (place / "modal" / "__init__.py").touch()
    (place / "modal-1.6.4.dist-info").mkdir()
    (place / "modal-1.6.4.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: modal\nVersion: 1.6.4\n")
    environment = of_command()
    before = set(place.iterdir())

    environment.install()
    assert python(place, "import modal_compat.names") == ""
    environment.uninstall()

    assert set(place.iterdir()) == before


def test_a_file_that_is_left_behind_says_nothing(place):
    of_command().install()
    (place / "ours.pth").unlink()

    assert python(place, "print('quiet')") == "quiet"


def test_a_command_whose_path_is_long_is_found_too(place):
    script = place.parents[2] / "bin" / "modal"
    script.write_text(f"#!/bin/sh\n'''exec' \"{script.with_name('python')}\" \"$0\" \"$@\"\n' '''\n")

    assert of_command().packages == place


def test_an_environment_without_modal_is_refused_with_what_to_do(place):
    (place / "ours.pth").unlink()

    with pytest.raises(EnvironmentFailed, match=r"has no modal package\. Install it there, or put"):
        of_python(place.parents[2] / "bin" / "python")
