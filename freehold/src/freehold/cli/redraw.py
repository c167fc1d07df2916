"""Drawing a screen again and again, for commands that watch."""

import sys
import time
from collections.abc import Callable
from typing import Any


def redraw(screen: Callable[[], Any], *, every: float, whole: bool = False) -> None:
    """Until Ctrl-C; in what is no terminal, one after the other. `whole` takes the whole terminal meanwhile."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    try:
        if not sys.stdout.isatty():
            _print_on(console, screen, every)
        with Live(screen(), console=console, screen=whole, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(screen(), refresh=True)
    except KeyboardInterrupt:
        pass


def _print_on(console: Any, screen: Callable[[], Any], every: float) -> None:
    while True:
        console.print(screen())
        time.sleep(every)
