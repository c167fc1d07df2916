"""`freehold down`: end the engine and everything that it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from freehold.config import Settings

Sweep = Annotated[bool, typer.Option(hidden=True)]  # asked by the supervisor of an engine that has ended


def down(*, sweep: Sweep = False) -> None:
    """End the engine and all that it runs.

    Functions have half a minute to finish. Also removes what an engine that died has left behind.
    """
    from freehold.cli import engine
    from freehold.config import Settings

    settings = Settings.load()
    if not sweep:
        _end(settings)
    if settings.root.exists():
        with engine.alone(settings):
            _sweep(settings.root)


def _end(settings: "Settings") -> None:
    from freehold.cli import engine

    running = engine.find(settings.root)
    if running is None:
        typer.echo(f"No engine runs on {settings.root}.")
    elif engine.stop(running):
        typer.echo("The engine has ended.")
    else:
        typer.echo(f"The engine did not end within {engine.STOP_SECONDS:.0f} s and was killed.")


def _sweep(home: Path) -> None:
    """An engine that ends by itself leaves nothing; one that was killed leaves containers, their roots and their network."""
    import anyio

    from freehold.worker import launch
    from freehold.worker.network.veth import VethNetworks
    from freehold.worker.runtimes.runc import RuncRuntime
    from freehold.worker.snapshots.overlay import OverlaySnapshots

    for container in anyio.run(RuncRuntime(home=home).sweep):
        typer.echo(f"Removed container {container}, which an engine had left.")
    anyio.run(OverlaySnapshots(home=home).sweep)
    anyio.run(VethNetworks(home=home).stop)
    launch.sweep_files(home)
