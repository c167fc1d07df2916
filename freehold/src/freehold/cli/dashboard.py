"""`freehold dashboard`: a way in to the engine's pages."""

import typer


def dashboard() -> None:
    """Print a link to the engine's pages. It works once, for ten minutes, and needs no token."""
    from freehold.cli.operator import ask

    typer.echo(ask("DashboardLink")["url"])
