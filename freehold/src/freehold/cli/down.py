"""`freehold down`: end the engine and everything that it runs."""

import typer


def down() -> None:
    """End the engine and all that it runs.

    Also removes what an engine that died has left behind.
    """
    import anyio

    from freehold.assembly import sweep
    from freehold.cli import engine
    from freehold.config import Settings

    settings = Settings.load()
    running = engine.find(settings.root)
    if running:
        ended = engine.stop(running)
        typer.echo("The engine has ended." if ended else f"The engine did not end within {engine.STOP_SECONDS:.0f} s and was killed.")
    else:
        typer.echo(f"No engine runs on {settings.root}.")
    with engine.alone(settings):
        for trace in anyio.run(sweep, settings):
            typer.echo(f"Removed {trace}, which an engine had left.")
