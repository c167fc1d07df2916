"""`freehold version`: what is installed here."""

import platform
from importlib.metadata import version as installed

import typer


def version() -> None:
    """Show which versions are installed here."""
    typer.echo(f"freehold {installed('freehold')} (modal {installed('modal')}, Python {platform.python_version()})")
