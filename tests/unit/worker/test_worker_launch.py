from pathlib import Path

import pytest

from freehold.domain.errors import NotFound
from freehold.domain.images import ImageConfig
from freehold.domain.seams import Seam
from freehold.domain.volumes import VolumeMount
from freehold.worker import launch


def environment(image=None, wished=None):
    return launch.environment(ImageConfig(env=image or {}), wished or {}, task_id="ta-1", token="secret")


def test_the_app_wins_over_the_image_and_the_image_over_the_defaults():
    env = environment({"HOME": "/home/image", "A": "image"}, {"A": "app"})

    assert (env["HOME"], env["A"], env["PYTHONUNBUFFERED"]) == ("/home/image", "app", "1")


def test_no_setting_of_the_app_can_hide_the_engine():
    env = environment(wished={"MODAL_SERVER_URL": "https://elsewhere", "MODAL_IS_REMOTE": "0"})

    assert env["MODAL_SERVER_URL"] == "unix:///__freehold/control/control.sock"
    assert env["MODAL_IS_REMOTE"] == "1"


def test_each_call_of_the_container_carries_its_identity():
    assert environment()["MODAL_OVERRIDE_HEADERS"] == "x-task:ta-1,x-task-token:secret"


def test_modules_of_the_app_come_before_those_of_the_image():
    assert environment({"PYTHONPATH": "/opt/lib"})["PYTHONPATH"] == "/root:/pkg:/opt/lib"


def test_the_default_folder_is_the_one_where_modal_puts_sources():
    assert launch.workdir(ImageConfig()) == "/root"
    assert launch.workdir(ImageConfig(workdir="/srv")) == "/srv"


def test_python_is_found_along_the_path_of_the_image(tmp_path):
    for place in ("usr/bin/python3", "opt/venv/bin/python"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).symlink_to("/nowhere/on/this/machine")

    assert launch.find_python(tmp_path, "/usr/bin:/opt/venv/bin") == "/opt/venv/bin/python"
    assert launch.find_python(tmp_path, "/usr/bin") == "/usr/bin/python3"


def test_an_image_without_python_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(NotFound, match="add_python"):
        launch.find_python(tmp_path, "/usr/bin")


def test_the_entrypoint_of_the_image_is_handed_the_command(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").touch()
    image = ImageConfig(entrypoint=("/entry.sh", "--quiet"))

    command = launch.command(image, {"PATH": "/bin"}, tmp_path, ())

    assert command == ("/entry.sh", "--quiet", "/bin/python", "-m", "modal._container_entrypoint")


def test_seams_are_named_to_the_code_that_installs_them(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").touch()

    command = launch.command(ImageConfig(), {"PATH": "/bin"}, tmp_path, (Seam.INPUTS,))

    assert command == ("/bin/python", "-m", "freehold_container", "inputs")


def test_nobody_else_on_the_machine_can_read_the_arguments(tmp_path):
    binds = launch.write_files(tmp_path, "ta-1", b"arguments")

    assert binds[0].source.read_bytes() == b"arguments"
    assert binds[0].source.stat().st_mode & 0o777 == 0o600
    assert binds[0].source.parent.stat().st_mode & 0o777 == 0o700


def test_the_container_sees_the_folder_of_the_socket():
    """A socket that a new engine makes is another file; its folder stays the same."""
    assert launch.control_bind(Path("/home/fh")).source == Path("/home/fh/run/control")


def test_a_volume_is_a_folder_of_the_home():
    """A part of it is named apart: only whoever mounts it may look for that, when it is mounted."""
    (bind,) = launch.volume_binds(Path("/home/fh"), [VolumeMount(volume_id="vo-1", path="/data", sub_path=("a",), read_only=True)])

    assert (bind.source, bind.below, bind.target, bind.read_only) == (Path("/home/fh/volumes/vo-1"), ("a",), "/data", True)
