"""Seam: the arguments of the task as clients before 0.72 want them, in base64 on the command line; and the secret that they ask for.

What newer ones find in a file is put where the old entrypoint looks. No program is started with it, so the kernel's bound for such words
does not matter.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

_TOKEN = "x-task-token:"  # noqa: S105 — the name of a header


def install() -> None:
    arguments = Path(os.environ["MODAL_CONTAINER_ARGUMENTS_PATH"]).read_bytes()
    sys.argv[1:] = [base64.b64encode(arguments).decode()]
    headers = os.environ.get("MODAL_OVERRIDE_HEADERS", "").split(",")
    os.environ["MODAL_TASK_SECRET"] = next((item[len(_TOKEN) :] for item in headers if item.startswith(_TOKEN)), "")
