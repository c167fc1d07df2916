"""Where packages for containers come from on a machine that reaches no index: uv itself, and a wheel that is made here."""

import zipfile
from pathlib import Path

import pytest

from freehold.domain.errors import InvalidRequest, Unavailable
from freehold.worker.packages import install_packages

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


@pytest.fixture(autouse=True)
def _no_index(monkeypatch):
    """A port of this machine that nobody listens on."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


def a_wheel(folder: Path, name: str = "sevenleagueboots", version: str = "1.0") -> None:
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", METADATA.format(name=name, version=version))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


async def test_wheels_that_lie_ready_need_no_index(tmp_path):
    a_wheel(tmp_path / "wheels")
    await install_packages("sevenleagueboots==1.0", "3.11", tmp_path / "a" / "b" / "to", wheels=tmp_path / "wheels")
    assert (tmp_path / "a" / "b" / "to" / "sevenleagueboots.py").read_text() == "version = '1.0'\n"


async def test_without_them_it_is_said_what_to_do(tmp_path):
    with pytest.raises((Unavailable, InvalidRequest)) as refused:
        await install_packages("modal==0.72.58", "3.11", tmp_path / "to", wheels=tmp_path / "wheels")
    assert "Could not get the package modal==0.72.58 for Python 3.11" in str(refused.value)
    assert f"{tmp_path}/wheels" in str(refused.value)
    assert "pip download modal==0.72.58" in str(refused.value)


async def test_wheels_of_something_else_do_not_hide_what_the_engine_has_itself(tmp_path):
    a_wheel(tmp_path / "wheels")
    await install_packages("typing-extensions", "3.11", tmp_path / "to", wheels=tmp_path / "wheels")
    assert (tmp_path / "to" / "typing_extensions.py").exists()
