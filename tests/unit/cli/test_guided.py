"""What `freehold` adds to the errors of modal's commands."""

import subprocess
import sys

import pytest

from freehold.cli.guided import advice


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_local_file_that_is_not_there_is_looked_for(folder):
    (folder / "iris_model.pkl").touch()
    said = advice(f"local file {folder}/iris_modle.pkl does not exist")
    assert said.startswith(f"Did you mean {folder}/iris_model.pkl?\n")
    assert "Path(__file__).with_name" in said


def test_a_folder_that_is_not_there_is_said(folder):
    assert f"There is no folder {folder}/models" in advice(f"local file {folder}/models/a.pkl does not exist")


def test_a_file_that_a_container_lacks_is_added_to_its_image(folder):
    assert 'image.add_local_file("…", "/root/model.pkl")' in advice("[Errno 2] No such file or directory: '/root/model.pkl'")


def test_a_module_that_a_container_lacks_is_installed():
    assert "pip_install" in advice("No module named 'sklearn'")


@pytest.mark.parametrize("text", ["", "the local file x does not exist, they said", "No module named 'a' and more", "out of luck"])
def test_of_other_errors_nothing_is_said(text):
    assert advice(text) == ""


def test_modal_calls_itself_by_its_name_and_prints_what_it_prints():
    ran = subprocess.run([sys.executable, "-P", "-m", "freehold.cli.guided", "deploy"], capture_output=True, text=True, check=False)
    assert "Usage: modal deploy" in ran.stdout + ran.stderr
