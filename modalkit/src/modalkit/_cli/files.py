"""The file of an app; nothing of it is read here, so that a mistake is told at once."""

from pathlib import Path

from modalkit.errors import ModalKitError


class AppError(ModalKitError):
    """An app that cannot be used; says in which of its lines."""


def app_file(given: str) -> Path:
    """The file of an app. Raises AppError if it is none."""
    path = Path(given)
    if path.is_dir() and (path / "app.py").is_file():
        path /= "app.py"
    if not path.is_file():
        msg = f"There is no file {given}. Name the file with the modal.App, such as app.py."
        raise AppError(msg)
    if path.suffix != ".py":
        msg = f"{given} is no Python file. Name the file with the modal.App, such as app.py."
        raise AppError(msg)
    return path
