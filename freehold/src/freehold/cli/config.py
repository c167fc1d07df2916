"""`freehold config`: every setting with its value and where that comes from."""

import typer


def config() -> None:
    """Show every setting, its value and its source."""
    from rich.console import Console
    from rich.table import Table

    from freehold.config import Settings, file_in

    settings = Settings.load()
    table = Table("setting", "value", "source", box=None)
    for name, source in settings.sources().items():
        table.add_row(name, str(getattr(settings, name)), source, style=None if source == "default" else "bold")
    Console(soft_wrap=True).print(table)
    typer.echo(f"\nChange them in {file_in(settings.root)}, or with FREEHOLD_… environment variables, which win over the file.")
