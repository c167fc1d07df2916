"""Starts its server on a port that something else in the container holds."""

import socket
import subprocess
import sys

import modal

app = modal.App("trouble-port")


@app.function()
@modal.web_server(8000, startup_timeout=5)
def site() -> None:
    global held  # noqa: PLW0603
    held = socket.socket()
    held.bind(("0.0.0.0", 8000))
    subprocess.Popen([sys.executable, "-m", "http.server", "8000"])
