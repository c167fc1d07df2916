"""`freehold migrate`: an app's old names, rewritten."""

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Python files.", exists=True, dir_okay=False, readable=True)]
Write = Annotated[bool, typer.Option("--write", help="Change the files, too.")]


def migrate(files: Files, *, write: Write = False) -> None:
    """Show what apps that were written for older SDKs are in today's names, and with --write make them so.

    Prints the difference, and what only a person can decide.
    """
    for file in files:
        _migrate(file, write=write)


def _migrate(file: Path, *, write: bool) -> None:
    from freehold.domain.errors import InvalidRequest
    from modal_compat.migration import migrate as migrated

    try:
        result = migrated(file.read_text())
    except (SyntaxError, UnicodeDecodeError) as error:
        msg = f"{file} is no Python that can be read: {error}"
        raise InvalidRequest(msg) from error
    typer.echo(result.diff(str(file)), nl=False)
    for left in result.left:
        typer.echo(f"{file}:{left.line}: {left}", err=True)
    if result.after == result.before:
        typer.echo(f"{file}: no old names to rewrite.", err=True)
    elif write:
        file.write_text(result.after)
        typer.echo(f"{file}: written.", err=True)
    else:
        typer.echo(f"{file}: left as it is; --write changes it.", err=True)
