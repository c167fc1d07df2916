"""A user's app in this process, imported as `modal deploy` would; what is wrong with it is said in a sentence."""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click

from modalkit._cli.files import AppError
from modalkit.errors import ConfigError, ModalKitError
from modalkit.testing import load_module, web_functions


def load_app(path: Path) -> ModuleType:
    """Raises ConfigError, or AppError for anything else that its import raises."""
    folder = str(path.resolve().parent)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    try:
        return load_module(path.resolve())
    except ConfigError:
        raise
    except SyntaxError as error:
        msg = f"{_short(error.filename or str(path))}:{error.lineno}: {error.msg}"
        raise AppError(msg) from error
    except (Exception, SystemExit) as error:
        raise AppError(_told(error, path)) from error


@contextlib.contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Whatever an app raises within the block, as an AppError that says where."""
    try:
        yield
    except ModalKitError:
        raise
    except Exception as error:
        raise AppError(_told(error, path)) from error


def web_function(module: ModuleType, given: str) -> str:
    """The web function to serve: the one that is named, else the first of the file; which one of several is said on standard error."""
    names = list(web_functions(module))
    if given or len(names) < 2:  # noqa: PLR2004
        return given
    click.echo(
        f"Serving {names[0]}, the first web function; for another: {', '.join(f'--function {name}' for name in names[1:])}", err=True
    )
    return names[0]


def _told(error: BaseException, path: Path) -> str:
    """Where in the user's files it came from, and what it says."""
    folder = str(path.resolve().parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    where = f"{_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else str(path)
    hint = ". Install it here, or run modalkit from the environment that has it" if isinstance(error, ModuleNotFoundError) else ""
    return f"{where}: {type(error).__name__}: {error}{hint}"


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename
