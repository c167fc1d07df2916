"""`python -m freehold.cli.guided …`: modal's own command, and what to do where it only says what is wrong.

It runs in place of `modal` for the commands of `freehold` that are modal's. What modal prints stays as it is; a hint comes below. Apps that were
written for older SDKs find the names of these.
"""

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modal_compat import hook

_MOST_NAMES = 8


def main() -> None:
    from modal import __main__

    program: Any = __main__
    hint_of = program.get_hint
    program.get_hint = lambda error: hint_of(error) or advice(str(error))
    sys.argv[0] = "modal"
    sys.modules["__main__"].__package__ = None  # so modal calls itself by its name
    program.main()


def advice(text: str) -> str:
    """What to do about an error that says this; nothing where nobody knows better than the error."""
    for pattern, advise in _ADVICE:
        if found := re.search(pattern, text):
            return advise(*found.groups())
    return ""


def no_file(path: Path) -> str:
    """What to look at where a person has named a file that is not there."""
    folder = path.parent
    if path.is_dir():
        return f"{path} is a folder. Name a file in it."
    if not folder.is_dir():
        return f"There is no folder {folder} in {Path.cwd()}."
    others = sorted(other.name for other in folder.glob(f"*{path.suffix}") if other.is_file())
    near = difflib.get_close_matches(path.name, others, n=1)
    if near:
        return f"Did you mean {folder / near[0]}?"
    return f"In {folder.absolute()} there {_said(others, path.suffix)}."


def _said(names: Sequence[str], suffix: str) -> str:
    if not names:
        return f"is no {suffix or 'such'} file at all"
    shown = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    return f"{'is' if len(names) == 1 else 'are'} {shown}"


def _local_file(name: str) -> str:
    return (
        f"{no_file(Path(name))}\n"
        f"A path in an app starts from the folder in which the command runs, {Path.cwd()}. "
        "For one beside the app, write Path(__file__).with_name(…)."
    )


def _file(name: str) -> str:
    if Path(name).exists():
        return ""
    return (
        f"Where the function ran there is no {name}. Its container has what its image has: "
        f'image.add_local_file("…", "{name}") takes a file of this machine there.'
    )


def _module(name: str) -> str:
    return (
        f"Where the function ran nothing is called {name}. Install its package into the function's image, "
        'modal.Image.debian_slim().pip_install("…"), or take your own file there: image.add_local_python_source("…").'
    )


_ADVICE: Sequence[tuple[str, Callable[..., str]]] = (
    (r"^local (?:file|dir) (.+) does not exist$", _local_file),
    (r"^\[Errno 2\] No such file or directory: '(/[^']+)'$", _file),
    (r"^No module named '([\w.]+)'$", _module),
)


if __name__ in {"__main__", "__mp_main__"}:  # the second in processes that `modal serve` starts for a changed app
    hook.activate()
if __name__ == "__main__":
    main()
